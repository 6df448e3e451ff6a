"""The tiles inside the package: how many, of what, and that the bands are what their names say."""

from collections import Counter
from importlib.resources import as_file, files

import numpy as np
import pytest

from anychan.data.dataset import ImageData, load_data
from anychan.recipe import DataConfig
from tests.runs import ROOT

BANDS = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A"]


@pytest.fixture(scope="module")
def tiles(cache: object) -> ImageData:
    with as_file(files("anychan.demo_data") / "eurosat-s2-32.zip") as path:
        return load_data(DataConfig(path=str(path), size=32), seed=0)


def test_zip_is_small_and_its_licence_beside_it() -> None:
    folder = ROOT / "src" / "anychan" / "demo_data"
    assert (folder / "eurosat-s2-32.zip").stat().st_size <= 4_000_000
    text = (folder / "README.md").read_text(encoding="utf-8")
    for part in ("MIT License", "Copernicus Sentinel data", "10.1109/JSTARS.2019.2918242"):
        assert part in text


def test_tiles_are_split_class_by_class(tiles: ImageData) -> None:
    for split, count in (("train", 12), ("val", 2), ("test", 6)):
        assert Counter(tiles.splits[split].labels.tolist()) == dict.fromkeys(range(10), count)
    names = [name for part in tiles.splits.values() for name in part.names]
    assert len(set(names)) == 200
    assert tiles.classes[0] == "AnnualCrop"
    assert list(tiles.classes) == sorted(tiles.classes)
    for part in tiles.splits.values():
        for name, label in zip(part.names, part.labels.tolist(), strict=True):
            assert name.split("/")[1] == tiles.classes[label]


def test_no_tile_is_there_twice(tiles: ImageData) -> None:
    contents = [image.tobytes() for part in tiles.splits.values() for image in part.images]
    assert len(set(contents)) == 200


def test_bands_are_thirteen_in_the_stated_order(tiles: ImageData) -> None:
    assert tiles.channels.identities == tuple(f"sentinel2:{name}" for name in BANDS)
    images = tiles.splits["train"].images
    assert images.shape == (120, 32, 32, 13)
    assert images.dtype == np.uint16


def test_bands_hold_what_their_names_say(tiles: ImageData) -> None:
    """Physics, not the files' own word: a shuffled order fails."""
    mean = dict(zip(BANDS, tiles.statistics.mean, strict=True))
    assert 8 < mean["B10"] < 16  # cirrus: absorbed by water vapour before it reaches the ground
    assert min((value, name) for name, value in mean.items())[1] == "B10"
    assert mean["B01"] > mean["B02"] > mean["B03"]  # haze is brightest at short wavelengths
    assert mean["B04"] < mean["B05"] < mean["B06"] < mean["B07"]  # the red edge of plants
    covariance, std = tiles.statistics.covariance, tiles.statistics.std
    likeness = covariance / np.outer(std, std)

    def alike(first: str, second: str) -> float:
        return float(likeness[BANDS.index(first), BANDS.index(second)])

    assert alike("B8A", "B07") > 0.95  # neighbours, though B8A comes last
    assert alike("B8A", "B08") > alike("B8A", "B04")
    assert alike("B11", "B12") > 0.85
    assert alike("B03", "B04") > alike("B03", "B08")


def test_water_is_dark_in_the_infrared(tiles: ImageData) -> None:
    sea = tiles.classes.index("SeaLake")
    forest = tiles.classes.index("Forest")
    train = tiles.splits["train"]
    infrared = {label: train.images[train.labels.numpy() == label][..., 7].mean() for label in (sea, forest)}
    assert infrared[forest] > 3 * infrared[sea]
