"""What each channel is worth: exact Shapley values of accuracy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["ChannelWorth", "channel_worth", "shapley_values"]

_IMAGES_AT_ONCE = 256  # 8,192 subsets × 256 images × 8 bytes = 16 MiB
FloatArray = npt.NDArray[np.float64]


def shapley_values(values: npt.NDArray[np.float64 | np.bool_]) -> FloatArray:
    """Each player's mean marginal value over all orders in which the players can come.

    φ_i = Σ_S v(S ∪ i) − v(S) over all S without i, weighted by |S|! (C − |S| − 1)! / C!

    Args:
        values: (2^C, ...) v of each subset; bit i of the position says whether player i is in it.

    Returns:
        (C, ...); the sum over the players is v(all) − v(none).

    Source: Shapley 1953, A value for n-person games, Contributions to the Theory of Games II.

    Example:
        >>> shapley_values(np.array([0.0, 1.0, 2.0, 4.0])).tolist()
        [1.5, 2.5]
    """
    count = len(values).bit_length() - 1
    masks = np.arange(len(values))
    sizes = np.bitwise_count(masks)
    weights = np.array([1 / (count * math.comb(count - 1, size)) for size in range(count)])
    found = np.empty((count, *values.shape[1:]))
    for player in range(count):
        without = masks[masks >> player & 1 == 0]
        gain = values[without | 1 << player].astype(np.float64) - values[without]
        found[player] = np.tensordot(weights[sizes[without]], gain, 1)
    return found


@dataclass(frozen=True, eq=False)
class ChannelWorth:
    """Shapley values of the channels for accuracy.

    Args:
        channels: names, in the model's order.
        values: (C,) accuracy that each channel brings on average, -1 to 1.
        errors: (C,) their standard errors over the images.
        none: accuracy without any channel: always the commonest training class.
        all: accuracy with all channels; `none` plus all values.
    """

    channels: tuple[str, ...]
    values: FloatArray
    errors: FloatArray
    none: float
    all: float

    def __getitem__(self, channel: str) -> float:
        return float(self.values[self.channels.index(channel)])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        rows = [
            {"channel": name, "value": float(value), "standard_error": float(error)}
            for name, value, error in zip(self.channels, self.values, self.errors, strict=True)
        ]
        return {"none": self.none, "all": self.all, "channels": rows}


def channel_worth(
    channels: tuple[str, ...],
    subsets: Sequence[tuple[str, ...]],
    correct: npt.NDArray[np.bool_],
    guessed: npt.NDArray[np.bool_],
) -> ChannelWorth:
    """Shapley values where v(S) is the accuracy on S, and v(no channel) that of guessing.

    Accuracy is a mean over images, and Shapley values are linear in v: so they are means over images too, which gives
    their standard errors.

    Args:
        channels: the model's names, in order.
        subsets: all 2^C − 1 of them, in any order.
        correct: (2^C − 1, N) which images were classified right on each subset.
        guessed: (N,) which images a guess without any channel gets right.
    """
    bit = {name: 1 << position for position, name in enumerate(channels)}
    right = np.empty((len(subsets) + 1, len(guessed)), np.bool_)
    right[0] = guessed
    right[[sum(bit[name] for name in subset) for subset in subsets]] = correct
    accuracy = right.mean(1)
    parts = range(0, len(guessed), _IMAGES_AT_ONCE)
    each = np.concatenate([shapley_values(right[:, start : start + _IMAGES_AT_ONCE]) for start in parts], 1)
    errors = each.std(1, ddof=min(1, len(guessed) - 1)) / math.sqrt(len(guessed))
    return ChannelWorth(channels, shapley_values(accuracy), errors, float(accuracy[0]), float(accuracy[-1]))
