import dataclasses
import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from anychan.contract import ChannelStatistics, Contract
from anychan.data.drift import input_warnings, print_warnings
from anychan.data.statistics import image_statistics
from anychan.encoding import Encoding
from anychan.errors import InputShapeError
from anychan.presets import RGB, SENTINEL2
from tests.runs import anonymous

Array = Any
EUROSAT = [f"B{number:02d}" for number in range(1, 13)] + ["B8A"]


def of_pixels(images: Array) -> ChannelStatistics:
    return image_statistics([(images, None)], images.shape[-1])


def trained_on(images: Array, channels: Any) -> Contract:
    """A contract with these images' statistics."""
    size = (1.0,) * len(channels)
    statistics = of_pixels(images)
    return Contract("resnet8", {}, "mean", channels, size, size, ("a", "b"), statistics=statistics)


@pytest.fixture(scope="module")
def tiles(real_data: Callable[[str], Path]) -> Array:
    """The 200 EuroSAT tiles (200, 64, 64, 13) uint16."""
    with zipfile.ZipFile(real_data("eurosat-ms-mini.zip")) as opened:
        names = sorted(name for name in opened.namelist() if name.endswith(".tif"))
        return np.stack([tifffile.imread(io.BytesIO(opened.read(name))) for name in names])


@pytest.fixture(scope="module")
def halves(tiles: Array) -> tuple[Contract, Array]:
    order = np.random.default_rng(0).permutation(200)
    return trained_on(tiles[order[:100]], SENTINEL2.select(EUROSAT)), tiles[order[100:]]


def named(lines: list[str]) -> list[str]:
    return [re.match(r"channel (\S+):", line)[1] for line in lines]  # type: ignore[index]


def test_random_halves_of_real_tiles_are_alike(tiles: Array) -> None:
    channels = SENTINEL2.select(EUROSAT)
    for seed in range(12):
        order = np.random.default_rng(seed).permutation(200)
        assert input_warnings(trained_on(tiles[order[:100]], channels), tiles[order[100:]]) == []


