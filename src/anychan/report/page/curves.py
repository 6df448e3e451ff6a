"""Loss and accuracy by epoch, of one run or of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from anychan.report.page.chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Chart, Line, fit_axis, percent

__all__ = ["COLOURS", "compared_curves", "run_curves"]

COLOURS = 7  # of the style sheet: c0 to c6
_DWARFED = 4  # times the median: a loss whose axis is then logarithmic
Rows = Sequence[Mapping[str, float]]


def run_curves(rows: Rows, best_epoch: int | None) -> tuple[Chart, ...]:
    """A chart of the loss and one of the accuracy, training and validation, with the kept epoch.

    Args:
        rows: of metrics.csv, one at least.
        best_epoch: 0 for the first; `None` while it is not known.

    Raises:
        KeyError: for rows without these columns.
    """
    kinds = (("validation", "val", "c0"), ("training", "train", "c1"))
    return tuple(
        _chart(quantity, {name: (rows, f"{split}_{quantity}", look) for name, split, look in kinds}, best_epoch)
        for quantity in ("loss", "accuracy")
    )


def compared_curves(curves: Mapping[str, Rows]) -> tuple[Chart, ...]:
    """The same of several runs: validation only, so that they can be told apart.

    Args:
        curves: run → rows of its metrics.csv.
    """
    looks = {run: f"c{number % COLOURS}" + " dashed" * (number >= COLOURS) for number, run in enumerate(curves)}
    return tuple(
        _chart(
            quantity,
            {run: (rows, f"val_{quantity}", looks[run]) for run, rows in curves.items()},
            None,
            of="validation ",
        )
        for quantity in ("loss", "accuracy")
    )


def _chart(
    quantity: str, wanted: Mapping[str, tuple[Rows, str, str]], best_epoch: int | None, *, of: str = ""
) -> Chart:
    values = {name: [(row["epoch"] + 1, row[column]) for row in rows] for name, (rows, column, _) in wanted.items()}
    flat = [value for line in values.values() for _, value in line]
    by_ratio = quantity == "loss" and min(flat) > 0 and max(flat) > _DWARFED * median(flat)
    epochs = fit_axis((x for line in values.values() for x, _ in line), LEFT, WIDTH - RIGHT, whole=True)
    heights = fit_axis(flat, HEIGHT - BOTTOM, TOP, by_ratio=by_ratio)
    lines = tuple(Line.of(name, wanted[name][2], line, (epochs, heights)) for name, line in values.items())
    ends = "; ".join(f"{name} {_number(quantity, line[-1][1])}" for name, line in values.items())
    last = max(line[-1][0] for line in values.values())
    return Chart(
        title=f"{of}{quantity}".capitalize(),
        text=f"{of}{quantity} by epoch; at the end, epoch {last:g}: {ends}",
        x_title="epoch",
        x_ticks=epochs.ticks(),
        y_ticks=heights.ticks(percent if quantity == "accuracy" else "{:g}".format),
        lines=lines,
        vertical=None if best_epoch is None else epochs.at(best_epoch + 1),
    )


def _number(quantity: str, value: float) -> str:
    return f"{100 * value:.1f} %" if quantity == "accuracy" else f"{value:.3g}"
