"""What `anychan evaluate` prints: a table of the subsets, or of their numbers of channels, and what follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich.table import Table
from rich.text import Text

from anychan.evaluation.accuracy import Z95
from anychan.evaluation.greedy import GreedySearch
from anychan.evaluation.match import ChannelMatch
from anychan.evaluation.shapley import ChannelWorth
from anychan.evaluation.smallest import SmallestSensor
from anychan.evaluation.subsets import SubsetReport
from anychan.evaluation.text import count_text, names_text
from anychan.report.evaluate import MANY_SUBSETS, RunReport
from anychan.report.tables import accuracy_text, print_table, subset_table, subset_text

__all__ = ["print_run_report", "size_ranges", "size_table", "worth_table"]

_WORST = 3
_WORTHS = 24  # channels of a table
_SIZES, _SMALL = 24, 8  # rows of a table; numbers of channels that stand alone in any case
_BAR = 24  # characters of the longest bar


def print_run_report(found: RunReport) -> None:
    """Print tables and sentences to standard output."""
    report = found.report
    for line in _match_lines(found.match, found.head["stem"]):
        print(line)
    title = f"{found.head['model']}, {report.how}"
    many = len(report.rows) > MANY_SUBSETS
    print_table(size_table(report, title=title) if many else subset_table({title: report}))
    if len(report.rows) < report.possible:
        possible = count_text(report.possible)
        print(f"{len(report.rows):,} of {possible} subsets; --all-subsets or --channels for others")
    for line in (*_sample_lines(report), *_search_lines(found.search), *_violation_lines(report)):
        print(line)
    if report.shapley is not None and len(report.rows) > 1:
        print_table(worth_table(report.shapley))
    if found.smallest is not None and len(report.rows) > 1:
        print(_smallest_text(found.smallest, _everything(report)))
    if found.head["untrained"]:
        print(f"never trained, still as they began: {', '.join(found.head['untrained'])}")


def size_table(report: SubsetReport, *, title: str) -> Table:
    """Best, mean and worst subset: a row for each number of channels, or for ranges where there are many numbers."""
    everything = _everything(report)
    table = Table(title=f"{title}\naccuracy with 95 % interval, n = {report.rows[0].n} images")
    for column, justify in (("channels", "right"), ("subsets", "right"), ("mean", "right")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for column in ("best", "worst"):
        table.add_column(column, justify="right", no_wrap=True)
        table.add_column(f"{column} subset", max_width=32)
    for sizes in size_ranges({len(row.channels) for row in report.rows}):
        rows = sorted((row for row in report.rows if len(row.channels) in sizes), key=lambda row: -row.accuracy)
        mean = sum(row.accuracy for row in rows) / len(rows)
        ends = [
            text for row in (rows[0], rows[-1]) for text in (accuracy_text(row), subset_text(row.channels, everything))
        ]
        size = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
        table.add_row(size, f"{len(rows):,}", f"{100 * mean:.1f} %", *ends)
    return table


def size_ranges(sizes: set[int]) -> list[list[int]]:
    """Numbers of channels, the largest first: one by one, or many of them together between powers of two."""
    if len(sizes) <= _SIZES:
        return [[size] for size in sorted(sizes, reverse=True)]
    most = max(sizes)
    together = groupby(sorted(sizes - {most}), key=lambda size: size if size <= _SMALL else -(size - 1).bit_length())
    return [[most], *([*found] for _, found in reversed([(key, [*group]) for key, group in together]))]


def _match_lines(match: ChannelMatch, stem: str) -> list[str]:
    """What the model knows of the data's channels, where there is something to say."""
    if match.whole:
        return []
    said = {
        "trained": "",
        "interpolated": ": never trained, the kernels come from wavelengths alone",
        "unknown": ": never trained, left out of the input",
    }
    found = {status: match.with_status(status) for status in said}
    lines = ["channels of the data:"]
    lines += [
        f"  {status} ({len(names)}): {names_text(names)}{said[status]}" for status, names in found.items() if names
    ]
    if match.absent:
        lines.append(f"not in this data: {names_text(match.absent)}; filled by stem {stem!r}")
    return lines


def _everything(report: SubsetReport) -> tuple[str, ...]:
    return () if report.full is None else report.full.channels


def worth_table(worth: ChannelWorth) -> Table:
    """Shapley values in points of accuracy, the largest first."""
    table = Table(
        title=f"Shapley values: from {100 * worth.none:.1f} % by guessing to {100 * worth.all:.1f} % with all channels"
    )
    table.add_column("channel")
    table.add_column("points with 95 % interval over " + ("images" if worth.orders is None else "images and orders"))
    table.columns[1].justify = "right"
    if worth.orders is not None:
        table.title = f"{table.title}\nestimated from {worth.orders} random orders of the channels"
        table.add_column("± of the orders alone", justify="right")
    table.add_column("")
    orders = worth.errors * 0 if worth.order_errors is None else worth.order_errors
    rows = zip(worth.channels, worth.values.tolist(), worth.whole_errors.tolist(), orders.tolist(), strict=True)
    longest = max(1e-9, float(abs(worth.values).max()))
    ranked = sorted(rows, key=lambda row: -row[1])
    for name, value, error, order in ranked[:_WORTHS]:
        half = Z95 * error
        bar = ("█" if value >= 0 else "░") * round(_BAR * abs(value) / longest)
        interval = f"{100 * value:+.1f} ({100 * (value - half):+.1f} to {100 * (value + half):+.1f})"
        more = [] if worth.orders is None else [f"{100 * Z95 * order:.1f}"]
        table.add_row(name, interval, *more, Text(bar))
    if len(ranked) > _WORTHS:
        rest = [100 * value for _, value, *_ in ranked[_WORTHS:]]
        table.caption = f"{len(rest)} more channels bring {rest[0]:+.1f} to {rest[-1]:+.1f} points each"
    return table


def _sample_lines(report: SubsetReport) -> list[str]:
    mean = report.sample_mean
    if mean is None:
        return []
    return [
        f"mean over all {count_text(report.possible)} subsets, estimated from {len(report.sampled):,} drawn at random: "
        f"{100 * mean[0]:.1f} % (standard error of the draw {100 * mean[1]:.1f} points)"
    ]


def _search_lines(search: GreedySearch | None) -> list[str]:
    if search is None:
        return []
    steps = [f"{name} {100 * value:.1f} %" for name, value in zip(search.added, search.accuracies, strict=True)]
    return [
        f"greedy search: {search.looked_at:,} subsets of up to {len(search.path)} channels were looked at on "
        f"{search.n} validation images, a channel at a time; it is not exhaustive, and the best of many looks better "
        "there than it is",
        f"  validation accuracy with one channel more each: {', '.join(steps)}",
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
