"""What each channel is worth: Shapley values of accuracy, exact from all subsets, or estimated from random orders."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from anychan.evaluation.accuracy import Z95

__all__ = ["ChannelWorth", "channel_worth", "sampled_worth", "shapley_values", "worth_interval"]

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
        errors: (C,) their standard errors over the images: other images of the same kind would give other values.
        none: accuracy without any channel: always the commonest training class.
        all: accuracy with all channels; `none` plus all values.
        order_errors: (C,) their standard errors over random orders: all orders, on these same images, would give other
            values; `None` for exact values.
        orders: how many random orders were drawn; `None` for exact values.
    """

    channels: tuple[str, ...]
    values: FloatArray
    errors: FloatArray
    none: float
    all: float
    order_errors: FloatArray | None = None
    orders: int | None = None

    @property
    def whole_errors(self) -> FloatArray:
        """(C,) standard errors of both kinds together: √(errors² + order_errors²)."""
        return self.errors if self.order_errors is None else np.hypot(self.errors, self.order_errors)

    def __getitem__(self, channel: str) -> float:
        return float(self.values[self.channels.index(channel)])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        drawn = [None] * len(self.channels) if self.order_errors is None else self.order_errors.tolist()
        rows = [
            {"channel": name, "value": float(value), "standard_error": float(error), "order_standard_error": order}
            for name, value, error, order in zip(self.channels, self.values, self.errors, drawn, strict=True)
        ]
        return {"none": self.none, "all": self.all, "orders": self.orders, "channels": rows}


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


def sampled_worth(
    channels: tuple[str, ...],
    subsets: Sequence[tuple[str, ...]],
    correct: npt.NDArray[np.bool_],
    guessed: npt.NDArray[np.bool_],
    orders: Sequence[tuple[str, ...]],
) -> ChannelWorth:
    """Shapley values estimated from random orders: each channel's mean gain when it comes in, v as in `channel_worth`.

    The gains of each order sum up to v(all) − v(none), so the estimates do too. Time and memory are linear in the
    channels; the error falls with the square root of the number of orders.

    With P orders, N images and g the gain of one channel in one order on one image, the variance of the mean of all g
    over orders is that of an order's mean, over P. That over images is the same with images, less what orders and
    images do together, which is in it already: (V_N(mean over orders) − V_PN / P) / N, with V_PN the variance of what
    is left of g after both kinds of means; 0 where this is negative.

    Args:
        channels: the model's names, in order.
        subsets: those evaluated, among them the first channel of each order, the first two, up to all.
        correct: (R, N) which images were classified right on each subset.
        guessed: (N,) which images a guess without any channel gets right.
        orders: two or more random orders of the channels.

    Source: Castro, Gómez and Tejada 2009, Polynomial calculation of the Shapley value based on sampling, Computers &
    Operations Research 36(5). The errors: Searle, Casella and McCulloch 1992, Variance Components, §4.3 (two crossed
    random factors, one value a cell).
    """
    bit = {name: 1 << position for position, name in enumerate(channels)}
    place = {name: position for position, name in enumerate(channels)}
    row = {sum(bit[name] for name in subset): number for number, subset in enumerate(subsets)}
    of_images = np.zeros((len(channels), len(guessed)), np.int32)
    of_orders = np.empty((len(orders), len(channels)))
    changed = np.zeros(len(channels))  # the sum of squares: gains are -1, 0 or 1
    for number, order in enumerate(orders):
        mask, before = 0, guessed.astype(np.int8)
        for name in order:
            mask |= bit[name]
            after = correct[row[mask]].astype(np.int8)
            gain, before = after - before, after
            of_images[place[name]] += gain
            of_orders[number, place[name]] = gain.mean()
            changed[place[name]] += np.count_nonzero(gain)
    everything = float(correct[row[(1 << len(channels)) - 1]].mean())
    errors = _two_errors(of_images / len(orders), of_orders, changed)
    return ChannelWorth(
        channels, of_orders.mean(0), errors[0], float(guessed.mean()), everything, errors[1], len(orders)
    )


def _two_errors(of_images: FloatArray, of_orders: FloatArray, squares: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Standard errors over images and over orders, of means (C, N) and (P, C) and sums of squares (C,)."""
    images, orders = of_images.shape[1], len(of_orders)
    mean = of_orders.mean(0)
    between_images = ((of_images - mean[:, None]) ** 2).sum(1)
    between_orders = ((of_orders - mean) ** 2).sum(0)
    left = squares - images * orders * mean**2 - orders * between_images - images * between_orders
    degrees = max(1, images - 1)
    both = left / (degrees * (orders - 1))  # V_PN
    over_images = np.maximum(between_images / degrees - both / orders, 0) / images
    return np.sqrt(over_images), np.sqrt(between_orders / (orders - 1) / orders)


def worth_interval(row: Mapping[str, Any]) -> tuple[float, float, float]:
    """A channel's value and the ends of its 95 % interval, over images and, where there are some, random orders.

    Args:
        row: the channel's, of what `ChannelWorth.to_dict` gives.
    """
    half = Z95 * math.hypot(row["standard_error"], row["order_standard_error"] or 0.0)
    return row["value"], row["value"] - half, row["value"] + half
