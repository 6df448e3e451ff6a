from pathlib import Path

import pytest

from anychan.data.tiff import tiff_facts
from anychan.deploy.page_examples import demo_tiles, folder_images
from anychan.errors import DataError
from anychan.models.pretrained import load
from anychan.presets import RGB, SENTINEL2
from tests.runs import RGB_SPLIT
from tests.scenes import scene_model


def test_tiles_name_the_bands_that_the_model_knows(tmp_path: Path) -> None:
    found = demo_tiles(scene_model(SENTINEL2.select(["B04", "B8A"])).contract, tmp_path)
    assert len(found) == 6
    assert [path.name.split("_")[0] for path in found[:3]] == ["AnnualCrop", "Forest", "HerbaceousVegetation"]
    facts = tiff_facts(found[0].read_bytes(), found[0].name)
    assert (facts.shape, str(facts.dtype), facts.channel_names) == ((32, 32, 2), "uint16", ("B04", "B8A"))


def test_the_packaged_model_takes_them(tmp_path: Path) -> None:
    contract = load("demo").contract
    known = contract.channels
    facts = [tiff_facts(path.read_bytes(), path.name) for path in demo_tiles(contract, tmp_path)]
    assert {frozenset(fact.channel_names) for fact in facts} == {frozenset(known.names)}


def test_no_band_no_tile(tmp_path: Path) -> None:
    assert demo_tiles(scene_model(RGB).contract, tmp_path) == []
    assert demo_tiles(scene_model(SENTINEL2, dtype="uint8").contract, tmp_path) == []
    assert demo_tiles(scene_model(SENTINEL2, untrained=SENTINEL2.identities).contract, tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_first_images_of_a_folder(tmp_path: Path) -> None:
    folder = RGB_SPLIT / "images" / "circle"
    assert folder_images(folder) == sorted(folder.iterdir())[:6]
    with pytest.raises(DataError, match="there is no image"):
        folder_images(tmp_path)
    with pytest.raises(DataError, match="there is no such folder"):
        folder_images(tmp_path / "absent")
    (tmp_path / "a.npy").write_bytes(b"")
    (tmp_path / "channels.yaml").write_text("channels: [a]\n")
    with pytest.raises(DataError, match=r"its channels\.yaml cannot travel with an example"):
        folder_images(tmp_path)
