import io
import re
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from anychan.contract import ResizeRule
from anychan.data.readers import channel_axis, image_suffixes, own_reader, read_image, register_reader, resize
from anychan.errors import ConfigError, DataError
from anychan.presets import RGB
from tests.runs import ODD, Array, anonymous, constant_channels, png, tiff

RNG = np.random.default_rng(0)
BANDS = (1000 * np.arange(1, 6)[:, None, None] + RNG.integers(0, 500, (5, 4, 7))).astype(np.uint16)  # (C, H, W)
INTERLEAVED = np.moveaxis(BANDS, 0, -1).copy()  # (H, W, C)
FIVE = anonymous(5)


def jpeg(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95, subsampling=0, **options)
    return buffer.getvalue()


def odd(name: str, channels: int = 3, grey: str = "refuse") -> Array:
    return read_image((ODD / name).read_bytes(), name, anonymous(channels), grey=grey)


def test_png_is_read_exactly() -> None:
    image = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    found = read_image(png(image), "a.PNG", RGB)
    np.testing.assert_array_equal(found, image)
    assert found.dtype == np.uint8


def test_jpeg_keeps_its_channels_apart() -> None:
    image = constant_channels(200, 120, 20, height=16, width=8)
    found = read_image(jpeg(Image.fromarray(image)), "a.jpeg", RGB)
    assert found.shape == (16, 8, 3)
    np.testing.assert_allclose(found, image, atol=2)


@pytest.mark.parametrize(
    ("array", "options"),
    [
        (BANDS, {"planarconfig": "separate"}),
        (INTERLEAVED, {"planarconfig": "contig"}),
        (BANDS, {}),
        (BANDS, {"metadata": None}),
        (BANDS, {"planarconfig": "separate", "compression": "lzw", "predictor": True}),
        (INTERLEAVED, {"planarconfig": "contig", "compression": "zlib"}),
        (BANDS, {"planarconfig": "separate", "bigtiff": True}),
        (BANDS, {"planarconfig": "separate", "tile": (16, 16)}),
        (INTERLEAVED, {"planarconfig": "contig", "tile": (16, 16)}),
        (BANDS, {"planarconfig": "separate", "byteorder": ">"}),
        (BANDS, {"planarconfig": "separate", "byteorder": ">", "compression": "lzw"}),
    ],
    ids=lambda value: "+".join(map(str, value)) if isinstance(value, dict) else "",
)
def test_tiff_layouts_are_read_exactly(array: Array, options: dict[str, Any]) -> None:
    found = read_image(tiff(array, **options), "a.tif", FIVE)
    np.testing.assert_array_equal(found, INTERLEAVED)
    assert found.dtype == np.uint16
    assert found.dtype.isnative
    assert found.flags.c_contiguous


@pytest.mark.parametrize(
    ("dtype", "expected"), [(np.uint8, np.uint8), (np.float32, np.float32), (np.int16, np.float32), (float, np.float32)]
)
def test_number_types_of_tiffs(dtype: Any, expected: Any) -> None:
    values = (BANDS.astype(np.float64) / 40 if dtype == np.uint8 else BANDS.astype(np.float64)).astype(dtype)
    found = read_image(tiff(values, planarconfig="separate"), "a.TIFF", FIVE)
    assert found.dtype == expected
    np.testing.assert_array_equal(found, np.moveaxis(values, 0, -1).astype(expected))


def test_signed_values_stay_signed() -> None:
    found = read_image(tiff(np.array([[-3, 2]], np.int16)), "a.tif", anonymous(1))
    assert found[:, :, 0].tolist() == [[-3.0, 2.0]]


