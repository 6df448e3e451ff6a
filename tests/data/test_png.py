import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from anychan.data.png import check_png, is_png
from anychan.data.readers import read_image
from anychan.errors import DataError
from anychan.presets import RGB
from tests.runs import anonymous, png

ROWS, COLUMNS = np.mgrid[:24, :20]
SMOOTH = np.stack([5 * ROWS, 7 * COLUMNS, ROWS + COLUMNS], -1).astype(np.uint8)
WHOLE = png(SMOOTH)


def flipped(at: int, bit: int = 0) -> bytes:
    return WHOLE[:at] + bytes([WHOLE[at] ^ 1 << bit]) + WHOLE[at + 1 :]


def pillow(data: bytes) -> bytes | None:
    try:
        with Image.open(io.BytesIO(data)) as opened:
            return np.asarray(opened).tobytes()
    except Exception:
        return None


def test_changes_that_pillow_does_not_see_are_refused() -> None:
    changed = [flipped(at, bit) for at in range(8, len(WHOLE)) for bit in range(8)]
    unseen = [data for data in changed if pillow(data) not in (None, SMOOTH.tobytes())]
    assert unseen
    for data in unseen:
        with pytest.raises(DataError, match=r"^a\.png: the image is damaged or truncated \(wrong checksum in a PNG"):
            read_image(data, "a.png", RGB)


@pytest.mark.parametrize("at", range(8, len(WHOLE)))
def test_every_byte_behind_the_signature_has_a_checksum(at: int) -> None:
    with pytest.raises(DataError, match=r"damaged"):
        check_png(flipped(at), "a.png")


@pytest.mark.parametrize("keep", range(9, len(WHOLE)))
def test_file_cut_short_is_refused_or_has_all_pixels(keep: int) -> None:
    try:
        found = read_image(WHOLE[:keep], "a.png", RGB)
    except DataError:
        return
    assert keep == len(WHOLE) - 12  # only the chunk IEND is gone
    np.testing.assert_array_equal(found, SMOOTH)


def test_what_lies_behind_the_end_does_not_matter() -> None:
    np.testing.assert_array_equal(read_image(WHOLE + b"\0\0anything", "a.png", RGB), SMOOTH)


def test_text_and_several_chunks_of_data_are_read() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    text, file = PngImagePlugin.PngInfo(), io.BytesIO()
    text.add_text("comment", "x" * 1000, zip=True)
    Image.fromarray(noise).save(file, "PNG", pnginfo=text)
    assert file.getvalue().count(b"IDAT") > 1
    np.testing.assert_array_equal(read_image(file.getvalue(), "a.png", RGB), noise)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def deep(colour: int, *, before: bytes = b"", after: bytes = b"") -> bytes:
    """4×3 pixels of 16 bits, of a colour type."""
    row = b"\0" + bytes(range(8 * {0: 1, 2: 3, 4: 2, 6: 4}[colour]))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 3, 16, colour, 0, 0, 0))
    return WHOLE[:8] + before + head + after + chunk(b"IDAT", zlib.compress(3 * row)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("colour", [2, 4, 6])
def test_sixteen_bits_that_pillow_cuts_are_refused(colour: int) -> None:
    with pytest.raises(
        DataError, match=r"^a\.png: PNGs of 16 bits in colour or with transparency are not supported; wr"
    ):
        read_image(deep(colour), "a.png", RGB, grey="repeat")


def test_sixteen_bits_of_grey_are_read_but_not_with_a_transparent_one() -> None:
    assert read_image(deep(0), "a.png", anonymous(1))[0, :, 0].tolist() == [1, 515, 1029, 1543]
    with pytest.raises(DataError, match=r"^a\.png: PNGs of 16 bits in colour or with transparency"):
        read_image(deep(0, after=chunk(b"tRNS", b"\0\1")), "a.png", anonymous(1))


@pytest.mark.parametrize(
    "data",
    [
        deep(2, before=chunk(b"tEXt", b"a\0b")),
        deep(2, before=chunk(b"CgBI", bytes(4))),
        deep(0, after=chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 3, 8, 2, 0, 0, 0))),
    ],
)
def test_a_head_elsewhere_is_refused(data: bytes) -> None:
    with pytest.raises(DataError, match=r"^a\.png: the image is damaged \(a PNG has one chunk IHDR, the first\)"):
        read_image(data, "a.png", RGB)


def test_other_files_are_no_png() -> None:
    assert is_png(WHOLE)
    assert not is_png(b"\xff\xd8\xff")
    assert not is_png(b"")
