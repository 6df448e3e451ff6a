"""What each channel is worth: Shapley values as bars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anychan.evaluation.shapley import worth_interval
from anychan.report.page.chart import Absent, Axis, Bar, bar_scale

__all__ = ["Worth", "read_worth"]

_MOST_BARS = 40


@dataclass(frozen=True)
class Worth:
    """Shapley values.

    Args:
        bars: channel → its bar, in points of accuracy; the largest value first.
        ticks: places and texts of the bars' scale.
        zero: place of 0.
        notes: what a reader must know, a sentence each.
    """

    bars: dict[str, Bar]
    ticks: list[tuple[float, str]]
    zero: float
    notes: tuple[str, ...]


def read_worth(values: Mapping[str, Any], command: str) -> Worth | Absent:
    """From what `RunReport.to_dict` gives.

    Args:
        values: the JSON.
        command: `anychan evaluate RUN`.

    Raises:
        KeyError, TypeError, ValueError: for other JSON.
    """
    found = values["shapley"]
    if found is None:
        return Absent("Shapley values need all subsets, or random orders of the channels.", f"{command} --shapley 50")
    points = ((row["channel"], *(100 * value for value in worth_interval(row))) for row in found["channels"])
    rows = sorted(points, key=lambda row: -row[1])
    shown = rows[:_MOST_BARS]
    least, most = min(0.0, *(row[2] for row in shown)), max(0.0, *(row[3] for row in shown))
    scale = Axis(least, most if most > least else least + 1, 0, 100)
    bar = bar_scale(scale.low, scale.high)
    bars = {
        name: bar(value, low, high, f"{value:+.1f} ({low:+.1f} to {high:+.1f})") for name, value, low, high in shown
    }
    notes = [
        f"The values sum up from {100 * found['none']:.1f} % by guessing the commonest class to "
        f"{100 * found['all']:.1f} % with all channels."
    ]
    if found["orders"] is not None:
        notes.append(f"Estimated from {found['orders']} random orders of the channels; the intervals cover that too.")
    if len(rows) > len(shown):
        rest = [row[1] for row in rows[_MOST_BARS:]]
        notes.append(f"{len(rest)} more channels bring {rest[0]:+.1f} to {rest[-1]:+.1f} points each.")
    return Worth(bars, scale.ticks(lambda value: f"{value:+g}" if value else "0"), scale.at(0), tuple(notes))