@pytest.mark.parametrize("dtype", [np.uint32, np.int32, np.int8])
def test_unsupported_number_type_is_named(dtype: Any) -> None:
    message = f"a.tif: pixels of type {np.dtype(dtype)} are not supported; use 8 or 16 bits, or float32"
    with pytest.raises(DataError, match=message):
        read_image(tiff((BANDS // 100).astype(dtype), planarconfig="separate"), "a.tif", FIVE)


@pytest.mark.parametrize("channels", [3, 4])
def test_deep_colour_is_not_cut_to_eight_bits(channels: int) -> None:
    data = bytes(imagecodecs.png_encode(np.full((5, 7, channels), 60_000, np.uint16)))
    with pytest.raises(
        DataError,
        match=r"a.png: PNGs of 16 bits in colour or with transparency are not supported; write the image as T",
    ):
        read_image(data, "a.png", anonymous(channels))


def test_tiff_of_unlike_images_is_refused() -> None:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(BANDS[0], photometric="minisblack")
        writer.write(BANDS[1, :2], photometric="minisblack")
    message = "a.tif: the TIFF holds 2 images of unlike shapes ((4, 7), (2, 7)); write one"
    with pytest.raises(DataError, match=re.escape(message)):
        read_image(buffer.getvalue(), "a.tif", anonymous(1))


def test_photograph_is_turned_upright() -> None:
    found = odd("exif_rotated.jpg")
    assert found.shape == (16, 10, 3)
    corners = {"top left": found[2, 2], "top right": found[2, 7], "low left": found[13, 2], "low right": found[13, 7]}
    expected = {"top left": "blue", "top right": "red", "low left": "white", "low right": "green"}
    colours = {"red": (220, 30, 30), "green": (30, 220, 30), "blue": (30, 30, 220), "white": (240, 240, 240)}
    for corner, pixel in corners.items():
        np.testing.assert_allclose(pixel, colours[expected[corner]], atol=12)


def test_palette_becomes_its_colours() -> None:
    with Image.open(ODD / "palette.png") as image:
        indices = np.asarray(image)
    colours = np.array([(220, 30, 30), (30, 220, 30), (30, 30, 220), (240, 240, 240)], np.uint8)
    np.testing.assert_array_equal(odd("palette.png"), colours[indices])


def test_cmyk_becomes_rgb() -> None:
    cyan = Image.new("CMYK", (16, 8), (255, 0, 0, 0))
    found = read_image(jpeg(cyan), "a.jpg", RGB)
    np.testing.assert_allclose(found, constant_channels(0, 255, 255, height=8, width=16), atol=3)
    assert odd("cmyk.jpg").shape == (16, 16, 3)


def test_grey_is_refused_or_repeated() -> None:
    with pytest.raises(
        DataError, match=r"grey.png: the image is grey; to read it as R = G = B, say --data.grey repeat"
    ):
        odd("grey.png")
    with Image.open(ODD / "grey.png") as image:
        grey = np.asarray(image)
    np.testing.assert_array_equal(odd("grey.png", grey="repeat"), np.stack([grey] * 3, -1))
    np.testing.assert_array_equal(odd("grey.png", 1), grey[:, :, None])


def test_sixteen_bit_grey() -> None:
    expected = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    found = odd("grey16.png", 1)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found[:, :, 0], expected)
    np.testing.assert_array_equal(odd("grey16.png", grey="repeat")[:, :, 1], expected)


def test_one_bit_is_black_and_white() -> None:
    found = read_image(png(np.array([[True, False]])), "a.png", anonymous(1))
    assert found[:, :, 0].tolist() == [[255, 0]]


def test_opaque_alpha_is_dropped_and_other_alpha_refused() -> None:
    with Image.open(ODD / "rgba_opaque.png") as image:
        np.testing.assert_array_equal(odd("rgba_opaque.png"), np.asarray(image)[:, :, :3])
    with pytest.raises(DataError, match=r"rgba_clear.png: the image is partly transparent, and transparency is not"):
        odd("rgba_clear.png")


def test_alpha_may_be_a_channel() -> None:
    with Image.open(ODD / "rgba_clear.png") as image:
        np.testing.assert_array_equal(odd("rgba_clear.png", 4), np.asarray(image))


def test_grey_with_opaque_alpha_is_grey() -> None:
    image = np.stack([np.arange(35, dtype=np.uint8).reshape(5, 7), np.full((5, 7), 255, np.uint8)], -1)
    np.testing.assert_array_equal(read_image(png(image), "a.png", RGB, grey="repeat")[:, :, 2], image[:, :, 0])
    with pytest.raises(DataError, match="the image is grey"):
        read_image(png(image), "a.png", RGB)
    image[0, 0, 1] = 254
    with pytest.raises(DataError, match="partly transparent"):
        read_image(png(image), "a.png", RGB, grey="repeat")


@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
def test_one_transparent_colour_is_transparency_too(mode: str) -> None:
    grey = Image.fromarray(np.arange(35, dtype=np.uint8).reshape(5, 7))
    image, used, unused = grey.convert(mode), (3, 3, 3) if mode == "RGB" else 3, (3, 3, 4) if mode == "RGB" else 99
    files = []
    for colour in (used, unused):
        buffer = io.BytesIO()
        image.save(buffer, "PNG", transparency=colour)
        files.append(buffer.getvalue())
    with pytest.raises(DataError, match="partly transparent"):
        read_image(files[0], "a.png", RGB, grey="repeat")
    np.testing.assert_array_equal(
        read_image(files[1], "a.png", RGB, grey="repeat"), np.asarray(grey.convert("RGB")), err_msg=mode
    )


NOISE = RNG.integers(0, 256, (9, 9, 3), dtype=np.uint8)
BAD_FILES = {
    "three for two": (png(NOISE), "a.png", 2, "the image has 3 channels, but 2 are expected: ('c0', 'c1')"),
    "three for one": (png(NOISE), "a.png", 1, "the image has 3 channels, but 1 are expected: ('c0',)"),
    "one for four": (png(NOISE[:, :, 0]), "a.png", 4, "the image has 1 channels, but 4 are expected"),
    "five for four": (tiff(BANDS, planarconfig="separate"), "a.tif", 4, "the image has 5 channels, but 4 are expected"),
    "one for five": (tiff(BANDS[0]), "a.tif", 5, "the image has 1 channels, but 5 are expected"),
    "cut pixels": (tiff(BANDS, planarconfig="separate")[:-50], "a.tif", 5, "the image is damaged or truncated ("),
    "cut header": (tiff(BANDS, planarconfig="separate")[:100], "a.tif", 5, "the image is damaged or truncated ("),
    "cut LZW": (tiff(BANDS, compression="lzw")[:-40], "a.tif", 5, "the image is damaged or truncated ("),
    "no TIFF": (b"hello", "a.tif", 5, "the image is damaged or truncated (not a TIFF file"),
    "cut PNG": (png(NOISE)[:150], "a.png", 3, "the image is damaged or truncated ("),
    "empty": (b"", "a.png", 3, "the file is no image that Pillow knows"),
    "text": ((ODD / "not_an_image.png").read_bytes(), "a.png", 3, "the file is no image that Pillow knows"),
    "cut JPEG": ((ODD / "truncated.jpg").read_bytes(), "a.jpg", 3, "the image is damaged or truncated ("),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files_are_named(case: str) -> None:
    data, name, channels, message = BAD_FILES[case]
    with pytest.raises(DataError, match=f"^{re.escape(f'{name}: {message}')}"):
        read_image(data, name, anonymous(channels))


def pillow(plane: Array, width: int, height: int, method: Image.Resampling) -> Array:
    return np.asarray(Image.fromarray(plane).resize((width, height), method))


@pytest.mark.parametrize("method", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_squash_is_pillows_filter_channel_by_channel(method: str) -> None:
    rule, filter_ = ResizeRule(4, "squash", method), Image.Resampling[method.upper()]
    for channels in (1, 3, 5):
        image = RNG.integers(0, 256, (9, 6, channels), dtype=np.uint8)
        expected = np.stack([pillow(image[:, :, c], 4, 4, filter_) for c in range(channels)], -1)
        found = resize(image, rule)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, expected)
        wide = image.astype(np.float32) * 100
        expected = np.stack([pillow(wide[:, :, c], 4, 4, filter_) for c in range(channels)], -1)
        np.testing.assert_array_equal(resize(wide, rule), expected)
        found = resize(wide.astype(np.uint16), rule)
        assert found.dtype == np.uint16
        np.testing.assert_array_equal(found, np.clip(np.rint(expected), 0, 65535))


def test_sixteen_bits_are_rounded_not_cut() -> None:
    image = np.array([[10, 11], [11, 11]], np.uint16)[:, :, None]  # mean 10.75
    assert resize(image, ResizeRule(1))[0, 0, 0] == 11


def test_sixteen_bits_never_wrap_around() -> None:
    image = np.zeros((8, 8, 1), np.uint16)
    image[:, 4:] = 65535
    found = resize(image, ResizeRule(16, "squash", "lanczos")).astype(int)
    assert found[:, 0].min() == found.min() == 0
    assert found.max() == 65535
    assert (np.diff(found[0, 6:10, 0]) > 0).all()  # across the edge


def test_constant_channels_stay_what_they_are() -> None:
    image = constant_channels(7, 300, 65535, 0, dtype=np.uint16)
    np.testing.assert_array_equal(resize(image, ResizeRule(3)), np.broadcast_to(image[:1, :1], (3, 3, 4)))


def test_right_size_is_left_alone() -> None:
    image = RNG.integers(0, 65536, (6, 6, 13), dtype=np.uint16)
    for fit in ("squash", "crop"):
        np.testing.assert_array_equal(resize(image, ResizeRule(6, fit, "lanczos")), image)


def test_crop_keeps_the_centre() -> None:
    tall, wide = RNG.integers(0, 256, (2, 8, 4, 3), dtype=np.uint8)[0], RNG.integers(0, 256, (3, 8, 2), dtype=np.uint8)
    np.testing.assert_array_equal(resize(tall, ResizeRule(4, "crop")), tall[2:6])
    np.testing.assert_array_equal(resize(wide, ResizeRule(3, "crop")), wide[:, 2:5])


def test_crop_scales_the_shorter_side() -> None:
    image = RNG.integers(0, 256, (4, 8, 3), dtype=np.uint8)
    whole = np.stack([pillow(image[:, :, c], 4, 2, Image.Resampling.BILINEAR) for c in range(3)], -1)  # 2×4 pixels
    np.testing.assert_array_equal(resize(image, ResizeRule(2, "crop")), whole[:, 1:3])


@pytest.mark.parametrize(("height", "width"), [(5, 7), (7, 5), (1, 9), (100, 33), (31, 32)])
def test_crop_always_gives_the_size(height: int, width: int) -> None:
    for size in (1, 3, 16):
        found = resize(np.zeros((height, width, 2), np.uint8), ResizeRule(size, "crop"))
        assert found.shape == (size, size, 2)


def npy(array: Array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def test_arrays_have_their_channels_first_or_last() -> None:
    for array in (BANDS, INTERLEAVED):
        np.testing.assert_array_equal(read_image(npy(array), "a.NPY", FIVE), INTERLEAVED)
    grey = read_image(npy(BANDS[0]), "a.npy", anonymous(1))
    np.testing.assert_array_equal(grey[:, :, 0], BANDS[0])
    assert read_image(npy(BANDS.astype(np.int16)), "a.npy", FIVE).dtype == np.float32


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 4, 3)), "an array of (3, 4, 3) for 3 channels has them first or last, nobody can tell; cut the"),
        (np.zeros((2, 4, 5)), "an array of (2, 4, 5) for 3 channels has them neither first nor last; name as many"),
        (np.zeros((2, 4, 5, 3)), "the array has 4 axes, but an image has two, or three with its channels"),
        (np.array([{"a": 1}]), "the image is damaged or truncated (Object arrays cannot be loaded"),
        (np.zeros((3, 4, 5), np.int64), "pixels of type int64 are not supported"),
    ],
)
def test_arrays_that_cannot_be_images(array: Array, message: str) -> None:
    with pytest.raises(DataError, match=f"^a.npy: {re.escape(message)}"):
        read_image(npy(array), "a.npy", RGB)


