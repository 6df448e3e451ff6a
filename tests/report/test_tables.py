import csv
from pathlib import Path

import pytest
import torch
from rich.console import Console
from rich.table import Table

from anychan.evaluation.subsets import SubsetReport, SubsetRow
from anychan.report.tables import (
    accuracy_text,
    catalog_table,
    latency_table,
    markdown_table,
    profile_table,
    subset_table,
    subset_text,
    working,
    write_subset_csv,
)


def row(channels: str, right: int, n: int = 10) -> SubsetRow:
    return SubsetRow(tuple(channels), torch.arange(n) < right)


REPORT = SubsetReport((row("RGB", 9), row("RB", 5), row("G", 0)), 7, "shared")
OTHER = SubsetReport((row("RGB", 10), row("RB", 4), row("G", 1)), 7, "own")


def drawn(table: Table, width: int = 200) -> list[str]:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(table)
    return capture.get().splitlines()


def line_with(lines: list[str], *parts: str) -> str:
    (found,) = (line for line in lines if all(part in line for part in parts))
    return found


def test_accuracy_is_told_with_its_interval() -> None:
    assert accuracy_text(row("RGB", 9)) == "90.0 % (59.6 to 98.2)"
    assert accuracy_text(SubsetRow(("R",), torch.arange(450) < 297)) == "66.0 % (61.5 to 70.2)"


def test_subsets_are_rows_and_reports_are_columns() -> None:
    lines = drawn(subset_table({"ours": REPORT, "theirs": OTHER}))
    assert "n = 10 images" in lines[0]
    header = line_with(lines, "channels")
    assert header.index("ours") < header.index("theirs")
    cells = [cell.strip() for cell in line_with(lines, "R+B ").strip("│").split("│")]
    assert cells == ["R+B", accuracy_text(REPORT.rows[1]), accuracy_text(OTHER.rows[1])]
    order = [position for name in ("R+G+B", "R+B", "G ") for position, line in enumerate(lines) if f" {name}" in line]
    assert order == sorted(order)


def test_one_report_has_p_values_and_calibration_errors_too() -> None:
    right = torch.arange(10) < 5
    rows = [SubsetRow(("R", "G"), right, torch.full((10,), 0.75), 1.0), SubsetRow(("G",), right, torch.ones(10), 2e-5)]
    lines = drawn(subset_table({"ours": SubsetReport(tuple(rows), 3, "shared")}))
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if "│" in line]
    assert [row[2:] for row in cells] == [["1.000", "25.0 %"], ["2e-05", "50.0 %"]]
    assert "p against all" in line_with(lines, "channels")


def test_many_channels_are_named_by_those_that_are_absent() -> None:
    everything = tuple(f"B{number}" for number in range(10))
    assert subset_text(everything, everything) == "all 10 channels"
    assert subset_text(everything[1:9], everything) == "all but B0+B9"
    assert subset_text(everything[:7], everything) == "B0+B1+B2+B3+B4+B5+B6"
    assert subset_text(("R", "G"), ("R", "G", "B")) == "R+G"
    assert subset_text(everything, ()) == "+".join(everything)


def test_subsets_may_have_names() -> None:
    lines = drawn(subset_table({"ours": REPORT}, names=["all", "no green", "green alone"]))
    assert "50.0 %" in line_with(lines, "no green")
    assert not any("R+B" in line for line in lines)


def test_csv_holds_every_digit(tmp_path: Path) -> None:
    write_subset_csv(REPORT, tmp_path / "subsets.csv")
    with (tmp_path / "subsets.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [found["channels"] for found in rows] == ["R+G+B", "R+B", "G"]
    for found, expected in zip(rows, REPORT.rows, strict=True):
        assert (float(found["accuracy"]), int(found["n"])) == (expected.accuracy, 10)
        assert (float(found["low"]), float(found["high"])) == expected.interval
    assert list(tmp_path.iterdir()) == [tmp_path / "subsets.csv"]


def test_catalog_table() -> None:
    rows = [
        {
            "name": "a",
            "params": 1234567,
            "macs": 98765,
            "input_shape": [1, 3, 32, 32],
            "num_classes": 50,
            "source": "S",
        },
        {"name": "b", "params": 1, "macs": 2, "input_shape": [1, 4, 5, 7], "num_classes": 9, "source": "He 2016"},
    ]
    lines = drawn(catalog_table(rows))
    cells = [cell.strip() for cell in line_with(lines, "1,234,567").strip("│").split("│")]
    assert cells == ["a", "1,234,567", "98,765", "1x3x32x32", "50", "S"]
    assert "1x4x5x7" in line_with(lines, "He 2016")


def test_profile_table_says_what_is_left_out() -> None:
    found = {"params": 5000, "macs": 60000, "uncounted": {"relu": 1024, "sigmoid": 7}, "input_shape": [1, 2, 5, 7]}
    lines = drawn(profile_table("net", found))
    assert "net at 2x5x7, one image" in lines[0]
    assert "5,000" in line_with(lines, "parameters")
    assert "60,000" in line_with(lines, "MACs")
    assert "1,024" in line_with(lines, "not counted: relu")
    assert "7" in line_with(lines, "not counted: sigmoid")
    assert not any("depth" in line for line in lines)


def test_profile_table_shows_the_depth() -> None:
    depth = {"features": 4, "features_with_gates": 12, "classifier": 1, "weighted_modules": 17}
    found = {"params": 5, "macs": 6, "uncounted": {}, "input_shape": [1, 2, 5, 7], "depth": depth}
    lines = drawn(profile_table("net", found))
    for title, value in (("feature layers", 4), ("with gates", 12), ("classifier", 1), ("weighted modules", 17)):
        assert line_with(lines, title).strip("│ ").endswith(f" {value}")


def test_latency_table() -> None:
    row = {"engine": "eager", "threads": 1, "cold_start_ms": 4321.0, "p50_ms": 1.234, "p99_ms": 5.678}
    row |= {"warm_up": 10, "rounds": 200, "images_per_s": None}
    lines = drawn(latency_table([row, {**row, "engine": "onnxruntime", "threads": 2, "images_per_s": 2345.6}]))
    assert "200 calls after 10 to warm up" in lines[0]
    cells = [cell.strip() for cell in line_with(lines, "eager").strip("│").split("│")]
    assert cells == ["eager", "1", "4,321.00", "1.23", "5.68", ""]
    cells = [cell.strip() for cell in line_with(lines, "onnxruntime").strip("│").split("│")]
    assert (cells[1], cells[-1]) == ("2", "2,346")


def test_markdown_keeps_bars_inside_their_cells() -> None:
    assert markdown_table(["a", "b"], [["1", "x|y"]]) == "| a | b |\n| --- | --- |\n| 1 | x\\|y |"


@pytest.mark.parametrize("jupyter", [False, True])
def test_nothing_is_shown_of_work_where_there_is_no_terminal(
    jupyter: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a notebook too, whose standard error says that it is a terminal."""
    monkeypatch.setattr("rich.console._is_jupyter", lambda: jupyter)
    monkeypatch.setattr("sys.stderr.isatty", lambda: jupyter)
    with working("reading") as status:
        status.update("still reading")
    assert capsys.readouterr() == ("", "")
