from pathlib import Path

import numpy as np
import pytest
import torch

from anychan.evaluation.greedy import GreedySearch
from anychan.evaluation.match import ChannelMatch
from anychan.evaluation.shapley import ChannelWorth
from anychan.evaluation.subsets import SubsetReport, SubsetRow
from anychan.presets import SENTINEL2
from anychan.report.asked import Evaluation
from anychan.report.evaluate import RunReport, report_run
from anychan.report.summary import print_run_report, size_table, worth_table
from tests.report.test_tables import drawn, line_with

EIGHT = SENTINEL2.select(SENTINEL2.names[:8])
MATCH = ChannelMatch(EIGHT, dict.fromkeys(EIGHT.names, "trained"), ())
HEAD = {"model": "net", "stem": "mean", "split": "test", "channel_drop": 0.0, "changed": "", "untrained": []}


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
    print_run_report(RunReport(HEAD, report, report.smallest_sensor(report, within=0.15), None, None, MATCH))
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
    print_run_report(RunReport(HEAD, SubsetReport(rows, 8191, "shared", None, (0, 1, 2)), None, "why", None, MATCH))
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


def many(count: int = 156) -> SubsetReport:
    names = tuple(f"b{number:03d}" for number in range(count))
    sizes = [*range(1, count + 1), 5]
    rows = tuple(
        SubsetRow(names[:size] if number < count else names[-5:], torch.arange(200) < min(190, 2 * size + number // 99))
        for number, size in enumerate(sizes)
    )
    return SubsetReport(rows, 2**count - 1, "saved", torch.arange(200) < 20, orders=(names, names))


def test_many_sizes_are_ranges() -> None:
    lines = drawn(size_table(many(), title="net"))
    rows = {row[0]: row for row in map(cells, lines) if row[0][:1].isdigit()}
    assert list(rows) == ["156", "129 to 155", "65 to 128", "33 to 64", "17 to 32", "9 to 16", *"87654321"]
    assert rows["129 to 155"][1] == "27"
    assert rows["5"][1] == "2"
    assert rows["65 to 128"][4] == "b000+b001+…+b094 (95 channels)"
    assert rows["156"][4] == "all 156 channels"
    assert max(map(len, lines)) < 152


def test_sampled_worth_tells_its_two_errors(capsys: pytest.CaptureFixture[str]) -> None:
    values = np.linspace(0.2, -0.1, 30)
    names = tuple(f"b{number}" for number in range(30))
    worth = ChannelWorth(names, values, np.full(30, 0.03), 0.1, 0.9, np.full(30, 0.04), 50)
    lines = drawn(worth_table(worth))
    assert any("estimated from 50 random orders of the channels" in line for line in lines)
    assert any("points with 95 % interval over images and orders" in line for line in lines)
    rows = [cells(line) for line in lines if line.startswith("│")]
    assert len(rows) == 24
    assert rows[0][:3] == ["b0", "+20.0 (+10.2 to +29.8)", "7.8"]  # 1.96 √(3² + 4²) and 1.96 · 4
    assert any("6 more channels bring -4.8 to -10.0 points each" in line for line in lines)


def test_a_search_says_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    report = everything()
    path = tuple(EIGHT.select(names) for names in (["B08"], ["B01", "B08"]))
    search = GreedySearch(path, ("B08", "B01"), (0.15, 0.25), 15, 100)
    print_run_report(RunReport(HEAD, report, None, "why", search, MATCH))
    out = capsys.readouterr().out
    assert (
        "greedy search: 15 subsets of up to 2 channels were looked at on 100 validation images, a channel at a time; "
        "it is not exhaustive, and the best of many looks better there than it is\n"
    ) in out
    assert "  validation accuracy with one channel more each: B08 15.0 %, B01 25.0 %\n" in out


def test_channels_are_told_by_what_is_known_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    status = {**dict.fromkeys(EIGHT.names[:6], "trained"), "B07": "interpolated", "x": "unknown"}
    match = ChannelMatch(EIGHT, status, tuple(f"c{number}" for number in range(11)))
    print_run_report(RunReport(HEAD, everything(), None, "why", None, match))
    lines = capsys.readouterr().out.splitlines()
    assert lines[:5] == [
        "channels of the data:",
        "  trained (6): B01, B02, B03, B04, B05, B06",
        "  interpolated (1): B07: never trained, the kernels come from wavelengths alone",
        "  unknown (1): x: never trained, left out of the input",
        "not in this data: c0, c1, c2, c3, c4, c5, c6, c7 and 3 more; filled by stem 'mean'",
    ]


def test_many_channels_are_counted_as_a_power(capsys: pytest.CaptureFixture[str]) -> None:
    print_run_report(RunReport(HEAD, many(), None, "why", None, MATCH))
    out = capsys.readouterr().out
    assert "157 of 2^156 - 1 subsets; --all-subsets or --channels for others" in out
    assert max(map(len, out.splitlines())) < 200
