"""What `anychan evaluate` prints: a table of the subsets, or of their numbers of channels, and what follows from it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from anychan.evaluation.shapley import ChannelWorth
from anychan.evaluation.smallest import SmallestSensor
from anychan.evaluation.subsets import SubsetReport
from anychan.report.evaluate import MANY_SUBSETS, RunReport
from anychan.report.tables import accuracy_text, print_table, subset_table, subset_text

__all__ = ["print_run_report", "size_table", "worth_table"]

_WORST = 3
_Z95 = 1.959963984540054
_BAR = 24  # characters of the longest bar


def print_run_report(found: RunReport) -> None:
    """Print tables and sentences to standard output."""
    report = found.report
    title = f"{found.head['model']}, {report.batch_norm} batch-norm statistics"
    many = len(report.rows) > MANY_SUBSETS
    print_table(size_table(report, title=title) if many else subset_table({title: report}))
    if len(report.rows) < report.possible:
        print(f"{len(report.rows):,} of {report.possible:,} subsets; --all-subsets or --channels for others")
    for line in (*_sample_lines(report), *_violation_lines(report)):
        print(line)
    if report.shapley is not None and len(report.rows) > 1:
        print_table(worth_table(report.shapley))
    if found.smallest is not None and len(report.rows) > 1:
        print(_smallest_text(found.smallest, _everything(report)))
    if found.head["untrained"]:
        print(f"never trained, still as they began: {', '.join(found.head['untrained'])}")


def size_table(report: SubsetReport, *, title: str) -> Table:
    """A row for each number of channels: the best, mean and worst subset."""
    everything = _everything(report)
    table = Table(title=f"{title}\naccuracy with 95 % interval, n = {report.rows[0].n} images")
    for column, justify in (("channels", "right"), ("subsets", "right"), ("mean", "right")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for column in ("best", "worst"):
        table.add_column(column, justify="right", no_wrap=True)
        table.add_column(f"{column} subset", max_width=32)
    for size in sorted({len(row.channels) for row in report.rows}, reverse=True):
        rows = sorted((row for row in report.rows if len(row.channels) == size), key=lambda row: -row.accuracy)
        mean = sum(row.accuracy for row in rows) / len(rows)
        ends = [
            text for row in (rows[0], rows[-1]) for text in (accuracy_text(row), subset_text(row.channels, everything))
        ]
        table.add_row(str(size), f"{len(rows):,}", f"{100 * mean:.1f} %", *ends)
    return table


def _everything(report: SubsetReport) -> tuple[str, ...]:
    return () if report.full is None else report.full.channels


def worth_table(worth: ChannelWorth) -> Table:
    """Shapley values in points of accuracy, the largest first."""
    table = Table(
        title=f"Shapley values: from {100 * worth.none:.1f} % by guessing to {100 * worth.all:.1f} % with all channels"
    )
    table.add_column("channel")
    table.add_column("points with 95 % interval over images", justify="right")
    table.add_column("")
    rows = zip(worth.channels, worth.values.tolist(), worth.errors.tolist(), strict=True)
    longest = max(1e-9, float(abs(worth.values).max()))
    for name, value, error in sorted(rows, key=lambda row: -row[1]):
        half = _Z95 * error
        bar = ("█" if value >= 0 else "░") * round(_BAR * abs(value) / longest)
        interval = f"{100 * value:+.1f} ({100 * (value - half):+.1f} to {100 * (value + half):+.1f})"
        table.add_row(name, interval, Text(bar))
    return table


def _sample_lines(report: SubsetReport) -> list[str]:
    mean = report.sample_mean
    if mean is None:
        return []
    return [
        f"mean over all {report.possible:,} subsets, estimated from {len(report.sampled):,} drawn at random: "
        f"{100 * mean[0]:.1f} % (standard error of the draw {100 * mean[1]:.1f} points)"
    ]


def _violation_lines(report: SubsetReport) -> list[str]:
    violations, everything = report.violations, _everything(report)
    if not violations.pairs:
        return []
    lines = [
        f"one channel more is significantly worse in {len(violations.found):,} of {violations.pairs:,} pairs of "
        "subsets (exact McNemar test, Holm's correction, 5 % for all together)"
    ]
    for one in violations.found[:_WORST]:
        lines.append(
            f"  {subset_text(one.channels, everything)}: {100 * one.accuracy:.1f} % with {one.added}, "
            f"{100 * one.accuracy_without:.1f} % without, p = {one.p_corrected:.2g}"
        )
    more = len(violations.found) - _WORST
    return [*lines, f"  and {more:,} more"] if more > 0 else lines


def _smallest_text(sensor: SmallestSensor, everything: Sequence[str]) -> str:
    found, points = sensor.difference, 100 * sensor.within
    names = subset_text(sensor.channels, everything)
    return (
        f"smallest sensor: {names}, cost {sensor.cost:g} of {sensor.cost_of_all:g}, chosen on "
        f"{sensor.validation.n} validation images to lose {points:g} points at most\n"
        f"  on {sensor.test.n} test images: {accuracy_text(sensor.test)}; less all channels: "
        f"{100 * found['difference']:+.1f} points ({100 * found['low']:+.1f} to {100 * found['high']:+.1f}), "
        f"p = {found['p_value']:.2g}"
    )
