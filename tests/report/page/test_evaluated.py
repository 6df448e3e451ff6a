import json
import shutil
from pathlib import Path

import pytest

from anychan.report.page.chart import Absent
from anychan.report.page.evaluated import read_evaluations
from anychan.report.page.front import Sensor
from anychan.report.page.subsets import Matrix
from anychan.report.page.worth import Worth

COMMAND = "anychan evaluate run"


@pytest.fixture
def evaluated(reported_runs: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of an evaluated run's folder."""
    return Path(shutil.copytree(reported_runs[0], tmp_path / "run"))


def test_what_evaluate_wrote_is_read(evaluated: Path) -> None:
    (found,) = read_evaluations(evaluated, COMMAND)
    written = json.loads((evaluated / "subsets.json").read_text())
    assert isinstance(found.matrix, Matrix)
    assert isinstance(found.worth, Worth)
    assert isinstance(found.sensor, Sensor)
    lengths = [row.bar.length for rows in found.matrix.groups.values() for row in rows]
    assert sorted(lengths) == sorted(round(100 * row["accuracy"], 2) for row in written["subsets"])
    assert sorted(found.worth.bars) == ["B", "G", "R"]
    assert found.how == "test images, stem zero, saved batch-norm statistics"


def test_the_plain_evaluation_comes_first(evaluated: Path) -> None:
    values = json.loads((evaluated / "subsets.json").read_text())
    other = {**values, "flip": True, "channel_drop": 0.5, "smallest_sensor": None, "smallest_sensor_reason": "none"}
    for name in ("channel-drop", "subsets-flip", "subsets-completion"):
        (evaluated / f"{name}.json").write_text(json.dumps(other))
    found = read_evaluations(evaluated, COMMAND)
    assert [one.file for one in found] == [
        "subsets.json",
        "channel-drop.json",
        "subsets-completion.json",
        "subsets-flip.json",
    ]
    assert found[1].how.endswith("images and their mirror images, one channel dropped with probability 0.5")
    assert found[1].sensor == Absent("There is no smallest sensor: none.")


def test_without_an_evaluation_the_command_is_told(reported_runs: tuple[Path, Path]) -> None:
    (found,) = read_evaluations(reported_runs[1], COMMAND)
    assert found.matrix == found.worth == found.sensor
    assert found.matrix == Absent("Subsets of the channels were not evaluated yet.", COMMAND)


@pytest.mark.parametrize("text", ["{", "[]", "{}", "null", '{"subsets": []}', '{"subsets": [{"channels": 3}]}'])
def test_a_damaged_file_says_so(evaluated: Path, text: str) -> None:
    (evaluated / "subsets.json").write_text(text)
    (found,) = read_evaluations(evaluated, COMMAND)
    expected = Absent("subsets.json is damaged, or of another anychan; it can be written anew.", COMMAND)
    assert found.matrix == found.worth == found.sensor == expected


@pytest.mark.parametrize("key", ["subsets", "shapley", "smallest_sensor", "violations", "flip", "possible_subsets"])
def test_a_file_that_lacks_something_says_so(evaluated: Path, key: str) -> None:
    values = json.loads((evaluated / "subsets.json").read_text())
    del values[key]
    (evaluated / "subsets.json").write_text(json.dumps(values))
    (found,) = read_evaluations(evaluated, COMMAND)
    assert isinstance(found.matrix, Absent)
