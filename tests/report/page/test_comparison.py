import json
import shutil
from pathlib import Path

from anychan.evaluation.accuracy import unpack_bits
from anychan.evaluation.paired import paired_difference
from anychan.report.page.chart import Absent
from anychan.report.page.comparison import Compared, compare_pages


def test_runs_are_compared_with_the_first_on_the_same_images(reported_runs: tuple[Path, Path]) -> None:
    found = compare_pages(reported_runs)
    assert isinstance(found, Compared)
    tests = [json.loads((run / "run.json").read_text())["test"] for run in reported_runs]
    expected = paired_difference(*(unpack_bits(test["correct"], 6) for test in reversed(tests)))
    first, second = found.rows
    assert (first.run, second.run, first.difference) == ("sampled", "plain", "–")
    points = [100 * expected[end] for end in ("difference", "low", "high")]
    assert second.difference == f"{points[0]:+.1f} ({points[1]:+.1f} to {points[2]:+.1f})"
    assert second.p_value == f"{expected['p_value']:.3f}"
    assert [row.bar.length for row in found.rows] == [round(100 * test["accuracy"], 2) for test in tests]
    assert first.channels == "R+G+B"
    assert [line.name for line in found.charts[0].lines] == ["sampled", "plain"]
    assert "less that of sampled in points, on the same test images" in found.notes[1]


def test_other_images_have_no_difference(reported_runs: tuple[Path, Path], tmp_path: Path) -> None:
    other = Path(shutil.copytree(reported_runs[1], tmp_path / "other"))
    values = json.loads((other / "run.json").read_text())
    values["test"]["images"] = "0" * 64
    (other / "run.json").write_text(json.dumps(values))
    found = compare_pages([reported_runs[0], other])
    assert isinstance(found, Compared)
    assert (found.rows[1].difference, found.rows[1].p_value) == ("other images", "")
    assert "Not all runs were tested on the same images" in found.notes[2]


def test_runs_that_cannot_be_compared_say_why(reported_runs: tuple[Path, Path], run_copy: Path) -> None:
    found = compare_pages([reported_runs[0], run_copy])  # the second was never tested
    assert isinstance(found, Absent)
    assert found.sentence.startswith("These runs cannot be compared: ")
    assert "of a run that was never tested" in found.sentence
