"""Tables for the terminal, and the same rows as CSV; what the terminal shows while nothing is ready."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.status import Status
from rich.table import Table

from anychan.evaluation.subsets import SubsetReport, SubsetRow
from anychan.files import replacing

__all__ = [
    "accuracy_text",
    "catalog_table",
    "latency_table",
    "markdown_table",
    "p_text",
    "print_table",
    "profile_table",
    "share_text",
    "subset_table",
    "subset_text",
    "working",
    "write_subset_csv",
]

_MANY_NAMES, _FEW_NAMES, _MOST_NAMES = 8, 4, 12


def print_table(table: Table) -> None:
    """Print to standard output: as wide as the terminal, or wide enough for every column in a file or a pipe."""
    console = Console()
    (console if console.is_terminal else Console(width=150)).print(table)


def working(text: str) -> Status:
    """A spinner with a text, on standard error and on a terminal alone."""
    console = Console(stderr=True)
    if console.is_jupyter:  # no terminal; there, rich would warn that ipywidgets is missing
        console = Console(stderr=True, force_jupyter=False, force_terminal=False)
    return console.status(text)


def markdown_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in GitHub's Markdown, without a line's end after its last row."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def accuracy_text(row: SubsetRow) -> str:
    """`61.2 % (56.9 to 65.4)`."""
    return share_text(row.accuracy, *row.interval)


def share_text(value: float, low: float, high: float) -> str:
    """A share with its interval.

    Example:
        >>> share_text(0.612, 0.569, 0.654)
        '61.2 % (56.9 to 65.4)'
    """
    return f"{100 * value:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def subset_text(channels: Sequence[str], everything: Sequence[str]) -> str:
    """A subset's names; of many channels those that are absent, where these are few, or else the first and the last.

    Args:
        channels: the subset's names.
        everything: all names; none if unknown.
    """
    absent = [name for name in everything if name not in channels]
    if not everything or len(channels) < _MANY_NAMES or len(absent) > _FEW_NAMES:
        if len(channels) <= _MOST_NAMES:
            return "+".join(channels)
        return f"{channels[0]}+{channels[1]}+…+{channels[-1]} ({len(channels)} channels)"
    return f"all but {'+'.join(absent)}" if absent else f"all {len(channels)} channels"


def subset_table(reports: Mapping[str, SubsetReport], *, names: Sequence[str] | None = None) -> Table:
    """Rows are subsets, columns are reports of the same subsets; a single one has p-values and calibration errors.

    Args:
        reports: column title → report.
        names: what to call each subset; default: its channels.
    """
    first = next(iter(reports.values()))
    everything = () if first.full is None else first.full.channels
    table = Table(title=f"accuracy with 95 % interval, n = {first.rows[0].n} images")
    table.add_column("channels", no_wrap=True)
    for title in reports:
        table.add_column(title, justify="right")
    alone = len(reports) == 1 and all(row.calibration_error is not None for row in first.rows)
    if alone:
        table.add_column("p against all", justify="right")
        table.add_column("calibration error", justify="right")
    for position, row in enumerate(first.rows):
        name = names[position] if names else subset_text(row.channels, everything)
        more = [p_text(row.p_value), f"{100 * (row.calibration_error or 0):.1f} %"] if alone else []
        table.add_row(name, *(accuracy_text(report.rows[position]) for report in reports.values()), *more)
    return table


def p_text(p_value: float | None) -> str:
    """A p-value in three digits after the point, or as a power of ten below them; nothing for none."""
    if p_value is None:
        return ""
    return f"{p_value:.3f}" if p_value >= 0.001 else f"{p_value:.0e}"


def write_subset_csv(report: SubsetReport, path: Path) -> None:
    """channels (joined by +), accuracy, low, high, n, p_value, calibration_error."""
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(report.rows[0].to_dict()))
        writer.writeheader()
        writer.writerows({**row.to_dict(), "channels": "+".join(row.channels)} for row in report.rows)


def catalog_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The catalogue: name, parameters, MACs, input, classes and source."""
    table = Table(title="MACs: multiply-adds of convolutions and matrix products, one image")
    for title in ("name", "parameters", "MACs", "input", "classes", "source"):
        table.add_column(title, justify="left" if title in ("name", "source") else "right", no_wrap=title != "source")
    for row in rows:
        size = "x".join(map(str, row["input_shape"]))
        table.add_row(
            row["name"],
            f"{row['params']:,}",
            f"{row['macs']:,}",
            size,
            str(row["num_classes"]),
            row["source"],
        )
    return table


def profile_table(name: str, found: Mapping[str, Any]) -> Table:
    """One model's profile, with what the MACs leave out, and its depth where that was measured."""
    table = Table(title=f"{name} at {'x'.join(map(str, found['input_shape'][1:]))}, one image", show_header=False)
    table.add_column(justify="left")
    table.add_column(justify="right")
    table.add_row("parameters", f"{found['params']:,}")
    table.add_row("MACs (convolutions, matrix products)", f"{found['macs']:,}")
    for operator, values in found["uncounted"].items():
        table.add_row(f"  not counted: {operator}, values written", f"{values:,}")
    if depth := found.get("depth"):
        table.add_row("effective depth: feature layers", str(depth["features"]))
        table.add_row("  with gates", str(depth["features_with_gates"]))
        table.add_row("  layers of the classifier", str(depth["classifier"]))
        table.add_row("weighted modules", str(depth["weighted_modules"]))
    return table


def latency_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Engine by threads: how long one image takes, as `profiling.latency` measured it."""
    warm_up, rounds = rows[0]["warm_up"], rows[0]["rounds"]
    table = Table(title=f"latency of one image in ms, float32: {rounds} calls after {warm_up} to warm up")
    table.add_column("engine", justify="left")
    for title in ("threads", "cold start", "p50", "p99", "images/s in batches of 64"):
        table.add_column(title, justify="right")
    for row in rows:
        times = [f"{row[name]:,.2f}" for name in ("cold_start_ms", "p50_ms", "p99_ms")]
        rate = "" if row["images_per_s"] is None else f"{row['images_per_s']:,.0f}"
        table.add_row(row["engine"], str(row["threads"]), *times, rate)
    return table
