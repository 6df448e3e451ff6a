import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from anychan.errors import ChannelError, ConfigError, RunError
from anychan.evaluation.match import ChannelMatch
from anychan.evaluation.run import evaluate_run, load_run
from anychan.evaluation.subsets import SubsetReport, SubsetRow
from anychan.presets import SENTINEL2
from anychan.report.asked import Evaluation
from anychan.report.evaluate import MANY_SUBSETS, RunReport, report_run, write_run_report

HEAD = {"model": "net", "stem": "zero", "split": "test", "channel_drop": 0.0, "changed": ""}


def test_a_run_is_tested_and_its_smallest_sensor_chosen_on_validation(run_copy: Path) -> None:
    found = report_run(str(run_copy), Evaluation(within=0.5))
    model, data = load_run(run_copy)
    test, val = (evaluate_run(model, data, split=split) for split in ("test", "val"))
    assert found.report.table == test.table
    assert found.smallest is not None
    assert found.smallest.to_dict() == test.smallest_sensor(val, within=0.5).to_dict()
    written = json.loads((run_copy / "subsets.json").read_text())
    assert written == found.to_dict()
    assert (written["smallest_sensor"]["within"], written["smallest_sensor_reason"]) == (0.5, None)
    assert written["shapley"]["none"] == pytest.approx(1 / 3)  # three classes, as often as each other
    assert written["shapley_reason"] is None
    with Image.open(run_copy / "subsets-front.png") as picture:
        assert len(picture.convert("RGB").getcolors(1 << 20) or []) > 20
    assert not list(run_copy.glob("*.npz"))


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (Evaluation(split="val"), "it is chosen on validation images and tested on test images, but only the former"),
        (Evaluation(channel_drop=0.5), "the images were changed by --channel-drop"),
        (Evaluation(channels=["R", "G,B"]), "the full set of channels was not evaluated"),
    ],
)
def test_where_there_is_no_smallest_sensor_it_says_why(run_copy: Path, asked: Evaluation, reason: str) -> None:
    found = report_run(str(run_copy), asked).to_dict()
    assert found["smallest_sensor"] is None
    assert found["smallest_sensor_reason"].startswith(reason)
    assert not list(run_copy.glob("*-front.png"))


def test_costs_go_by_any_of_a_channels_names(run_copy: Path) -> None:
    found = report_run(str(run_copy), Evaluation(within=1, costs={"blue": 1, "rgb:R": 5, "G": 2}))
    assert found.smallest is not None
    assert (found.smallest.channels, found.smallest.cost, found.smallest.cost_of_all) == (("B",), 1, 8)
    with pytest.raises(ChannelError, match="--costs: channel 'B' is there twice; give one cost for each channel"):
        report_run(str(run_copy), Evaluation(costs={"blue": 1, "B": 5}))
    with pytest.raises(ConfigError, match="costs: G, B have no cost"):
        report_run(str(run_copy), Evaluation(costs={"R": 1}))


def test_single_subsets_write_nothing(run_copy: Path) -> None:
    before = sorted(run_copy.iterdir())
    report_run(str(run_copy), Evaluation(channels=["R,G,B", "G"]))
    assert sorted(run_copy.iterdir()) == before


def test_many_subsets_have_a_picture_of_their_own(tmp_path: Path) -> None:
    chosen = list(SENTINEL2.select(SENTINEL2.names[:8]).subsets())
    rows = tuple(SubsetRow(subset.names, torch.arange(20) < len(subset)) for subset in chosen)
    assert len(rows) > MANY_SUBSETS
    report = SubsetReport(rows, 255, "own", torch.arange(20) < 1)
    match = ChannelMatch(SENTINEL2.select(SENTINEL2.names[:8]), dict.fromkeys(SENTINEL2.names[:8], "trained"), ())
    found = RunReport({**HEAD, "changed": "own"}, report, report.smallest_sensor(report), None, None, match)
    write_run_report(found, tmp_path, chance=0.1)
    assert {path.name for path in tmp_path.iterdir()} == {
        f"subsets-own{end}" for end in (".json", ".csv", ".png", "-front.png")
    }
    with Image.open(tmp_path / "subsets-own.png") as picture:
        assert picture.width > 2 * picture.height  # two panels
    assert len((tmp_path / "subsets-own.csv").read_text().splitlines()) == 256


def test_a_report_that_cannot_be_written_is_one_sentence(run_copy: Path) -> None:
    (run_copy / "subsets.json").mkdir()
    with pytest.raises(RunError, match=r"subsets\.json, \.csv and \.png cannot be written there"):
        report_run(str(run_copy), Evaluation())
    assert list(run_copy.glob("*.npz"))  # what was found is not lost with it
