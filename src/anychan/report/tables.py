"""Tables for the terminal, and the same rows as CSV."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from anychan.evaluation.subsets import SubsetReport, SubsetRow
from anychan.files import replacing

__all__ = [
    "accuracy_text",
    "catalog_table",
    "markdown_table",
    "print_table",
    "profile_table",
    "subset_table",
    "write_subset_csv",
]


def print_table(table: Table) -> None:
    """Print to standard output: as wide as the terminal, or wide enough for every column in a file or a pipe."""
    console = Console()
    (console if console.is_terminal else Console(width=150)).print(table)


def markdown_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in GitHub's Markdown, without a line's end after its last row."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def accuracy_text(row: SubsetRow) -> str:
    """`61.2 % (56.9 to 65.4)`."""
    low, high = row.interval
    return f"{100 * row.accuracy:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def subset_table(reports: Mapping[str, SubsetReport], *, names: Sequence[str] | None = None) -> Table:
    """Rows are subsets, columns are reports of the same subsets.

    Args:
        reports: column title → report.
        names: what to call each subset; default: its channels.
    """
    first = next(iter(reports.values()))
    table = Table(title=f"accuracy with 95 % interval, n = {first.rows[0].n} images")
    table.add_column("channels", no_wrap=len(first.rows[0].channels) < 8)
    for title in reports:
        table.add_column(title, justify="right")
    for position, row in enumerate(first.rows):
        name = names[position] if names else "+".join(row.channels)
        table.add_row(name, *(accuracy_text(report.rows[position]) for report in reports.values()))
    return table


def write_subset_csv(report: SubsetReport, path: Path) -> None:
    """channels (joined by +), accuracy, low, high, n."""
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["channels", "accuracy", "low", "high", "n"])
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
    """One model's profile, with what the MACs leave out."""
    table = Table(title=f"{name} at {'x'.join(map(str, found['input_shape'][1:]))}, one image", show_header=False)
    table.add_column(justify="left")
    table.add_column(justify="right")
    table.add_row("parameters", f"{found['params']:,}")
    table.add_row("MACs (convolutions, matrix products)", f"{found['macs']:,}")
    for operator, values in found["uncounted"].items():
        table.add_row(f"  not counted: {operator}, values written", f"{values:,}")
    return table
