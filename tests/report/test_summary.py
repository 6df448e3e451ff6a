from pathlib import Path

import numpy as np
import pytest
import torch

from anychan.evaluation.shapley import ChannelWorth
from anychan.evaluation.subsets import SubsetReport, SubsetRow
from anychan.presets import SENTINEL2
from anychan.report.evaluate import Evaluation, RunReport, report_run
from anychan.report.summary import print_run_report, size_table, worth_table
from tests.report.test_tables import drawn, line_with

EIGHT = SENTINEL2.select(SENTINEL2.names[:8])
HEAD = {"model": "net", "split": "test", "channel_drop": 0.0, "changed": "", "untrained": []}


def right(names: tuple[str, ...]) -> int:
    """Of 100: ten a channel, B05 spoils, B08 is worth more."""
    return 10 * len(names) - 30 * ("B05" in names and len(names) > 1) + 5 * ("B08" in names)


def everything() -> SubsetReport:
    subsets = sorted(EIGHT.subsets(), key=len, reverse=True)
    rows = tuple(SubsetRow(subset.names, torch.arange(100) < right(subset.names)) for subset in subsets)
    return SubsetReport(rows, 255, "shared", torch.arange(100) < 10)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_sizes_have_their_best_and_worst_subset() -> None:
    lines = drawn(size_table(everything(), title="net"))
    rows = {row[0]: row for row in map(cells, lines) if row[0].isdigit()}
    assert list(rows) == list("87654321")
    assert rows["8"][1] == "1"
    assert rows["8"][4] == rows["8"][6] == "all 8 channels"
    assert rows["7"][1:3] == ["8", f"{(75 + 40 + 6 * 45) / 8:.1f} %"]
    assert (rows["7"][3].split(" ")[0], rows["7"][4]) == ("75.0", "B01+B02+B03+B04+B06+B07+B08")
    assert rows["7"][5].startswith("40.0 %")
    assert (rows["1"][3].split(" ")[0], rows["1"][4]) == ("15.0", "B08")


def test_worth_is_drawn_with_bars() -> None:
    worth = ChannelWorth(("a", "b", "c"), np.array([0.1, -0.05, 0.2]), np.array([0.01, 0.01, 0.02]), 0.25, 0.5)
    lines = drawn(worth_table(worth))
    assert any("from 25.0 % by guessing to 50.0 % with all channels" in line for line in lines)
    rows = [cells(line) for line in lines if "(" in line and "│" in line]
    assert [row[0] for row in rows] == ["c", "a", "b"]
    assert rows[0][1] == "+20.0 (+16.1 to +23.9)"
    assert [row[2] for row in rows] == ["█" * 24, "█" * 12, "░" * 6]


def test_many_subsets_are_summed_up(capsys: pytest.CaptureFixture[str]) -> None:
    report = everything()
    print_run_report(RunReport(HEAD, report, report.smallest_sensor(report, within=0.15), None))
    out = capsys.readouterr().out
    assert "B05" in line_with(out.splitlines(), "░")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    found = report.violations
    assert len(found.found) > 3
    expected = f"one channel more is significantly worse in {len(found.found)} of {255 * 4 + 4 - 8:,} pairs of subsets "
    assert expected + "(exact McNemar test, Holm's correction, 5 % for all together)" in lines
    assert f"and {len(found.found) - 3} more" in lines
    worst = found.found[0]
    assert f"% with {worst.added}," in lines[lines.index(f"and {len(found.found) - 3} more") - 3]
    # all have 55 of 100, so 40 will do: four channels have it, and of these the best is the first with B08, 45
    chosen = "smallest sensor: B01+B02+B03+B08, cost 4 of 8, chosen on 100 validation images to lose 15 points at most"
    assert chosen in lines
    assert any(line.startswith("on 100 test images: ") for line in lines)
    assert "of 255 subsets" not in out


def test_samples_are_told_with_their_error(capsys: pytest.CaptureFixture[str]) -> None:
    rows = tuple(SubsetRow((name,), torch.arange(100) < count) for name, count in zip("abc", (20, 40, 60), strict=True))
    print_run_report(RunReport(HEAD, SubsetReport(rows, 8191, "shared", None, (0, 1, 2)), None, "why"))
    out = capsys.readouterr().out
    assert "3 of 8,191 subsets; --all-subsets or --channels for others" in out
    # 20 points / √3 × √(1 − 3/8191)
    line = (
        "mean over all 8,191 subsets, estimated from 3 drawn at random: 40.0 % (standard error of the draw 11.5 points)"
    )
    assert line in out


def test_a_run_of_three_channels_has_all_of_it(run_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_run_report(report_run(str(run_copy), Evaluation()))
    out = capsys.readouterr().out
    for part in ("R+G+B", "p against all", "calibration error", "Shapley values", "smallest sensor: ", "of 9 pairs"):
        assert part in out
