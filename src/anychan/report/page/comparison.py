"""Several runs side by side, as `anychan compare` finds them, with their differences on the same test images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anychan.errors import AnychanError
from anychan.evaluation.accuracy import unpack_bits
from anychan.evaluation.paired import paired_difference
from anychan.report.compare import compare_runs
from anychan.report.page.chart import Absent, Bar, Chart, bar_scale, percent
from anychan.report.page.curves import compared_curves
from anychan.report.tables import p_text, share_text, subset_text

__all__ = ["Compared", "ComparedRow", "compare_pages"]


@dataclass(frozen=True)
class ComparedRow:
    """One run.

    Args:
        run: its name.
        model: its network.
        channels: that it was tested with.
        bar: its accuracy.
        n: test images.
        difference: its accuracy less the first run's on the same images, in points with interval.
        p_value: of that difference; empty without one.
        macs: multiply-adds of one image.
        params: parameters.
        epochs: that it was trained for.
        minutes: that this took.
    """

    run: str
    model: str
    channels: str
    bar: Bar
    n: int
    difference: str
    p_value: str
    macs: int
    params: int
    epochs: int
    minutes: float


@dataclass(frozen=True)
class Compared:
    """All runs.

    Args:
        rows: one a run.
        ticks: places and texts of the bars' scale.
        charts: validation loss and accuracy by epoch.
        notes: what a reader must know, a sentence each.
    """

    rows: tuple[ComparedRow, ...]
    ticks: list[tuple[float, str]]
    charts: tuple[Chart, ...]
    notes: tuple[str, ...]


def compare_pages(paths: Sequence[Path]) -> Compared | Absent:
    """Compare finished runs; what cannot be compared says why.

    Args:
        paths: two or more run folders; the others are compared with the first.
    """
    try:
        found = compare_runs(paths)
    except AnychanError as error:
        return Absent(f"These runs cannot be compared: {error}.")
    first = found.rows[0]
    note = f"Difference: accuracy less that of {first['run']} in points, on the same test images, paired 95 % interval."
    return Compared(
        rows=tuple(_row(row, first) for row in found.rows),
        ticks=[(25 * step, percent(step / 4)) for step in range(5)],
        charts=compared_curves(found.curves),
        notes=(*found.notes[:1], note, *(text for text in found.notes[1:] if not text.startswith("Ratio"))),
    )


def _row(row: dict[str, Any], first: dict[str, Any]) -> ComparedRow:
    accuracy = row["accuracy"], row["low"], row["high"]
    difference, p_value = _difference(row, first)
    return ComparedRow(
        run=row["run"],
        model=row["model"],
        channels=subset_text(row["channels"].split("+"), ()),
        bar=bar_scale(0, 1)(*accuracy, share_text(*accuracy)),
        n=row["n"],
        difference=difference,
        p_value=p_value,
        macs=row["macs"],
        params=row["params"],
        epochs=row["epochs"],
        minutes=row["train_seconds"] / 60,
    )


def _difference(row: dict[str, Any], first: dict[str, Any]) -> tuple[str, str]:
    if row is first:
        return "–", ""
    if row["images"] != first["images"]:
        return "other images", ""
    found = paired_difference(*(unpack_bits(one["correct"], one["n"]) for one in (row, first)))
    points = (100 * found[end] for end in ("difference", "low", "high"))
    return "{:+.1f} ({:+.1f} to {:+.1f})".format(*points), p_text(found["p_value"])
