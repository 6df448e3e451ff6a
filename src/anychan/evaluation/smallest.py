"""The smallest sensor: the cheapest channels that are nearly as good as all, chosen on validation images."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anychan.errors import ConfigError
from anychan.evaluation.paired import paired_difference

if TYPE_CHECKING:
    from anychan.evaluation.subsets import SubsetReport, SubsetRow

__all__ = ["SmallestSensor", "check_costs", "find_smallest_sensor"]

_ROUNDING = 1e-9  # 0.58 - 0.02 is not quite 0.56


@dataclass(frozen=True, eq=False)
class SmallestSensor:
    """What was chosen on validation images, and how it does on test images.

    Args:
        cost: of the chosen channels.
        cost_of_all: of all channels.
        within: accuracy that may be lost, 0 to 1.
        validation: the chosen subset's row on validation images.
        validation_all: the full set's.
        test: the chosen subset's row on test images.
        difference: chosen less all on the test images, see `paired_difference`.
        front: for each cost at which validation accuracy grows, the cost, the validation row and the test row.
    """

    cost: float
    cost_of_all: float
    within: float
    validation: SubsetRow
    validation_all: SubsetRow
    test: SubsetRow
    difference: Mapping[str, float]
    front: tuple[tuple[float, SubsetRow, SubsetRow], ...]

    @property
    def channels(self) -> tuple[str, ...]:
        """The chosen channels, in the model's order."""
        return self.test.channels

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            **_entry(self.cost, self.validation, self.test),
            "cost_of_all": self.cost_of_all,
            "within": self.within,
            "validation_accuracy_of_all": self.validation_all.accuracy,
            "difference_to_all": dict(self.difference),
            "front": [_entry(*point) for point in self.front],
        }


def _entry(cost: float, validation: SubsetRow, test: SubsetRow) -> dict[str, Any]:
    return {
        "channels": list(test.channels),
        "cost": cost,
        "validation_accuracy": validation.accuracy,
        "validation_n": validation.n,
        "accuracy": test.accuracy,
        "low": test.interval[0],
        "high": test.interval[1],
        "n": test.n,
    }


def check_costs(costs: Mapping[str, float] | None, channels: Sequence[str]) -> dict[str, float]:
    """The cost of every channel: 1 each by default.

    Raises:
        ConfigError: for an unknown channel, one without a cost, or a cost that is no number of 0 or more.
    """
    if costs is None:
        return dict.fromkeys(channels, 1)
    for name, cost in costs.items():
        if name not in channels:
            raise ConfigError(f"costs: {name!r} is not one of the model's channels {', '.join(channels)}")
        number = isinstance(cost, int | float) and not isinstance(cost, bool)
        if not (number and math.isfinite(cost) and cost >= 0):
            raise ConfigError(f"costs: the cost of {name} is {cost!r}, but it must be a number of 0 or more")
    lacking = [name for name in channels if name not in costs]
    if lacking:
        raise ConfigError(f"costs: {', '.join(lacking)} have no cost; give one for each channel, 0 if it is free")
    return {name: costs[name] for name in channels}


def find_smallest_sensor(
    validation: SubsetReport,
    test: SubsetReport,
    *,
    within: float = 0.02,
    costs: Mapping[str, float] | None = None,
) -> SmallestSensor:
    """The cheapest subset that loses no more than `within` to the full set on validation images, tested once.

    Of equal costs the better validation accuracy wins, then the channels that come first in the model's order.

    Args:
        validation: the report that chooses.
        test: the report of the same subsets that tells.
        within: accuracy that may be lost, 0 to 1.
        costs: channel → cost, for every channel; `None` counts channels.

    Raises:
        ConfigError: for a `within` that is not between 0 and 1, costs that do not fit the channels, or reports that
            lack the full set or are not of the same subsets.
    """
    if not 0 <= within <= 1:
        raise ConfigError(f"within is {within}, but it must be between 0 and 1: 0.02 is two points of accuracy")
    full, full_test = validation.full, test.full
    if full is None or full_test is None:
        raise ConfigError("the full set of channels was not evaluated, so there is nothing to compare subsets with")
    tested = {frozenset(row.channels): row for row in test.rows}
    if {frozenset(row.channels) for row in validation.rows} != set(tested):
        raise ConfigError("the validation report and the test report are not of the same subsets")
    priced = check_costs(costs, full.channels)
    order = {name: position for position, name in enumerate(full.channels)}

    def rank(row: SubsetRow) -> tuple[float, float, list[int]]:
        return _cost(row.channels, priced), -row.accuracy, [order[name] for name in row.channels]

    ranked = sorted(validation.rows, key=rank)
    chosen = next(row for row in ranked if row.accuracy >= full.accuracy - within - _ROUNDING)
    points = [(_cost(row.channels, priced), row, tested[frozenset(row.channels)]) for row in _front(ranked)]
    ours = tested[frozenset(chosen.channels)]
    return SmallestSensor(
        cost=_cost(chosen.channels, priced),
        cost_of_all=_cost(full.channels, priced),
        within=within,
        validation=chosen,
        validation_all=full,
        test=ours,
        difference=paired_difference(ours.correct, full_test.correct),
        front=tuple(points),
    )


def _cost(channels: Iterable[str], costs: Mapping[str, float]) -> float:
    """Rounded, so that the order of adding up makes no difference between equal costs."""
    return round(sum(costs[name] for name in channels), 9)


def _front(ranked: Sequence[SubsetRow]) -> list[SubsetRow]:
    """Those better than all that are cheaper or as cheap."""
    found: list[SubsetRow] = []
    for row in ranked:
        if not found or row.accuracy > found[-1].accuracy:
            found.append(row)
    return found