@pytest.mark.parametrize(
    ("change", "least"),
    [
        (lambda x: x.astype(np.float32) - 1000, 6),
        (lambda x: np.maximum(x.astype(np.int32) - 1000, 0).astype(np.uint16), 4),
        (lambda x: x / np.float32(10000), 12),
        (lambda x: x * np.float32(10000), 13),
        (lambda x: (x // 257).astype(np.uint8), 12),
        (lambda x: (np.minimum(x, 2800) / 11).astype(np.uint8), 12),
    ],
    ids=["offset", "offset and clip", "reflectance", "numbers for reflectance", "8 bits", "stretched to 8 bits"],
)
def test_other_units_are_caught(halves: tuple[Contract, Array], change: Callable[[Array], Array], least: int) -> None:
    contract, images = halves
    found = input_warnings(contract, change(images))
    assert len(named(found)) >= least
    assert set(named(found)) <= set(EUROSAT)


def test_trained_on_8_bits_and_given_16(tiles: Array) -> None:
    channels = SENTINEL2.select(EUROSAT)
    contract = trained_on((np.minimum(tiles, 2800) / 11).astype(np.uint8), channels)
    assert named(input_warnings(contract, tiles)) == EUROSAT


def image(*values: float, spread: float = 0.0) -> Array:
    """(1, 20, 10, C): half of the pixels of each channel `spread` above its value, half below."""
    base = np.broadcast_to(np.array(values, np.float64), (1, 20, 10, len(values))).copy()
    base[:, ::2] += spread
    base[:, 1::2] -= spread
    return base


def test_a_shifted_mean_is_one_sentence() -> None:
    contract = trained_on(image(100, 50, 10, spread=10), RGB)
    assert input_warnings(contract, image(114, 36, 10, spread=1)) == []
    (found,) = input_warnings(contract, image(116, 50, 10, spread=1))
    assert found == (
        "channel R: the inputs' mean, 116, lies 1.6 standard deviations above that of the training images, 100; see "
        "that unit, offset and number type are those of the training"
    )
    (below,) = input_warnings(contract, image(100, 50, -30))
    assert below.startswith("channel B: the inputs' mean, -30, lies 4.0 standard deviations below")


def test_a_share_outside_the_range_is_one_sentence() -> None:
    contract = trained_on(image(100, 50, 10, spread=10), RGB)
    inputs = image(100, 50, 10, spread=5)
    inputs[0, :, 0, 1] = [200, -100] * 10  # a tenth of the pixels, mean 50
    (found,) = input_warnings(contract, inputs)
    assert found.startswith("channel G: 10 % of the pixels lie outside 10 to 90; see that unit")
    inputs[0, 10:, 0, 1] = 50  # a twentieth: less than 1/16
    assert input_warnings(contract, inputs) == []


def test_no_training_set_warns_of_itself() -> None:
    """However long its tails: Chebyshev's bound holds for all."""
    rng = np.random.default_rng(0)
    for images in (rng.pareto(2.1, (9, 8, 8, 3)), rng.random((9, 8, 8, 3)) < 0.06, rng.standard_cauchy((9, 8, 8, 3))):
        assert input_warnings(trained_on(images.astype(np.float64), RGB), images.astype(np.float64)) == []


def test_statistics_compare_means_alone() -> None:
    contract = trained_on(image(100, 50, 10, spread=10), RGB)
    assert named(input_warnings(contract, of_pixels(image(140, 50, 60, spread=1)))) == ["R", "B"]
    assert input_warnings(contract, of_pixels(image(100, 50, 10, spread=500))) == []


def test_channels_go_by_identity() -> None:
    contract = trained_on(image(100, 50, 10, spread=10), RGB)
    other = RGB.select("B,R")
    assert input_warnings(contract, image(10, 100, spread=5), channels=other) == []
    assert named(input_warnings(contract, image(100, 10), channels=other)) == ["B", "R"]
    strange = anonymous(2)
    assert input_warnings(contract, image(1e6, 1e6), channels=strange) == []
    with pytest.raises(InputShapeError, match=r"^the inputs have 2 channels, not the 3 of R\+G\+B$"):
        input_warnings(contract, image(1, 2))


def test_pixels_that_are_not_finite_are_left_out() -> None:
    contract = trained_on(image(100, 50, 10, spread=10), RGB)
    inputs = image(100, 50, 10, spread=10)
    inputs[0, :5, :, 0] = np.nan
    inputs[..., 2] = np.nan
    assert input_warnings(contract, inputs) == []
    inputs[..., 0] += 50
    assert named(input_warnings(contract, inputs)) == ["R"]


def test_pixels_without_data_are_left_out() -> None:
    contract = trained_on(image(100, 50, 10, spread=10), RGB)
    contract = dataclasses.replace(contract, encodings=(Encoding(no_data=-9999), Encoding(), Encoding()))
    inputs = image(100, 50, 10, spread=10)
    inputs[0, :15, :, 0] = -9999
    assert input_warnings(contract, inputs) == []
    inputs[0, :15, :, 1] = -9999  # which means nothing there
    assert named(input_warnings(contract, inputs)) == ["G"]


@pytest.mark.parametrize("number", [1e20, -3.4028235e38])
def test_no_data_that_float32_rounds_is_left_out(number: float) -> None:
    contract = trained_on(image(100, 50, 10, spread=10), RGB)
    contract = dataclasses.replace(contract, encodings=(Encoding(no_data=number), Encoding(), Encoding()))
    inputs = image(100, 50, 10, spread=10).astype(np.float32)
    inputs[0, :15, :, 0] = number
    assert input_warnings(contract, inputs) == []


def test_without_statistics_there_is_nothing_to_compare() -> None:
    contract = dataclasses.replace(trained_on(image(1, 2, 3, spread=1), RGB), statistics=None)
    assert input_warnings(contract, image(1e6, 1e6, 1e6)) == []


def test_eight_warnings_are_printed_and_the_rest_counted(capsys: pytest.CaptureFixture[str]) -> None:
    print_warnings([f"channel {number}" for number in range(8)])
    assert capsys.readouterr().err.splitlines() == [f"warning: channel {number}" for number in range(8)]
    print_warnings([f"channel {number}" for number in range(11)])
    out, err = capsys.readouterr()
    assert (out, err.splitlines()[8:]) == ("", ["warning: the same of 3 more channels"])
