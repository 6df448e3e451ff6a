import json
from pathlib import Path

import pytest
from PIL import Image

from anychan.deploy import demo
from anychan.deploy.demo import DEMO_SUBSETS, run_demo
from anychan.evaluation.run import load_run
from anychan.models.base import AnyChannelModel
from anychan.presets import SENTINEL2
from anychan.recipe import Recipe
from anychan.training.run_folder import RunFolder
from tests.runs import ROOT

DEMO_DATA = ROOT / "src" / "anychan" / "demo_data"
COLUMNS = ["one anychan model", "plain, zero fill", "plain, mean fill", "plain, mean of present"]


def test_subsets_are_bands_of_the_sensor() -> None:
    chosen = {title: SENTINEL2.select(names) for title, names in DEMO_SUBSETS.items()}
    assert chosen["all 13 bands"] == SENTINEL2
    assert [channel.common_name for channel in chosen["red, green, blue"]] == ["red", "green", "blue"]
    assert all("swir" in str(channel.common_name) for channel in chosen["short-wave infrared"])
    assert all(704 <= (channel.wavelength_nm or 0) <= 865 for channel in chosen["red edge"])


def test_packaged_recipe_is_a_recipe() -> None:
    recipe = Recipe.load(DEMO_DATA / "demo.yaml")
    assert (recipe.model.stem, recipe.train.channel_sampling, recipe.train.monitor) == (
        "completion",
        "uniform_size",
        "val_loss",
    )


@pytest.fixture(scope="module")
def short_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo with two epochs in place of two hundred."""
    folder = tmp_path_factory.mktemp("demo") / "out"
    load = Recipe.load

    def load_short(path: Path) -> Recipe:
        recipe = load(path)
        if path.name == "demo.yaml":
            recipe.train.epochs, recipe.train.warmup_epochs = 2, 0.5
        return recipe

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recipe, "load", load_short)
        run_demo(folder)
    return folder


def test_demo_trains_twins_that_differ_in_two_keys(short_demo: Path) -> None:
    ours, plain = (RunFolder(short_demo / name).load_recipe().to_dict() for name in ("any-channel", "plain"))
    assert ours["data"].pop("path").endswith("eurosat-s2-32.zip")
    plain["data"].pop("path")
    assert (ours["model"].pop("stem"), plain["model"].pop("stem")) == ("completion", "mean")
    assert (ours["train"].pop("channel_sampling"), plain["train"].pop("channel_sampling")) == ("uniform_size", "none")
    assert ours == plain


def test_demo_writes_its_table_and_picture(short_demo: Path) -> None:
    found = json.loads((short_demo / "demo.json").read_text())
    assert list(found) == COLUMNS
    assert found[COLUMNS[0]]["batch_norm"] == "saved"
    for column in COLUMNS:
        rows = found[column]["subsets"]
        assert [set(row["channels"]) for row in rows] == [set(names) for names in DEMO_SUBSETS.values()]
        assert all(row["n"] == 60 for row in rows)
    full = [found[column]["subsets"][0] for column in COLUMNS[1:]]
    assert full[0] == full[1] == full[2]  # nothing is missing, so the fill makes no difference
    assert (short_demo / "tiles.zip").read_bytes() == (DEMO_DATA / "eurosat-s2-32.zip").read_bytes()
    for picture in (short_demo / "demo.png", short_demo / "plain" / "curves.png"):
        with Image.open(picture) as image:
            assert len(image.convert("RGB").getcolors(1 << 20) or []) > 20


def test_second_call_trains_nothing(
    short_demo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def forbidden(*args: object, **options: object) -> AnyChannelModel:
        raise AssertionError("the runs are there")

    before = (short_demo / "demo.json").read_text()
    monkeypatch.setattr(demo, "fit", forbidden)
    monkeypatch.setenv("COLUMNS", "200")
    run_demo(short_demo)
    out = capsys.readouterr().out
    assert out.count(": already trained") == 2
    for title in (*DEMO_SUBSETS, *COLUMNS):
        assert title in out
    assert "60 test tiles: the intervals are wide" in out
    assert (short_demo / "demo.json").read_text() == before


def test_demo_runs_are_ordinary_runs(short_demo: Path) -> None:
    model, data = load_run(short_demo / "any-channel")
    assert set(model.channels.names) == set(SENTINEL2.names)
    assert {split: len(part) for split, part in data.splits.items()} == {"train": 120, "val": 20, "test": 60}


@pytest.mark.slow
def test_whole_demo_beats_the_plain_network(tmp_path: Path) -> None:
    run_demo(tmp_path / "out")
    found = json.loads((tmp_path / "out" / "demo.json").read_text())
    ours, *plain = ([row["accuracy"] for row in found[column]["subsets"]] for column in COLUMNS)
    assert ours[0] > 0.5  # all bands; chance is 0.1
    for rival in plain:
        assert sum(ours[1:]) > sum(rival[1:]) + 5 * 0.15  # five subsets, 15 points each
