import io
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from anychan.data.limits import SMALL_BYTES, check_size
from anychan.data.readers import read_image
from anychan.errors import DataError
from anychan.presets import RGB


def test_what_is_small_or_shrank_little_is_allowed() -> None:
    check_size(SMALL_BYTES, 1, "a")
    check_size(8 * SMALL_BYTES, SMALL_BYTES, "a")
    with pytest.raises(
        DataError, match=r"^a: 10 bytes say that they become 134,217,729 in memory, as those of a decomp"
    ):
        check_size(SMALL_BYTES + 1, 10, "a")


def png(width: int, height: int) -> bytes:
    """Its head says so; there are no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def grey(height: int, width: int) -> bytes:
    """A GIF that says that it has so many pixels."""
    file = io.BytesIO()
    Image.new("L", (1, 1)).save(file, "GIF")
    data = file.getvalue()
    return data[:6] + struct.pack("<HH", width, height) + data[10:]


def jpeg(width: int, height: int, *, scans: int = 1) -> bytes:
    """Its head says so, and its last scan is there so many times."""
    file = io.BytesIO()
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    size, scan = data.index(b"\xff\xc2") + 5, data.rindex(b"\xff\xda")
    return data[:size] + struct.pack(">HH", height, width) + data[size + 4 : scan] + data[scan:-2] * scans + data[-2:]


def several(data: bytes) -> bytes:
    """A JPEG that says that more pictures follow, which Pillow calls an MPO."""
    file = io.BytesIO()
    pictures = [Image.new("RGB", (8, 8)) for _ in range(2)]
    pictures[0].save(file, "MPO", save_all=True, append_images=pictures[1:])
    start = file.getvalue().index(b"\xff\xe2")
    length = 2 + int.from_bytes(file.getvalue()[start + 2 : start + 4], "big")
    return data[:2] + file.getvalue()[start : start + length] + data[2:]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (png(7000, 7000), "bytes say that they become 147,000,000 in memory"),
        (grey(7000, 7000), "bytes say that they become 147,000,000 in memory"),
        (png(60_000, 60_000), "the image is damaged or truncated (Image size (3600000000 pixels) exceeds limit"),
        (jpeg(7000, 7000), "bytes say that they become 147,000,000 in memory"),
        (jpeg(6000, 6000, scans=120), "the JPEG draws its 36,000,000 pixels too many times; write it anew"),
        (several(jpeg(6000, 6000, scans=120)), "the JPEG draws its 36,000,000 pixels too many times; write it anew"),
    ],
    ids=["png", "grey", "larger png", "jpeg", "scans", "scans of several pictures"],
)
def test_photographs_that_are_bombs_are_not_decoded(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=rf"^a\.png: .*{re.escape(message)}"):
        read_image(data, "a.png", RGB)


def test_an_image_without_pixels_is_named() -> None:
    file = io.BytesIO()
    np.save(file, np.zeros((0, 10**6, 3), np.uint8))
    with pytest.raises(DataError, match=r"^a\.npy: the image has no pixel"):
        read_image(file.getvalue(), "a.npy", RGB)
