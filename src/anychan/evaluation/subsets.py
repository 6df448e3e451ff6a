"""The subset report: one model's accuracy on every subset of its channels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor

from anychan.evaluation.accuracy import wilson_interval
from anychan.evaluation.calibration import expected_calibration_error
from anychan.evaluation.shapley import ChannelWorth, channel_worth, sampled_worth
from anychan.evaluation.smallest import SmallestSensor, find_smallest_sensor
from anychan.evaluation.text import count_text
from anychan.evaluation.violations import Violations, find_violations

__all__ = ["SubsetReport", "SubsetRow"]


@dataclass(frozen=True, eq=False)
class SubsetRow:
    """Accuracy on one subset of the channels.

    Args:
        channels: names (identities where names would clash), in the model's order.
        correct: (N,) bool, which images were classified right.
        confidence: (N,) the largest softmax value of each image, 0 to 1.
        p_value: of McNemar's exact two-sided test against the full set of channels, where that was evaluated; not
            corrected for the number of subsets.
    """

    channels: tuple[str, ...]
    correct: Tensor
    confidence: Tensor | None = None
    p_value: float | None = None

    @property
    def n(self) -> int:
        """Number of images."""
        return len(self.correct)

    @cached_property
    def accuracy(self) -> float:
        """Share of images classified right, 0 to 1."""
        return int(self.correct.sum()) / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy."""
        return wilson_interval(int(self.correct.sum()), self.n)

    @cached_property
    def calibration_error(self) -> float | None:
        """Expected calibration error in 15 bins, 0 to 1, where confidences are known."""
        if self.confidence is None:
            return None
        return expected_calibration_error(self.confidence.numpy(), self.correct.numpy())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON and CSV."""
        low, high = self.interval
        return {
            "channels": list(self.channels),
            "accuracy": self.accuracy,
            "low": low,
            "high": high,
            "n": self.n,
            "p_value": self.p_value,
            "calibration_error": self.calibration_error,
        }


@dataclass(frozen=True, eq=False)
class SubsetReport:
    """Accuracy on many subsets.

    Args:
        rows: one a subset.
        possible: how many subsets there are in all, 2^C - 1.
        batch_norm: `"own"` when each subset had batch-norm statistics measured for it, `"saved"` when those that the
            model holds for each were used, `"shared"` when the model's were used throughout, `"no"` without batch norm.
        guessed: (N,) bool, which images a guess without any channel gets right.
        sampled: positions of the rows that were drawn at random from all subsets.
        orders: random orders of the channels, whose nested subsets are among the rows: Shapley values are estimated
            from them where not all subsets were evaluated.
        flip: whether each image was classified together with its mirror image.
    """

    rows: tuple[SubsetRow, ...]
    possible: int
    batch_norm: str
    guessed: Tensor | None = None
    sampled: tuple[int, ...] = ()
    orders: tuple[tuple[str, ...], ...] = ()
    flip: bool = False

    def row(self, channels: Iterable[str]) -> SubsetRow:
        """The row of one subset, whatever the order of its names."""
        wanted = frozenset(channels)
        return next(row for row in self.rows if frozenset(row.channels) == wanted)

    @cached_property
    def full(self) -> SubsetRow | None:
        """The row of all channels, if that was evaluated."""
        return next((row for row in self.rows if len(row.channels) == self.possible.bit_length()), None)

    @property
    def how(self) -> str:
        """How its images were classified, for titles."""
        return f"{self.batch_norm} batch-norm statistics{', images and their mirror images' if self.flip else ''}"

    @property
    def table(self) -> list[dict[str, Any]]:
        """One dict a subset: channels, accuracy, low, high, n, p_value, calibration_error."""
        return [row.to_dict() for row in self.rows]

    @cached_property
    def no_shapley(self) -> str | None:
        """Why there are no Shapley values, if there are none."""
        if not self.orders and not self._has_all:
            return (
                f"{len(self.rows):,} of {count_text(self.possible)} subsets were evaluated, but exact Shapley values "
                "need all; --shapley estimates them"
            )
        return "no training labels were given to guess from without any channel" if self.guessed is None else None

    @cached_property
    def _has_all(self) -> bool:
        return len(frozenset(frozenset(row.channels) for row in self.rows)) == self.possible

    @cached_property
    def shapley(self) -> ChannelWorth | None:
        """What each channel is worth: exact where all subsets were evaluated, else estimated from random orders.

        `None` without either (see `no_shapley`).
        """
        if self.no_shapley is not None or self.full is None or self.guessed is None:
            return None
        found = self.full.channels, [row.channels for row in self.rows], self._correct(), self.guessed.numpy()
        return channel_worth(*found) if self._has_all else sampled_worth(*found, self.orders)

    @cached_property
    def violations(self) -> Violations:
        """Where one channel more is significantly worse, among the evaluated subsets."""
        return find_violations([row.channels for row in self.rows], self._correct())

    @property
    def sample_mean(self) -> tuple[float, float] | None:
        """Mean accuracy over all subsets as estimated from the sampled ones, and its standard error.

        s / √n · √(1 − n / all): the error of not having evaluated all, on these same images; 0 when all were drawn.
        """
        values = [self.rows[position].accuracy for position in self.sampled]
        if len(values) < 2:
            return None
        error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
        return float(np.mean(values)), error * math.sqrt(1 - len(values) / self.possible)

    def smallest_sensor(
        self, validation: SubsetReport, *, within: float = 0.02, costs: Mapping[str, float] | None = None
    ) -> SmallestSensor:
        """The cheapest subset within a stated loss, chosen on `validation`, tested here: `find_smallest_sensor`."""
        return find_smallest_sensor(validation, self, within=within, costs=costs)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        mean = self.sample_mean
        return {
            "batch_norm": self.batch_norm,
            "flip": self.flip,
            "possible_subsets": self.possible,
            "subsets": self.table,
            "sample": None if mean is None else {"n": len(self.sampled), "mean": mean[0], "standard_error": mean[1]},
            "shapley": None if self.shapley is None else self.shapley.to_dict(),
            "shapley_reason": self.no_shapley,
            "violations": self.violations.to_dict(),
        }

    def _correct(self) -> np.typing.NDArray[np.bool_]:
        return np.stack([row.correct.numpy() for row in self.rows])
