"""Pictures of many subsets: accuracy by number of channels, what each channel is worth, and what sensors cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter, StrMethodFormatter

from anychan.evaluation.accuracy import Z95
from anychan.evaluation.shapley import ChannelWorth
from anychan.evaluation.smallest import SmallestSensor
from anychan.evaluation.subsets import SubsetReport, SubsetRow
from anychan.evaluation.text import count_text
from anychan.report.plots import save_picture

__all__ = ["plot_front", "plot_sizes"]

_BLUE, _RED, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#9A9A9A"  # Okabe and Ito's, and a grey
_BARS = 40  # channels; more bars have no room for their names
_CHARACTERS = 9.5  # of a title, an inch
_NOTE, _NOTE_WIDTH, _NOTE_HEIGHT = 22, 0.02, 0.02  # a note's characters; its width and a character's, in axes
_BY_RATIO = 30  # times the smallest number of channels, or the cheapest subset's cost


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
    _set_title(figure, title)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    _draw_sizes(axes[0], report, chance)
    if report.shapley is not None:
        draw = _draw_worth if len(report.shapley.channels) <= _BARS else _draw_worth_of_many
        draw(axes[1], report.shapley)
    save_picture(figure, path)


def _set_title(figure: Figure, title: str) -> None:
    """In as many lines as the picture's width asks for."""
    figure.suptitle(fill(title, int(_CHARACTERS * figure.get_figwidth()), break_long_words=True))


def _draw_sizes(axes: Axes, report: SubsetReport, chance: float) -> None:
    sizes = np.array([len(row.channels) for row in report.rows])
    accuracy = np.array([row.accuracy for row in report.rows])
    # beside each other, because accuracies of few images fall on top of each other
    spread = np.random.default_rng(0).uniform(-0.3, 0.3, len(sizes))
    by_ratio = bool(sizes.max() > _BY_RATIO)
    places = sizes * np.exp(spread / 10) if by_ratio else sizes + spread
    axes.scatter(places, accuracy, s=6, color=_GREY, alpha=0.35, linewidths=0, label="a subset")
    present = np.unique(sizes)
    for label, of, colour in (("best", np.max, _GREEN), ("mean", np.mean, _BLUE), ("worst", np.min, _RED)):
        values = [of(accuracy[sizes == size]) for size in present]
        axes.plot(present, values, color=colour, marker="o", markersize=4, label=label)
    axes.axhline(chance, color="grey", linestyle=":", linewidth=1, label="chance")
    n = report.rows[0].n
    axes.set(xlabel="number of channels", ylabel=f"accuracy, n = {n}", ylim=(0, 1))
    axes.set_title(f"{len(report.rows):,} of {count_text(report.possible)} subsets", fontsize="medium")
    if by_ratio:
        _set_ratios(axes)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(alpha=0.3)
    legend = axes.legend(loc="lower right", ncols=2, framealpha=1, edgecolor="none")
    legend.legend_handles[0].set_alpha(1)  # type: ignore[union-attr]


