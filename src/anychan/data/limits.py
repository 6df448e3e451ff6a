"""How large a file may become in memory: a decompression bomb is a few bytes that say that they are billions."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable

from PIL import Image

from anychan.errors import DataError

__all__ = ["SMALL_BYTES", "check_packing", "check_photograph", "check_size"]

SMALL_BYTES = 128 * 2**20  # an RGB photograph of 44 million pixels; decoders hold four copies of one
_JPEG_WORK = 2**32  # pixels that all scans of a progressive JPEG draw: seconds
_TIMES = 8  # real images and arrays above the limit shrink less than this


def check_size(size: int, stored: int, where: str, *, small: int = SMALL_BYTES, times: int = _TIMES) -> None:
    """Refuse what becomes large in memory, and much larger than it is on disk.

    Args:
        size: bytes in memory, as the file's header says before anything is decoded.
        stored: bytes on disk.
        where: the file, for the message.
        small: so many bytes are always allowed.
        times: or so many times `stored`.

    Raises:
        DataError: when it is both.
    """
    if size > max(small, times * stored):
        raise DataError(
            f"{where}: {stored:,} bytes say that they become {size:,} in memory, as those of a decompression bomb do; "
            f"write it in parts of {small:,} bytes or less, or less compressed"
        )


def check_packing(entries: Iterable[zipfile.ZipInfo], where: str) -> None:
    """Refuse entries of a zip that nobody can unpack a part of: by bzip2 a few bytes become gigabytes at one stroke.

    Args:
        entries: of the zip.
        where: the zip, for the message.

    Raises:
        DataError: for an entry that is neither stored nor deflated.
    """
    for entry in entries:
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(
                f"{where}: the entry {entry.filename[:80]!r} is packed by method {entry.compress_type} of zips, which "
                "is not read; zip it anew, by deflate"
            )


def check_photograph(opened: Image.Image, data: bytes, name: str) -> None:
    """Refuse a photograph of too many pixels, or a JPEG that draws them too many times; nothing is decoded yet.

    Args:
        opened: the image.
        data: the file's bytes.
        name: the file's name, for messages.

    Raises:
        DataError: when it is such.
    """
    pixels = opened.width * opened.height
    check_size(pixels * max(3, len(opened.getbands())), len(data), name)  # grey and palettes become RGB on the way
    drawn = pixels * data.count(b"\xff\xda")  # a scan may have a few bytes
    if opened.format in ("JPEG", "MPO") and drawn > _JPEG_WORK:  # a JPEG of several pictures is an MPO
        raise DataError(f"{name}: the JPEG draws its {pixels:,} pixels too many times; write it anew")
