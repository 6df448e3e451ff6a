"""What a channel's stored numbers are like: range, spread, no data, and what is wrong with them."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from anychan.data.percentiles import ValueCounts
from anychan.data.statistics import StatisticsAccumulator
from anychan.encoding import Encoding

__all__ = ["ChannelCounter", "ChannelFacts", "find_flags"]

LOW, HIGH = 0.1, 99.9
_PIECE = 2**20
_MUCH_SATURATED, _MOSTLY = 0.01, 0.5
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ChannelFacts:
    """One channel over the samples that were looked at, in stored numbers; pixels without data count nowhere.

    Args:
        sizes: the different (height, width), the most frequent first.
        minimum: smallest number; NaN without data.
        low: 0.1th percentile, of floats within 1 %.
        mean: their mean.
        high: 99.9th percentile, of floats within 1 %.
        maximum: largest number.
        std: their standard deviation.
        no_data: share of pixels that hold the no-data number.
        not_finite: share of pixels that hold NaN or infinity which nobody declared as no data.
        saturated: share of pixels at the number type's end, 0 for floats.
        eight_bits: whether a 16-bit channel holds 8-bit values, as they are or times 256 or 257.
        digest: equal for channels of identical pixels.
    """

    sizes: tuple[tuple[int, int], ...]
    minimum: float
    low: float
    mean: float
    high: float
    maximum: float
    std: float
    no_data: float
    not_finite: float
    saturated: float
    eight_bits: bool
    digest: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN becomes null."""
        numbers = ("minimum", "low", "mean", "high", "maximum", "std", "no_data", "not_finite", "saturated")
        found = {key: getattr(self, key) for key in numbers}
        found = {key: None if math.isnan(value) else value for key, value in found.items()}
        return {"sizes": [list(size) for size in self.sizes], **found}


class ChannelCounter:
    """Adds up one channel, plane by plane; memory does not grow with the samples.

    Args:
        dtype: uint8, uint16 or float32.
        encoding: which number means no data.
    """

    def __init__(self, dtype: np.dtype[Any], encoding: Encoding) -> None:
        self._dtype, self._encoding = dtype, encoding
        self._counts, self._moments = ValueCounts(1, dtype), StatisticsAccumulator(1)
        self._range = (math.inf, -math.inf)
        self._pixels = self._missing = self._not_finite = self._saturated = 0
        self._sizes: dict[tuple[int, int], int] = {}
        self._digest = hashlib.sha256()

    def add(self, plane: Array) -> None:
        """Add a plane (H, W) of the number type."""
        height, width = plane.shape
        self._sizes[height, width] = self._sizes.get((height, width), 0) + 1
        flat = np.ascontiguousarray(plane).reshape(-1)
        self._digest.update(f"{plane.shape} {plane.dtype}".encode())
        self._digest.update(flat.data)
        self._pixels += flat.size
        for start in range(0, flat.size, _PIECE):
            self._add_values(flat[start : start + _PIECE])

    def _add_values(self, piece: Array) -> None:
        missing = self._encoding.missing(piece)
        self._missing += int(missing.sum())
        values = piece[~missing]
        finite = np.isfinite(values)
        self._not_finite += int(values.size - finite.sum())
        values = values[finite]
        if not values.size:
            return
        self._range = min(self._range[0], float(values.min())), max(self._range[1], float(values.max()))
        if np.issubdtype(self._dtype, np.integer):
            self._saturated += int((values == np.iinfo(self._dtype).max).sum())
        self._counts.add(values, 0)
        self._moments.add(values[:, None])

    def result(self) -> ChannelFacts:
        """The facts of everything added."""
        moments, whole = self._moments.result(), max(1, self._pixels)
        low, high = self._counts.percentiles((LOW, HIGH))[:, 0]
        some = self._range[0] <= self._range[1]
        least, most = self._range if some else (math.nan, math.nan)
        return ChannelFacts(
            sizes=tuple(sorted(self._sizes, key=lambda size: -self._sizes[size])),
            minimum=least,
            low=float(np.clip(low, least, most)) if some else math.nan,
            mean=float(moments.mean[0]),
            high=float(np.clip(high, least, most)) if some else math.nan,
            maximum=most,
            std=float(moments.std[0]),
            no_data=self._missing / whole,
            not_finite=self._not_finite / whole,
            saturated=self._saturated / whole,
            eight_bits=self._eight_bits(),
            digest=self._digest.hexdigest(),
        )

    def _eight_bits(self) -> bool:
        if self._dtype != np.uint16:
            return False
        seen = self._counts.seen(0)
        return bool(seen.size) and (seen[-1] < 256 or not (seen % 257).any() or not (seen % 256).any())


def find_flags(facts: list[ChannelFacts], names: list[str]) -> list[tuple[str, ...]]:
    """What is wrong with each channel: `dead`, `constant`, `duplicate of NAME`, `mostly no data`, `saturated`, ….

    Args:
        facts: of all channels.
        names: of all channels.
    """
    eight_bits = all(one.eight_bits for one in facts if one.maximum > 0)  # one dark channel of 16 bits says nothing
    first: dict[str, str] = {}
    found = []
    for one, name in zip(facts, names, strict=True):
        flags = []
        dead = math.isnan(one.maximum) or one.minimum == one.maximum == 0
        constant = one.minimum == one.maximum
        if dead or constant:
            flags.append("dead" if dead else "constant")
        elif one.digest in first:
            flags.append(f"duplicate of {first[one.digest]}")
        else:
            first[one.digest] = name
        if one.no_data > _MOSTLY:
            flags.append("mostly no data" if one.no_data < 1 else "no data anywhere")
        if one.not_finite > 0:
            flags.append("NaN or infinity")
        if one.saturated > _MUCH_SATURATED and not constant:
            flags.append("saturated")
        if eight_bits and one.eight_bits and not dead:
            flags.append("8-bit values in 16-bit")
        found.append(tuple(flags))
    return found
