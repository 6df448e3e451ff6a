"""The smallest sensor: which channels were chosen, and the front of cost against accuracy that they are from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anychan.report.page.chart import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Axis,
    Chart,
    Line,
    Mark,
    fit_axis,
    percent,
)
from anychan.report.tables import p_text, share_text, subset_text

__all__ = ["Sensor", "read_sensor"]

_BY_RATIO = 20  # times the cheapest: costs whose axis is then logarithmic
Json = Mapping[str, Any]


@dataclass(frozen=True)
class Sensor:
    """The smallest sensor.

    Args:
        channels: what was chosen, in words.
        sentence: on what, and what it loses.
        chart: accuracy against cost.
        rows: of the front: cost, channels, accuracy on validation and on test images, whether it was chosen.
    """

    channels: str
    sentence: str
    chart: Chart
    rows: tuple[tuple[str, str, str, str, bool], ...]


def read_sensor(values: Json, everything: Sequence[str], accuracy_of_all: float) -> Sensor:
    """From what `SmallestSensor.to_dict` gives.

    Args:
        values: the JSON.
        everything: all channels.
        accuracy_of_all: on test images.

    Raises:
        KeyError, TypeError, ValueError: for other JSON.
    """
    lost = values["difference_to_all"]
    interval = "{:+.1f} points ({:+.1f} to {:+.1f})".format(*(100 * lost[end] for end in ("difference", "low", "high")))
    p_value = p_text(lost["p_value"])
    sentence = (
        f"Cost {values['cost']:g} of {values['cost_of_all']:g}, chosen on {values['validation_n']:,} validation images "
        f"to lose {100 * values['within']:g} points at most. On {values['n']:,} test images {_accuracy(values)}: less "
        f"all channels {interval}, p = {p_value}."
    )
    rows = tuple(
        (
            f"{point['cost']:g}",
            subset_text(point["channels"], everything),
            f"{100 * point['validation_accuracy']:.1f} %",
            _accuracy(point),
            point["channels"] == values["channels"],
        )
        for point in values["front"]
    )
    chosen = subset_text(values["channels"], everything)
    return Sensor(chosen, sentence, _chart(values, everything, accuracy_of_all), rows)


def _accuracy(point: Json) -> str:
    return share_text(point["accuracy"], point["low"], point["high"])


def _chart(values: Json, everything: Sequence[str], accuracy_of_all: float) -> Chart:
    front, most = values["front"], values["cost_of_all"]
    costs = [point["cost"] for point in front]
    by_ratio = 0 < costs[0] < most / _BY_RATIO
    whole = all(float(cost).is_integer() for cost in costs) and not by_ratio
    across = fit_axis([*costs, most, *([] if by_ratio else [0])], LEFT, WIDTH - RIGHT, by_ratio=by_ratio, whole=whole)
    up = Axis(0, 1, HEIGHT - BOTTOM, TOP)
    marks = tuple(
        Mark(
            x=across.at(point["cost"]),
            y=up.at(point["accuracy"]),
            low=up.at(point["low"]),
            high=up.at(point["high"]),
            text=f"{subset_text(point['channels'], everything)}: {_accuracy(point)}",
            chosen=point["channels"] == values["channels"],
        )
        for point in front
    )
    ends = zip(front, [*costs[1:], max(most, costs[-1])], strict=True)
    steps = [(x, point["validation_accuracy"]) for point, end in ends for x in (point["cost"], end)]
    return Chart(
        title="Accuracy against cost",
        text=f"test accuracy of {len(front)} subsets by cost; the numbers are in the table",
        x_title="cost of the channels",
        x_ticks=across.ticks(),
        y_ticks=up.ticks(percent),
        lines=(Line.of("validation", "c3 dashed", steps, (across, up)),),
        marks=marks,
        horizontal=up.at(accuracy_of_all),
    )