def with_gaps(dtype: Any, gap: float, *, height: int = 12, width: int = 16) -> tuple[Array, Array]:
    """An image of three smooth channels, the last two with gaps, and where they are."""
    image = (100 + 10 * np.arange(3) + np.arange(width)[None, :, None] + np.zeros((height, 1, 1))).astype(dtype)
    missing = np.zeros(image.shape, bool)
    missing[:, :, 1:] = RNG.random((height, width, 2)) < 0.3
    image[missing] = gap
    return image, missing


@pytest.mark.parametrize("method", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize(("dtype", "gap"), [(np.uint8, 0), (np.uint16, 65535), (np.float32, np.nan)])
@pytest.mark.parametrize("fit", ["squash", "crop"])
@pytest.mark.parametrize("size", [5, 40])
def test_no_data_is_never_mixed_with_values(method: Any, dtype: Any, gap: float, fit: Any, size: int) -> None:
    image, _ = with_gaps(dtype, gap)
    found = resize(image, ResizeRule(size, fit, method), (gap,) * 3).astype(np.float64)
    assert found.shape == (size, size, 3)
    kept = np.isfinite(found) if np.isnan(gap) else found != gap
    assert kept[:, :, 0].all()
    if size == 40:
        assert 0.5 < kept[:, :, 1:].mean() < 1
    ringing = 3 if method in ("bicubic", "lanczos") else 1e-3
    for channel in range(3):
        values = found[:, :, channel][kept[:, :, channel]]
        low = 100 + 10 * channel
        assert ((values >= low - ringing) & (values <= low + 15 + ringing)).all()


def test_no_data_rule_by_hand() -> None:
    """Halving weighs four pixels 1 3 3 1, and three at the edges; data has 6/7, 1/8, 1/8 and 6/7 of the weight."""
    row = np.array([8, 2, 0, 0, 0, 0, 4, 4], np.uint16)
    image = np.repeat(row[None, :, None], 8, 0)
    assert resize(image, ResizeRule(4, "squash", "bilinear"), (0,))[0, :, 0].tolist() == [5, 0, 0, 4]
    assert resize(image, ResizeRule(4, "squash", "nearest"), (0,))[0, :, 0].tolist() == [2, 0, 0, 4]


def test_without_gaps_the_rule_changes_no_bit() -> None:
    for dtype in (np.uint8, np.uint16, np.float32):
        image = (RNG.random((9, 13, 3)) * 200 + 1).astype(dtype)
        for method in ("bilinear", "lanczos"):
            rule = ResizeRule(6, "crop", method)
            np.testing.assert_array_equal(resize(image, rule, (0, None, 0)), resize(image, rule))


@pytest.mark.parametrize(
    ("shape", "candidates", "axis"),
    [
        ((95, 95, 156), (0, 2), 2),
        ((156, 95, 95), (0, 2), 0),
        ((610, 340, 103), (0, 2), 2),
        ((3, 40, 50), (0, 2), 0),
        ((9, 4, 3, 3), (1, 3), 1),
        ((156, 9025), (0, 1), 0),
        ((9025, 156), (0, 1), 1),
    ],
)
def test_where_channels_of_unknown_number_lie(shape: tuple[int, ...], candidates: tuple[int, int], axis: int) -> None:
    assert channel_axis(shape, candidates, None, "a") == axis


@pytest.mark.parametrize("shape", [(83, 86, 204), (5, 5, 5), (13, 100, 13)])
def test_an_axis_that_nobody_can_tell(shape: tuple[int, ...]) -> None:
    message = rf"^a: an array of .* has {shape[0]} channels first or {shape[2]} channels last, nobody can tell; list"
    with pytest.raises(DataError, match=message):
        channel_axis(shape, (0, 2), None, "a")


def inverted(data: bytes, name: str) -> Array:
    """A PNG whose values are inverted."""
    return 255 - np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.usefixtures("own_parts")
def test_a_registered_reader_reads_its_suffix() -> None:
    assert own_reader("a.inv") is None
    register_reader(".INV", inverted, version=3)
    image = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(read_image(png(image), "some/a.Inv", RGB), 255 - image)
    np.testing.assert_array_equal(read_image(png(image), "some/a.png", RGB), image)
    assert image_suffixes()[-1] == ".inv"
    own = own_reader("a.inv")
    assert own is not None
    assert own[1] == 3


@pytest.mark.usefixtures("own_parts")
def test_what_a_registered_reader_raises_or_gives_is_told() -> None:
    register_reader(".inv", inverted)
    with pytest.raises(DataError, match=r"^b.inv: the image cannot be read \(cannot identify image file"):
        read_image(b"nothing", "b.inv", RGB)
    with pytest.raises(DataError, match=r"^b.inv: the reader of .inv gives an array of 2 axes, not an array"):
        read_image(png(np.zeros((5, 7), np.uint8)), "b.inv", RGB)
    register_reader(".inv", lambda data, name: [[[1.0]]])  # type: ignore[arg-type, return-value]
    with pytest.raises(DataError, match=r"^b.inv: the reader of .inv gives list, not an array \(H, W, C\)"):
        read_image(b"", "b.inv", RGB)
    register_reader(".inv", inverted)
    with pytest.raises(DataError, match=r"^b.inv: the image has 4 channels, but 3 are expected"):
        read_image(png(np.zeros((5, 7, 4), np.uint8)), "b.inv", RGB)


@pytest.mark.usefixtures("own_parts")
@pytest.mark.parametrize("suffix", ["inv", ".tif", ".PNG", ".npz", ".zip"])
def test_suffixes_that_cannot_be_registered(suffix: str) -> None:
    with pytest.raises(ConfigError, match=f"a reader cannot be registered for '{suffix.lower()}'; give a suffix with"):
        register_reader(suffix, inverted)
    assert own_reader(f"a{suffix}") is None


@pytest.mark.parametrize("dtype", [">u2", "<u2", ">f4", ">i2", ">f8"])
def test_arrays_of_either_byte_order(dtype: str) -> None:
    buffer = io.BytesIO()
    np.save(buffer, INTERLEAVED.astype(dtype))
    found = read_image(buffer.getvalue(), "a.npy", FIVE)
    np.testing.assert_array_equal(found, INTERLEAVED)
    assert found.dtype == (np.uint16 if dtype[1] == "u" else np.float32)
