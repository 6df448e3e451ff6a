"""Where the marks of a small chart go: the templates draw them as SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from matplotlib.ticker import LogLocator, MaxNLocator

__all__ = ["Absent", "Axis", "Bar", "Chart", "Line", "Mark", "bar_scale", "fit_axis", "percent"]

# in the SVG's own units; LEFT has room for "100 %"
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 420, 270, 56, 14, 10, 42
_TICKS = 5
_DECADES_IN_FULL = 1.5  # a longer logarithmic axis has ticks at 1, 10, 100 only


@dataclass(frozen=True)
class Absent:
    """What stands where a section has nothing to show.

    Args:
        sentence: why.
        command: what makes it, if a command does.
    """

    sentence: str
    command: str | None = None


@dataclass(frozen=True)
class Axis:
    """From values to places.

    Args:
        low: the value at `start`.
        high: the value at `end`, above `low`.
        start: a place in the SVG.
        end: another.
        by_ratio: logarithmic; `low` is then above 0.
        whole: ticks at whole numbers only.
    """

    low: float
    high: float
    start: float
    end: float
    by_ratio: bool = False
    whole: bool = False

    def at(self, value: float) -> float:
        """The place of a value."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        return round(self.start + (self.end - self.start) * (self._scaled(value) - low) / (high - low), 2)

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.by_ratio else value

    def ticks(self, text: Callable[[float], str] = "{:g}".format) -> list[tuple[float, str]]:
        """Place and text of some round values."""
        locator: LogLocator | MaxNLocator = MaxNLocator(_TICKS, integer=self.whole, steps=[1, 2, 2.5, 5, 10])
        if self.by_ratio:
            wide = math.log10(self.high / self.low) > _DECADES_IN_FULL
            locator = LogLocator(subs=(1,) if wide else (1, 2, 5))
        edge = 1e-9 * (self.high - self.low)
        values = [
            value for value in locator.tick_values(self.low, self.high) if self.low - edge <= value <= self.high + edge
        ]
        return [(self.at(value), text(round(value, 10))) for value in values]


def fit_axis(values: Iterable[float], start: float, end: float, *, by_ratio: bool = False, whole: bool = False) -> Axis:
    """An axis that holds all finite values, with some air at both ends unless they are whole numbers.

    Args:
        values: what it is for; none gives 0 to 1.
        start: where it begins.
        end: where it ends.
        by_ratio: logarithmic, where no value is below or at 0.
        whole: for whole numbers.
    """
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if by_ratio and low > 0:
        air = (high / low) ** 0.05 if high > low else 2.0
        return Axis(low / air, high * air, start, end, by_ratio=True)
    air = 0.0 if whole and high > low else 0.05 * (high - low) or 0.5
    return Axis(low - air, high + air, start, end, whole=whole)


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Args:
        name: for the legend.
        look: classes of the style sheet.
        points: what `polyline` takes; pieces, where values between are no numbers.
        dots: points that stand alone.
    """

    name: str
    look: str
    points: tuple[str, ...]
    dots: tuple[tuple[float, float], ...] = ()

    @classmethod
    def of(cls, name: str, look: str, values: Sequence[tuple[float, float]], axes: tuple[Axis, Axis]) -> Line:
        """A line through values (x, y), broken where a y is not finite."""
        pieces: list[list[tuple[float, float]]] = [[]]
        for x, y in values:
            if math.isfinite(y):
                pieces[-1].append((axes[0].at(x), axes[1].at(y)))
            else:
                pieces.append([])
        points = tuple(" ".join(f"{x:g},{y:g}" for x, y in piece) for piece in pieces if len(piece) > 1)
        return cls(name, look, points, tuple(piece[0] for piece in pieces if len(piece) == 1))


@dataclass(frozen=True)
class Mark:
    """A point with an interval.

    Args:
        x: its place.
        y: its place.
        low: where the interval begins.
        high: where it ends.
        text: what a pointer over it shows.
        chosen: whether it has a ring.
    """

    x: float
    y: float
    low: float
    high: float
    text: str
    chosen: bool = False


@dataclass(frozen=True)
class Chart:
    """One chart.

    Args:
        title: above it.
        text: what it shows, for those who cannot see it.
        x_title: below it.
        x_ticks: places and texts.
        y_ticks: places and texts.
        lines: the first is drawn first.
        marks: drawn above the lines.
        vertical: place of a dotted line, such as at the kept epoch.
        horizontal: place of a line across.
    """

    title: str
    text: str
    x_title: str
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    lines: tuple[Line, ...]
    marks: tuple[Mark, ...] = ()
    vertical: float | None = None
    horizontal: float | None = None

    width, height, left, right, top, bottom = WIDTH, HEIGHT, LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM


@dataclass(frozen=True)
class Bar:
    """A bar with its interval, in percent of the width.

    Args:
        start: where it begins.
        length: 0 or more.
        low: where the interval begins.
        high: where it ends.
        negative: whether it stands for a value below 0.
        text: the numbers.
    """

    start: float
    length: float
    low: float
    high: float
    negative: bool
    text: str


def bar_scale(low: float, high: float) -> Callable[[float, float, float, str], Bar]:
    """What makes bars of (value, low end, high end, text) on a scale from `low` to `high` that holds 0."""
    axis = Axis(low, high, 0, 100)

    def bar(value: float, least: float, most: float, text: str) -> Bar:
        zero, end = axis.at(0), axis.at(value)
        return Bar(min(zero, end), round(abs(end - zero), 2), axis.at(least), axis.at(most), value < 0, text)

    return bar


def percent(value: float) -> str:
    """A share as a tick's text.

    Example:
        >>> percent(0.25), percent(0.125)
        ('25 %', '12.5 %')
    """
    return f"{100 * value:.3g} %"
