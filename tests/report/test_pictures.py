import base64
import io
import math

import numpy as np
from PIL import Image

from anychan.encoding import Encoding
from anychan.presets import LANDSAT8, RGB, SENTINEL2
from anychan.report.pictures import draw_image, is_photograph, picture_channels
from tests.runs import Array, anonymous


def pixels(uri: str) -> Array:
    head, _, data = uri.partition(",")
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture)


def test_red_green_and_blue_are_shown_where_they_are() -> None:
    assert picture_channels(SENTINEL2) == (3, 2, 1)
    assert picture_channels(LANDSAT8.select(["blue", "nir08", "red", "green"])) == (2, 3, 0)
    assert picture_channels(RGB.select(["R", "B"])) == (0,)
    assert picture_channels(anonymous(5)) == (0, 1, 2)


def test_photographs_are_8_bits_of_red_green_and_blue() -> None:
    assert is_photograph(RGB, np.dtype(np.uint8))
    assert is_photograph(RGB.select(["R", "B"]), np.dtype(np.uint8))
    assert not is_photograph(RGB, np.dtype(np.uint16))
    assert not is_photograph(anonymous(3), np.dtype(np.uint8))
    assert not is_photograph(SENTINEL2, np.dtype(np.uint8))


def test_a_photograph_stays_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    found = draw_image(image[..., [2, 0, 1]], RGB.select(["B", "R", "G"]), [Encoding()] * 3)
    np.testing.assert_array_equal(pixels(found.composite), image)
    assert (found.shown, list(found.tiles)) == (("R", "G", "B"), ["B", "R", "G"])
    np.testing.assert_array_equal(pixels(found.tiles["G"]), image[..., 1])


def test_other_channels_are_stretched_each_by_itself() -> None:
    ramp = np.arange(101, dtype=np.uint16).reshape(1, 101)
    image = np.stack([100 * ramp, 7 + ramp, np.full_like(ramp, 9)], -1)[:, :50]
    found = draw_image(image, anonymous(3), [Encoding()] * 3)
    one, other, flat = (pixels(found.tiles[name]) for name in ("c0", "c1", "c2"))
    np.testing.assert_array_equal(one, other)
    assert (one.min(), one.max(), flat.max()) == (0, 255, 0)
    # by hand: of 0 to 49 the 2nd percentile is 0.98 and the 98th 48.02
    assert one[0, 25] == round(255 * (25 - 0.98) / (48.02 - 0.98))
    assert pixels(found.composite).shape == (1, 50, 3)


def test_no_data_is_clear_and_stretches_nothing() -> None:
    image = np.arange(24, dtype=np.float32).reshape(4, 6, 1) + 100
    image[0, 0], image[1, 1], image[2, 2] = -9999, math.nan, math.inf
    found = pixels(draw_image(image, anonymous(1), [Encoding(no_data=-9999)]).tiles["c0"])
    assert found.shape == (4, 6, 2)
    assert sorted(zip(*np.nonzero(found[..., 1] == 0), strict=True)) == [(0, 0), (1, 1), (2, 2)]
    assert (found[0, 1, 0], found[3, 5, 0]) == (0, 255)
    empty = draw_image(np.full((4, 6, 1), np.nan, np.float32), anonymous(1), [Encoding()])
    assert pixels(empty.composite)[..., 1].max() == 0


def test_pictures_stay_small() -> None:
    image = np.random.default_rng(0).integers(0, 60_000, (300, 200, 40), dtype=np.uint16)
    found = draw_image(image, anonymous(40), [Encoding()] * 40)
    assert pixels(found.composite).shape == (128, 85, 3)
    assert {pixels(tile).shape for tile in found.tiles.values()} == {(56, 37)}
    assert len(found.tiles) == 16
    assert next(iter(found.tiles)) == "c0"
    assert list(found.tiles)[-1] == "c39"
