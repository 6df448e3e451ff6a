"""Pictures of many subsets: accuracy by number of channels, what each channel is worth, and what sensors cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from anychan.evaluation.shapley import ChannelWorth
from anychan.evaluation.smallest import SmallestSensor
from anychan.evaluation.subsets import SubsetReport, SubsetRow

__all__ = ["plot_front", "plot_sizes"]

_BLUE, _RED, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#9A9A9A"  # Okabe and Ito's, and a grey
_Z95 = 1.959963984540054


def plot_sizes(report: SubsetReport, path: Path, *, title: str, chance: float) -> None:
    """Every subset's accuracy over its number of channels, best, mean and worst as lines; beside it Shapley values.

    Args:
        report: of many subsets.
        path: the PNG to write.
        title: above the picture.
        chance: accuracy of guessing, drawn as a line.
    """
    panels = 2 if report.shapley is not None else 1
    figure = Figure(figsize=(6.5 * panels, 4.8), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    _draw_sizes(axes[0], report, chance)
    if report.shapley is not None:
        _draw_worth(axes[1], report.shapley)
    figure.savefig(path, dpi=120)


def _draw_sizes(axes: Axes, report: SubsetReport, chance: float) -> None:
    sizes = np.array([len(row.channels) for row in report.rows])
    accuracy = np.array([row.accuracy for row in report.rows])
    # beside each other, because accuracies of few images fall on top of each other
    spread = np.random.default_rng(0).uniform(-0.3, 0.3, len(sizes))
    axes.scatter(sizes + spread, accuracy, s=6, color=_GREY, alpha=0.35, linewidths=0, label="a subset")
    present = np.unique(sizes)
    for label, of, colour in (("best", np.max, _GREEN), ("mean", np.mean, _BLUE), ("worst", np.min, _RED)):
        values = [of(accuracy[sizes == size]) for size in present]
        axes.plot(present, values, color=colour, marker="o", markersize=4, label=label)
    axes.axhline(chance, color="grey", linestyle=":", linewidth=1, label="chance")
    n = report.rows[0].n
    axes.set(xlabel="number of channels", ylabel=f"accuracy, n = {n}", ylim=(0, 1))
    axes.set_title(f"{len(report.rows):,} of {report.possible:,} subsets", fontsize="medium")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(alpha=0.3)
    legend = axes.legend(loc="lower right", ncols=2, framealpha=1, edgecolor="none")
    legend.legend_handles[0].set_alpha(1)  # type: ignore[union-attr]


def _draw_worth(axes: Axes, worth: ChannelWorth) -> None:
    order = np.argsort(-worth.values, kind="stable")
    names = [worth.channels[i] for i in order]
    values, errors = worth.values[order], _Z95 * worth.errors[order]
    colours = [_BLUE if value >= 0 else _RED for value in values]
    axes.barh(range(len(names)), values, xerr=errors, color=colours, height=0.7, ecolor="black", capsize=2)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set(xlabel="accuracy that the channel brings, 95 % interval over images")
    axes.set_title(
        f"Shapley values: {100 * worth.none:.1f} % by guessing + all bars = {100 * worth.all:.1f} %", fontsize="medium"
    )
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    axes.grid(alpha=0.3, axis="x")


def plot_front(sensor: SmallestSensor, report: SubsetReport, path: Path, *, title: str) -> None:
    """What accuracy costs: the subsets that are best for their cost on validation images, with their test accuracy.

    Args:
        sensor: the smallest sensor with its front.
        report: the test report.
        path: the PNG to write.
        title: above the picture.
    """
    figure = Figure(figsize=(8.5, 5), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots()
    costs = [cost for cost, _, _ in sensor.front]
    validation = [row for _, row, _ in sensor.front]
    test = [row for _, _, row in sensor.front]
    chosen_on = f"validation images, n = {validation[0].n} (chose the subsets)"
    steps = {"color": _GREY, "linestyle": "--", "marker": "s", "drawstyle": "steps-post"}
    axes.plot(costs, [row.accuracy for row in validation], label=chosen_on, **steps)  # type: ignore[arg-type]
    axes.errorbar(
        costs,
        [row.accuracy for row in test],
        yerr=_distances(test),
        fmt="o",
        color=_BLUE,
        capsize=3,
        label=f"test images, n = {test[0].n}, 95 % interval",
    )
    place = next((number for number, row in enumerate(test) if row is sensor.test), None)
    ring = {"markersize": 13, "markerfacecolor": "none", "markeredgewidth": 2, "color": _RED, "linestyle": ""}
    chosen = f"smallest sensor: {_short(sensor.channels, 40)}"
    axes.plot([sensor.cost], [sensor.test.accuracy], marker="o", label=chosen, **ring)  # type: ignore[arg-type]
    full = report.full
    assert full is not None
    axes.axhline(full.accuracy, color=_GREEN, linewidth=1, label=f"all {len(full.channels)} channels, test images")
    for number, (cost, row) in enumerate(zip(costs, test, strict=True)):
        if number != place:
            note = _short(row.channels, 22)
            axes.annotate(note, (cost, 0.015), rotation=90, va="bottom", ha="center", fontsize="small", color="dimgrey")
    edge = 0.03 * sensor.cost_of_all
    axes.set(xlabel="cost of the channels", ylabel="accuracy", ylim=(0, 1), xlim=(-edge, sensor.cost_of_all + edge))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path, dpi=120)


def _distances(rows: Sequence[SubsetRow]) -> list[list[float]]:
    low = [max(0.0, row.accuracy - row.interval[0]) for row in rows]
    return [low, [max(0.0, row.interval[1] - row.accuracy) for row in rows]]


def _short(channels: Sequence[str], length: int) -> str:
    """The names where there is room for them, and their number otherwise."""
    text = "+".join(channels).replace("$", r"\$")
    return text if len(text) <= length else f"{len(channels)} channels"
