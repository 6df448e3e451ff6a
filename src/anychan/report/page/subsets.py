"""The subset matrix: a row a subset, dots for its channels, a bar for its accuracy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anychan.evaluation.text import count_text, names_text
from anychan.report.page.chart import Bar, bar_scale, percent
from anychan.report.summary import size_ranges
from anychan.report.tables import p_text, share_text, subset_text

__all__ = ["Matrix", "MatrixRow", "read_matrix"]

_MOST_ROWS = 127  # all subsets of 7 channels; of more, the best and the worst for each number of channels
_MOST_DOTS = 32  # channels; beyond, names stand in place of dots
_PITCH = 18  # units from one dot to the next
Json = Mapping[str, Any]


@dataclass(frozen=True)
class MatrixRow:
    """One subset.

    Args:
        name: its channels in words.
        on: places of the dots of channels that it has.
        off: of those that it lacks.
        bar: its accuracy.
        p_value: against all channels.
        calibration: its calibration error.
    """

    name: str
    on: tuple[float, ...]
    off: tuple[float, ...]
    bar: Bar
    p_value: str
    calibration: str


@dataclass(frozen=True)
class Matrix:
    """Accuracy by subset.

    Args:
        channels: the columns of dots; none where there are too many channels for dots.
        groups: how many channels, in words → the rows.
        ticks: places and texts of the bars' scale.
        chance: place of the accuracy without any channel, if known.
        n: test images.
        notes: what a reader must know, a sentence each.
    """

    channels: tuple[str, ...]
    groups: dict[str, list[MatrixRow]]
    ticks: list[tuple[float, str]]
    chance: float | None
    n: int
    notes: tuple[str, ...]

    pitch = _PITCH

    @property
    def width(self) -> int:
        """Of a row of dots."""
        return _PITCH * len(self.channels)

    @property
    def head_height(self) -> int:
        """Of the channels' names, which stand upright; long ones are cut off by the template."""
        return 12 + 7 * min(18, max(map(len, self.channels), default=0))


def read_matrix(values: Json) -> Matrix:
    """From what `RunReport.to_dict` gives.

    Raises:
        KeyError, TypeError, ValueError: for other JSON.
    """
    rows, shapley = values["subsets"], values["shapley"]
    everything = max((row["channels"] for row in rows), key=len)
    dotted = everything if len(everything) <= _MOST_DOTS else []
    many = len(rows) > _MOST_ROWS
    groups: dict[str, list[MatrixRow]] = {}
    for title, here in _by_size(rows, together=many):
        if many and len(here) > 2:
            title, here = f"{title}: best and worst of {len(here):,} subsets", [here[0], here[-1]]
        groups[title] = [_row(row, everything, dotted) for row in here]
    return Matrix(
        channels=tuple(dotted),
        groups=groups,
        ticks=[(25 * step, percent(step / 4)) for step in range(5)],
        chance=None if shapley is None else 100 * shapley["none"],
        n=rows[0]["n"],
        notes=tuple(_notes(values)),
    )


def _by_size(rows: Sequence[Json], *, together: bool) -> Iterator[tuple[str, list[Json]]]:
    """Rows of each number of channels, or of ranges of them where there are many; the best first."""
    sizes = {len(row["channels"]) for row in rows}
    for found in size_ranges(sizes) if together else [[size] for size in sorted(sizes, reverse=True)]:
        title = f"{found[0]} to {found[-1]} channels" if len(found) > 1 else f"{found[0]} channel{'s' * (found[0] > 1)}"
        yield title, sorted((row for row in rows if len(row["channels"]) in found), key=lambda row: -row["accuracy"])


_BAR: Callable[[float, float, float, str], Bar] = bar_scale(0, 1)


def _row(row: Json, everything: Sequence[str], dotted: Sequence[str]) -> MatrixRow:
    has = {_PITCH * (position + 0.5): name in row["channels"] for position, name in enumerate(dotted)}
    accuracy, error = (row["accuracy"], row["low"], row["high"]), row["calibration_error"]
    return MatrixRow(
        name=subset_text(row["channels"], everything),
        on=tuple(place for place, there in has.items() if there),
        off=tuple(place for place, there in has.items() if not there),
        bar=_BAR(*accuracy, share_text(*accuracy)),
        p_value=p_text(row["p_value"]),
        calibration="" if error is None else f"{100 * error:.1f} %",
    )


def _notes(values: Json) -> Iterator[str]:
    sample, violations, possible = values["sample"], values["violations"], values["possible_subsets"]
    if len(values["subsets"]) < possible:
        yield f"There are {count_text(possible)} subsets; {len(values['subsets']):,} of them were evaluated."
    if sample is not None:
        yield (
            f"Mean over all subsets, estimated from {sample['n']:,} drawn at random: {100 * sample['mean']:.1f} % "
            f"(standard error of the draw {100 * sample['standard_error']:.1f} points)."
        )
    if violations["pairs"]:
        yield (
            f"One channel more is significantly worse in {len(violations['found']):,} of {violations['pairs']:,} pairs "
            "of subsets (exact McNemar test, Holm's correction, 5 % for all together)."
        )
    if values["untrained"]:
        yield f"Never trained, still as they began: {names_text(values['untrained'])}."
    if values["absent_channels"]:
        absent = names_text(values["absent_channels"])
        yield f"Not in this data: {absent}; filled by stem {values['stem']}."