def _draw_worth(axes: Axes, worth: ChannelWorth) -> None:
    """A bar a channel, the largest first."""
    order = np.argsort(-worth.values, kind="stable")
    names = [_plain(worth.channels[i]) for i in order]
    values, errors = worth.values[order], Z95 * worth.whole_errors[order]
    colours = [_BLUE if value >= 0 else _RED for value in values]
    axes.barh(range(len(names)), values, xerr=errors, color=colours, height=0.7, ecolor="black", capsize=2)
    axes.set_yticks(range(len(names)), names, fontsize="medium" if len(names) <= _BARS // 2 else "small")
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set(xlabel=f"accuracy that the channel brings, {_interval(worth)}")
    axes.set_title(_sum(worth, "all bars"), fontsize="medium")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    axes.grid(alpha=0.3, axis="x")


def _draw_worth_of_many(axes: Axes, worth: ChannelWorth) -> None:
    """A point a channel, in the model's order, so that neighbours stand side by side; a name here and there."""
    count, half = len(worth.channels), Z95 * worth.whole_errors
    places = np.arange(count)
    axes.fill_between(places, worth.values - half, worth.values + half, color=_BLUE, alpha=0.25, linewidth=0)
    axes.plot(places, worth.values, color=_BLUE, marker="o", markersize=2.5, linewidth=0.8)
    axes.axhline(0, color="black", linewidth=0.8)
    named = range(0, count, -(-count // _BARS * 2))
    axes.set_xticks(list(named), [_plain(worth.channels[i])[:_NOTE] for i in named], rotation=90, fontsize="small")
    axes.set(ylabel=f"accuracy that the channel brings,\n{_interval(worth)}", xlim=(-1, count))
    axes.set_title(_sum(worth, f"all {count} points"), fontsize="medium")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    axes.grid(alpha=0.3)


def _interval(worth: ChannelWorth) -> str:
    return "95 % interval over images" + ("" if worth.orders is None else f" and {worth.orders} orders")


def _sum(worth: ChannelWorth, parts: str) -> str:
    return f"Shapley values: {100 * worth.none:.1f} % by guessing + {parts} = {100 * worth.all:.1f} %"


def plot_front(sensor: SmallestSensor, report: SubsetReport, path: Path, *, title: str) -> None:
    """What accuracy costs: the subsets that are best for their cost on validation images, with their test accuracy.

    Args:
        sensor: the smallest sensor with its front.
        report: the test report.
        path: the PNG to write.
        title: above the picture.
    """
    figure = Figure(figsize=(8.5, 5), layout="constrained")
    _set_title(figure, title)
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
    ring = {"markersize": 13, "markerfacecolor": "none", "markeredgewidth": 2, "color": _RED, "linestyle": ""}
    chosen = f"smallest sensor: {_short(sensor.channels, 40)}"
    axes.plot([sensor.cost], [sensor.test.accuracy], marker="o", label=chosen, **ring)  # type: ignore[arg-type]
    full = report.full
    assert full is not None
    axes.axhline(full.accuracy, color=_GREEN, linewidth=1, label=f"all {len(full.channels)} channels, test images")
    axes.set(xlabel="cost of the channels", ylabel="accuracy", ylim=(0, 1))
    _set_costs(axes, costs, sensor.cost_of_all)
    _write_notes(axes, [(cost, row) for cost, row in zip(costs, test, strict=True) if row is not sensor.test])
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    save_picture(figure, path)


def _set_costs(axes: Axes, costs: Sequence[float], cost_of_all: float) -> None:
    """From nothing to all, by ratio where the cheapest would be pressed together at the left."""
    if costs[0] > 0 and cost_of_all > _BY_RATIO * costs[0]:
        _set_ratios(axes)
        axes.set_xlim(0.8 * costs[0], 1.2 * cost_of_all)
    else:
        edge = 0.03 * cost_of_all
        axes.set_xlim(-edge, cost_of_all + edge)
        if all(float(cost).is_integer() for cost in costs):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _set_ratios(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _write_notes(axes: Axes, notes: Sequence[tuple[float, SubsetRow]]) -> None:
    """Which channels, upright at the bottom, or above a point that is there; none where it would lie on another."""
    low, high = (float(axes.xaxis.get_transform().transform(end)) for end in axes.get_xlim())
    last = -math.inf
    for cost, row in notes:
        place = (float(axes.xaxis.get_transform().transform(cost)) - low) / (high - low)
        if place - last >= _NOTE_WIDTH:
            note = _short(row.channels, _NOTE)
            above = row.interval[0] < _NOTE_HEIGHT * len(note) + 0.03
            look = {"rotation": 90, "va": "bottom", "ha": "center", "fontsize": "small", "color": "dimgrey"}
            axes.annotate(note, (cost, row.interval[1] + 0.03 if above else 0.015), **look)  # type: ignore[arg-type]
            last = place


def _distances(rows: Sequence[SubsetRow]) -> list[list[float]]:
    low = [max(0.0, row.accuracy - row.interval[0]) for row in rows]
    return [low, [max(0.0, row.interval[1] - row.accuracy) for row in rows]]


def _short(channels: Sequence[str], length: int) -> str:
    """The names where there is room for them, and their number otherwise."""
    text = _plain("+".join(channels))
    return text if len(text) <= length else f"{len(channels)} channels"


def _plain(text: str) -> str:
    """As it stands: no mathematics between dollars."""
    return text.replace("$", r"\$")
