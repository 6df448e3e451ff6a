"""Pictures of runs: curves over epochs, accuracy by subset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter, ScalarFormatter

from anychan.channels import ChannelSet
from anychan.evaluation.subsets import SubsetReport
from anychan.files import replacing

__all__ = ["plot_curves", "plot_runs", "plot_subsets", "save_picture"]

# Okabe and Ito's colours, told apart by all kinds of eyes
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def save_picture(figure: Figure, path: Path, *, metadata: Mapping[str, str] | None = None) -> None:
    """Write a PNG, whole or not at all.

    Args:
        figure: what to draw.
        path: the file.
        metadata: written into it.

    Raises:
        StorageError: when the disk does not take it.
    """
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=120, metadata=dict(metadata or {}))


def plot_curves(rows: Sequence[Mapping[str, float]], path: Path, *, title: str, best_epoch: int) -> None:
    """Loss and accuracy by epoch, training and validation, the kept epoch marked.

    Args:
        rows: of metrics.csv.
        path: the PNG to write.
        title: above the picture.
        best_epoch: 0 for the first.
    """
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    figure.suptitle(title)
    epochs = [row["epoch"] + 1 for row in rows]
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for split, colour in zip(("train", "val"), _COLOURS, strict=False):
            values = [row[f"{split}_{name}"] for row in rows]
            marker = "o" if len(rows) == 1 else ""
            label = {"train": "training", "val": "validation"}[split]
            axes.plot(epochs, values, color=colour, marker=marker, label=label)
        axes.axvline(best_epoch + 1, color="grey", linestyle=":", linewidth=1, label="kept epoch")
        axes.set(xlabel="epoch", ylabel=name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if name == "accuracy":
            axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.legend(frameon=False)
    save_picture(figure, path)


def plot_runs(
    curves: Mapping[str, Sequence[Mapping[str, float]]],
    path: Path,
    *,
    title: str,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Loss and accuracy of several runs in one picture: validation solid, training dashed.

    Args:
        curves: legend → rows with epoch (0 for the first), train_loss, val_loss, train_accuracy and val_accuracy.
        path: the PNG to write.
        title: above the picture.
        metadata: written into the PNG.
    """
    columns = min(4, len(curves))
    figure = Figure(figsize=(10, 4 + 0.22 * -(-len(curves) // columns)), layout="constrained")
    figure.suptitle(title)
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for number, (label, rows) in enumerate(curves.items()):
            epochs = [row["epoch"] + 1 for row in rows]
            # beyond the colours, the same ones again with other marks
            colour, again = _COLOURS[number % len(_COLOURS)], number // len(_COLOURS)
            marker = "osv^"[again % 4] if again or len(rows) == 1 else ""
            look = {"color": colour, "marker": marker, "markersize": 4}
            axes.plot(epochs, [row[f"val_{name}"] for row in rows], label=_plain(label), **look)
            axes.plot(epochs, [row[f"train_{name}"] for row in rows], linestyle="--", alpha=0.45, color=colour)
        axes.set(xlabel="epoch", ylabel=name)
        if name == "loss":
            _log_if_one_epoch_dwarfs_the_rest(axes)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if name == "accuracy":
            axes.yaxis.set_major_formatter(PercentFormatter(1))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=columns, frameon=False)
    save_picture(figure, path, metadata=metadata)


def _plain(label: str) -> str:
    """As it stands: no mathematics between dollars, and a legend entry even with a leading underscore."""
    return "\u200b" * label.startswith("_") + label.replace("$", r"\$")


def _log_if_one_epoch_dwarfs_the_rest(axes: Axes) -> None:
    values = [float(value) for line in axes.lines for value in np.asarray(line.get_ydata())]
    if values and min(values) > 0 and max(values) > 4 * median(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.yaxis.set_minor_formatter(NullFormatter())


def plot_subsets(
    reports: Mapping[str, SubsetReport],
    channels: ChannelSet,
    path: Path,
    *,
    title: str,
    chance: float,
    names: Sequence[str] | None = None,
) -> None:
    """Accuracy by subset with 95 % intervals, beside a grid that shows which channels each subset has.

    Args:
        reports: legend → report; all of the same subsets.
        channels: the model's channels, the grid's columns.
        path: the PNG to write.
        title: above the picture.
        chance: accuracy of guessing, drawn as a line.
        names: what to call each subset, left of the grid; default: nothing, the grid says it.
    """
    first = next(iter(reports.values()))
    count = len(first.rows)
    height = 1.6 + 0.26 * count * max(1, 0.6 * len(reports))
    figure = Figure(figsize=(6.5 + 0.28 * len(channels) + (1.5 if names else 0), height), layout="constrained")
    figure.suptitle(title)
    grid, axes = figure.subplots(1, 2, sharey=True, width_ratios=[0.28 * len(channels), 4.5])
    _draw_grid(grid, first, channels, names or [""] * count)
    for number, (label, report) in enumerate(reports.items()):
        shift = 0.5 * ((number + 0.5) / len(reports) - 0.5)
        values = [row.accuracy for row in report.rows]
        errors = [
            [max(0.0, row.accuracy - row.interval[0]) for row in report.rows],
            [max(0.0, row.interval[1] - row.accuracy) for row in report.rows],
        ]
        places = [position + shift for position in range(count)]
        colour = _COLOURS[number % len(_COLOURS)]
        axes.errorbar(values, places, xerr=errors, fmt="o", color=colour, markersize=4, capsize=2, label=label)
    axes.axvline(chance, color="grey", linestyle=":", linewidth=1, label="chance")
    axes.set(xlabel=f"accuracy with 95 % interval, n = {first.rows[0].n}", xlim=(0, 1))
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(alpha=0.3, axis="x")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    save_picture(figure, path)


def _draw_grid(axes: Axes, report: SubsetReport, channels: ChannelSet, names: Sequence[str]) -> None:
    for position, row in enumerate(report.rows):
        for column, name in enumerate(channels.labels):
            face = "black" if name in row.channels else "none"
            axes.scatter(column, position, s=32, facecolor=face, edgecolor="lightgrey" if face == "none" else face)
    fits = len(channels) <= 4 and max(map(len, channels.labels)) <= 2
    axes.set_xticks(range(len(channels)), channels.labels, rotation=0 if fits else 90)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlim=(-0.6, len(channels) - 0.4), ylim=(len(report.rows) - 0.4, -0.6))
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
