"""What Pillow does not see to in a PNG: the checksums of the image data, and 16 bits in colour."""

from __future__ import annotations

import zlib

from anychan.errors import DataError

__all__ = ["check_png", "is_png"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY = b"\x00"  # colour type


def is_png(data: bytes) -> bool:
    """Whether a file's bytes begin as a PNG's do."""
    return data.startswith(_SIGNATURE)


def check_png(data: bytes, name: str) -> None:
    """See that each chunk has its CRC-32, and that Pillow reads the pixels as they are.

    Pillow decodes the chunks of image data without a look at their checksums, and stops at the last pixel, before the
    one of the whole: a damaged file can give wrong pixels.

    Args:
        data: the file's bytes.
        name: the file's name, for messages.

    Raises:
        DataError: when a chunk is damaged or cut short, or for 16 bits in colour or with transparency, which Pillow
            would cut to 8 or leave out.
    """
    deep = data[24:25] == b"\x10"
    view, at = memoryview(data), len(_SIGNATURE)
    while at < len(data):
        kind, end = data[at + 4 : at + 8], at + 8 + int.from_bytes(data[at : at + 4], "big")
        checksum = data[end : end + 4]
        if len(checksum) < 4 or zlib.crc32(view[at + 4 : end]) != int.from_bytes(checksum, "big"):
            raise DataError(f"{name}: the image is damaged or truncated (wrong checksum in a PNG chunk {kind!r})")
        if (kind == b"IHDR") != (at == len(_SIGNATURE)):
            raise DataError(f"{name}: the image is damaged (a PNG has one chunk IHDR, the first)")
        if deep and (kind == b"tRNS" or data[25:26] != _GREY):
            raise DataError(
                f"{name}: PNGs of 16 bits in colour or with transparency are not supported; write the image as TIFF, "
                "or with 8 bits"
            )
        if kind == b"IEND":
            return
        at = end + 4
