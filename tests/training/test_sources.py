from pathlib import Path

import numpy as np
import pytest

from anychan.data.dataset import ImageData, load_data
from anychan.recipe import DataConfig, ModelConfig, Recipe, TrainConfig
from anychan.training.fit import build_model
from anychan.training.sources import source_facts, source_warnings
from tests.runs import tiff, write_tree

SPLIT = {"size": 4, "val_fraction": 0.34, "test_fraction": 0.34}


def two_sources(folder: Path, *, shift: float) -> ImageData:
    """Noise in two bands of 60 images and of 6, and the band that both have shifted in the 6."""
    for name, bands, count in (("one", ("B02", "B03"), 60), ("two", ("B03", "B04"), 6)):
        noise = np.random.default_rng(count).normal(size=(count, 4, 4, 2)).astype(np.float32)
        noise[..., 0] += shift * (name == "two")
        files = {f"{'ab'[i % 2]}/{i}.tif": tiff(image, planarconfig="contig") for i, image in enumerate(noise)}
        text = f"channels: [{', '.join(f'sentinel2:{band}' for band in bands)}]\n"
        write_tree(folder / name, {**files, "channels.yaml": text})
    return load_data(DataConfig(path=[str(folder / "one"), str(folder / "two")], **SPLIT), seed=0)  # type: ignore[arg-type]


def test_each_source_has_its_own_statistics(tmp_path: Path) -> None:
    data = two_sources(tmp_path, shift=10)
    facts = source_facts(data)["sources"]
    assert source_facts(data.source("two")) == {}
    assert {name: list(found["channels"]) for name, found in facts.items()} == {
        "one": ["B02", "B03"],
        "two": ["B03", "B04"],
    }
    part = data.source("two").splits["train"].images
    assert facts["two"]["images"] == len(part)
    assert facts["two"]["channels"]["B03"] == {
        "mean": pytest.approx(float(part[..., 0].mean()), rel=1e-6),
        "std": pytest.approx(float(part[..., 0].std()), rel=1e-6),
    }


@pytest.mark.parametrize(("shift", "warned"), [(0.0, []), (-40.0, ["B03"])])
def test_a_source_unlike_the_others_is_told(tmp_path: Path, shift: float, warned: list[str]) -> None:
    data = two_sources(tmp_path, shift=shift)
    model = build_model(Recipe(DataConfig(), ModelConfig("baseline_cnn", "mean"), TrainConfig()), data)
    found = source_warnings(model.contract, data)
    assert [text.split(":")[0] for text in found] == ["two"] * len(warned)
    assert all(name in text for name, text in zip(warned, found, strict=True))
    assert source_warnings(model.contract, data.source("two")) == []
