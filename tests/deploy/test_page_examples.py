from pathlib import Path

import pytest

from anychan.data.tiff import tiff_facts
from anychan.deploy.page_examples import demo_tiles, folder_images
from anychan.errors import DataError
from anychan.models.pretrained import load
from anychan.presets import RGB, SENTINEL2
from tests.runs import RGB_SPLIT


def test_tiles_name_the_bands_that_the_model_knows(tmp_path: Path) -> None:
    some = SENTINEL2.select(["B04", "B8A"])
    found = demo_tiles(some, tmp_path)
    assert len(found) == 6
    assert [path.name.split("_")[0] for path in found[:3]] == ["AnnualCrop", "Forest", "HerbaceousVegetation"]
    facts = tiff_facts(found[0].read_bytes(), found[0].name)
    assert (facts.shape, str(facts.dtype), facts.channel_names) == ((32, 32, 2), "uint16", ("B04", "B8A"))


def test_the_packaged_model_takes_them(tmp_path: Path) -> None:
    known = load("demo").channels
    facts = [tiff_facts(path.read_bytes(), path.name) for path in demo_tiles(known, tmp_path)]
    assert {frozenset(fact.channel_names) for fact in facts} == {frozenset(known.names)}


def test_no_band_no_tile(tmp_path: Path) -> None:
    assert demo_tiles(RGB, tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_first_images_of_a_folder(tmp_path: Path) -> None:
    folder = RGB_SPLIT / "images" / "circle"
    assert folder_images(folder) == sorted(folder.iterdir())[:6]
    with pytest.raises(DataError, match="there is no image"):
        folder_images(tmp_path)
    with pytest.raises(DataError, match="there is no such folder"):
        folder_images(tmp_path / "absent")
