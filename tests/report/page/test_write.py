import re
import shutil
from pathlib import Path

import pytest

from anychan.errors import ConfigError, RunError
from anychan.report.page.write import report_path, write_page


def test_the_file_goes_to_the_run_or_here() -> None:
    assert report_path(["runs/a"], None) == Path("runs/a/report.html")
    assert report_path(["runs/a", "runs/b"], None) == Path("report.html")
    assert report_path(["runs/a"], "x.HTML") == Path("x.HTML")


def test_files_that_cannot_be_are_told_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.html").mkdir()
    for name, message in (
        ("a.html", "but that is a folder; name a file in it"),
        ("b.txt", "but it must end in .html"),
        ("none/b.html", f"but there is no folder {tmp_path}/none; make it, or write elsewhere"),
    ):
        with pytest.raises(ConfigError, match=re.escape(message)):
            write_page(["absent"], out=str(tmp_path / name))


def test_two_runs_are_compared_and_shown(reported_runs: tuple[Path, Path], tmp_path: Path) -> None:
    path = write_page([str(run) for run in reported_runs], out=str(tmp_path / "report.html"))
    text = path.read_text()
    assert "<h1>2 runs compared</h1>" in text
    assert text.count("<article") == 2
    assert text.index('id="comparison"') < text.index('id="run-1"') < text.index('id="run-2"')
    assert "less that of sampled in points" in text
    assert sorted(tmp_path.iterdir()) == [path]


def test_an_unfinished_run_has_a_page(reported_runs: tuple[Path, Path], tmp_path: Path) -> None:
    run = Path(shutil.copytree(reported_runs[1], tmp_path / "run"))
    for name in ("run.json", "model.safetensors", "metrics.csv"):
        (run / name).unlink()
    text = write_page([str(run)]).read_text()
    assert text.count("The run is not finished") == 2
    assert "<svg" not in text  # no empty plots
    assert write_page([str(run)]).read_text() == text  # no dates, no chance
    both = write_page([str(reported_runs[0]), str(run)], out=str(tmp_path / "both.html")).read_text()
    assert "These runs cannot be compared: " in both


def test_runs_that_are_none_write_nothing(reported_runs: tuple[Path, Path], tmp_path: Path) -> None:
    for runs, message in (
        ([str(reported_runs[0]), str(tmp_path)], "this is no run folder"),
        ([str(reported_runs[0])] * 2, "this run was named twice"),
    ):
        with pytest.raises(RunError, match=message):
            write_page(runs, out=str(tmp_path / "report.html"))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_told(reported_runs: tuple[Path, Path], tmp_path: Path) -> None:
    run = Path(shutil.copytree(reported_runs[1], tmp_path / "run"))
    (run / "model.safetensors").unlink()  # quickly
    (run / "report.html").mkdir()
    with pytest.raises(RunError, match=r"report\.html: the report cannot be written there"):
        write_page([str(run)])
    assert not list(run.glob("*.partial"))
