import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from anychan.errors import RunError
from anychan.report.page.chart import Absent
from anychan.report.page.confusion import Confusion
from anychan.report.page.cost import Cost
from anychan.report.page.mistakes import Mistakes
from anychan.report.page.run import Outcome, RunPage, read_run
from anychan.training.run_folder import RunFolder
from tests.runs import RGB_SPLIT, copy_of


def read(folder: Path, data_path: Path | None = None) -> RunPage:
    return read_run("name", RunFolder(folder), data_path=None if data_path is None else str(data_path))


@pytest.fixture
def plain(reported_runs: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of a tested run's folder, to damage."""
    return Path(shutil.copytree(reported_runs[1], tmp_path / "plain"))


def edited(folder: Path, change: Callable[[dict[str, object]], object]) -> Path:
    values = json.loads((folder / "run.json").read_text())
    change(values)
    (folder / "run.json").write_text(json.dumps(values))
    return folder


def test_a_page_says_what_the_run_says(reported_runs: tuple[Path, Path]) -> None:
    told: list[str] = []
    found = read_run("name", RunFolder(reported_runs[0]), tell=told.append)
    result = json.loads((reported_runs[0] / "run.json").read_text())
    assert isinstance(found.test, Outcome)
    assert found.test.accuracy == f"{100 * result['test']['accuracy']:.1f} %"
    assert (found.test.n, found.test.sources) == (6, {})
    assert found.facts == {
        "model": "baseline_cnn",
        "stem": "zero",
        "channels": "3: R, G, B",
        "classes": "3: circle, square, stripe",
        "images": "12 training, 6 validation, 6 test",
    }
    assert isinstance(found.confusion, Confusion)
    assert isinstance(found.mistakes, Mistakes)
    right = sum(row.cells[label][0] for label, row in enumerate(found.confusion.rows))
    assert right == round(6 * result["test"]["accuracy"]) == 6 - found.mistakes.wrong
    assert isinstance(found.cost, Cost)
    assert isinstance(found.origin, dict)
    assert (found.origin["torch"], found.origin["seed"]) == (result["versions"]["torch"], "0")
    assert found.origin["kept epoch"] == f"{result['best_epoch'] + 1} of 3"
    assert told == ["name: profiling the model", "name: classifying the test images"]
    assert found.changed == {
        "data.path": str(RGB_SPLIT),
        "data.size": "16",
        "model.name": "baseline_cnn",
        "train.epochs": "3",
        "train.batch_size": "5",
        "train.lr": "0.01",
        "train.channel_sampling": "uniform",
        "train.precision": "float32",
    }
    assert "patience: null" in found.recipe


def test_an_unfinished_run_has_its_curves(plain: Path) -> None:
    for name in ("run.json", "model.safetensors"):
        (plain / name).unlink()
    found = read(plain)
    train = f"anychan train --config {plain}/recipe.yaml --out {plain}"
    assert found.test == Absent("The run is not finished; the command that began it goes on with it.", train)
    assert isinstance(found.curves, tuple)
    assert found.curves[0].vertical is None
    for part in (found.cost, found.confusion, found.mistakes):
        assert part == Absent("There is no trained model yet.", train)
    assert found.facts == {"model": "baseline_cnn"}


def test_damaged_files_say_so_where_they_would_stand(plain: Path) -> None:
    (plain / "run.json").write_text("{")
    (plain / "metrics.csv").write_text("epoch,train_loss\n0,much\n")
    (plain / "contract.json").write_text("{}")
    found = read(plain)
    assert found.test == found.origin == Absent("run.json is damaged, or of another anychan; train the run anew.")
    assert found.curves == Absent("metrics.csv is damaged, so there are no curves; train the run anew.")
    assert isinstance(found.cost, Absent)
    assert "contract.json: contract format None is not the known format 1" in found.cost.sentence
    assert isinstance(found.confusion, Absent)
    (plain / "metrics.csv").write_text("epoch,train_loss\n0,1\n")
    assert isinstance(read(plain).curves, Absent)
    (plain / "metrics.csv").unlink()
    curves = read(plain).curves
    assert isinstance(curves, Absent)
    assert curves.sentence == "There is no epoch in metrics.csv yet."


def test_sources_are_told_one_by_one_and_no_test_at_all(plain: Path) -> None:
    test = json.loads((plain / "run.json").read_text())["test"]
    found = read(edited(plain, lambda values: values.update(test_of_sources={"a": {**test, "accuracy": 0.5}})))
    assert isinstance(found.test, Outcome)
    assert found.test.sources["a"].startswith("50.0 % (")
    assert found.test.sources["a"].endswith(", n = 6")
    (absent,) = found.evaluations
    assert isinstance(absent.matrix, Absent)
    assert absent.matrix.command == f"anychan evaluate {plain} --source a"
    found = read(edited(plain, lambda values: values.pop("test")))
    assert found.test == Absent("The run was never tested, or by an older anychan; train it anew.")
    assert isinstance(found.confusion, Confusion)
    (plain / "run.json").write_text("[]")
    assert isinstance(read(plain).test, Absent)


def test_data_that_is_gone_is_told_and_may_be_elsewhere(plain: Path, tmp_path: Path) -> None:
    recipe = plain / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace(str(RGB_SPLIT), "/absent"))
    found = read(plain).confusion
    assert isinstance(found, Absent)
    assert "/absent: there is no such folder or zip" in found.sentence
    assert found.command == f"anychan report {plain} --data.path PATH"
    moved = copy_of(RGB_SPLIT, tmp_path)
    assert isinstance(read(plain, moved).confusion, Confusion)
    (moved / "test.txt").write_text("images/circle/circle_6.jpg 0\n")
    assert read(plain, moved).confusion == Absent(
        "The data has other test images than those that the run was tested on."
    )


def test_a_folder_that_is_no_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="this is no run folder"):
        read(tmp_path)
