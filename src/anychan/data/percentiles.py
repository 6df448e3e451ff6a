"""Percentiles of the channels, exact, in memory that does not grow with the images."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from anychan.data.pieces import pieces

__all__ = ["ValueCounts", "image_percentiles"]

_CHUNK_VALUES = 2**22
_BINS = 2**16
Array = npt.NDArray[Any]


class ValueCounts:
    """Counts every value of 8 and 16 bits; of float32, its upper 16 bits, and in a second pass the lower ones.

    A float's bits, turned so that they sort as the floats do, are an unsigned number of 32 bits; its upper half alone
    is within 1 % of the value. 512 KiB a channel, and as much again for each percentile of floats that is refined.

    Args:
        num_channels: C.
        dtype: uint8, uint16 or float32.
    """

    def __init__(self, num_channels: int, dtype: np.dtype[Any]) -> None:
        self._float = not np.issubdtype(dtype, np.integer)
        self._coarse = np.zeros((num_channels, _BINS), np.int64)
        self._fine: list[tuple[Array, Array]] = []  # (C,) the upper half looked into, (C, bins) counts of lower halves

    @property
    def pixels(self) -> npt.NDArray[np.int64]:
        """(C,) numbers counted."""
        counted: npt.NDArray[np.int64] = self._coarse.sum(1)
        return counted

    def seen(self, channel: int) -> Array:
        """The different values of a channel of integers, ascending."""
        return np.flatnonzero(self._coarse[channel])

    def add(self, values: Array, channel: int) -> None:
        """Count values (n,) of a channel, without those that mean no data; NaN and infinity count nowhere.

        After `refine`, give the same values once more.
        """
        keys = _sortable(values[np.isfinite(values)]) if self._float else values
        if not self._fine:
            self._coarse[channel] += np.bincount(keys >> 16 if self._float else keys, minlength=_BINS)
        for upper, counts in self._fine:
            counts[channel] += np.bincount(keys[keys >> 16 == upper[channel]] & 0xFFFF, minlength=_BINS)

    def refine(self, percentiles: Sequence[float]) -> None:
        """From now on, `add` counts the lower halves where these percentiles of floats lie."""
        self._fine = [(self._find(p)[0], np.zeros_like(self._coarse)) for p in percentiles] if self._float else []

    def _find(self, percentile: float) -> tuple[Array, Array]:
        """(C,) the bin that holds a percentile, and its rank inside the bin."""
        ranks = np.maximum(np.ceil(percentile / 100 * self.pixels), 1)
        sums = self._coarse.cumsum(1)
        bins = np.array([np.searchsorted(row, rank) for row, rank in zip(sums, ranks, strict=True)])
        before = np.where(bins > 0, np.take_along_axis(sums, np.maximum(bins - 1, 0)[:, None], 1)[:, 0], 0)
        return bins, ranks - before

    def percentiles(self, percentiles: Sequence[float]) -> npt.NDArray[np.float64]:
        """(P, C) the values with at least so many per cent of the pixels at or below them; NaN without pixels.

        Args:
            percentiles: between 0 and 100; of floats those given to `refine`, or else within 1 %.
        """
        found = np.empty((len(percentiles), len(self._coarse)))
        for row, percentile in enumerate(percentiles):
            bins, ranks = self._find(percentile)
            if self._float and self._fine:
                sums = self._fine[row][1].cumsum(1)
                lower = np.array([np.searchsorted(s, rank) for s, rank in zip(sums, ranks, strict=True)])
                found[row] = _from_sortable(bins << 16 | lower)
            else:
                # a float's value with its lower half cut off, towards 0
                found[row] = _from_sortable(bins << 16 | np.where(bins >> 15, 0, 0xFFFF)) if self._float else bins
        found[:, self.pixels == 0] = math.nan
        return found


def _sortable(values: Array) -> npt.NDArray[np.uint32]:
    """float32 → numbers in the same order."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))


def _from_sortable(keys: Array) -> Array:
    bits = np.minimum(keys, 0xFFFFFFFF).astype(np.uint32)
    return np.where(bits >> 31, bits & np.uint32(0x7FFFFFFF), ~bits).astype(np.uint32).view(np.float32)


def image_percentiles(
    parts: Iterable[tuple[Array, Sequence[int] | None]],
    num_channels: int,
    percentiles: Sequence[float],
    no_data: Sequence[float | None] = (),
) -> npt.NDArray[np.float64]:
    """Percentiles of images of one number type, read in pieces: once, or twice for floats.

    p is the smallest value with at least p per cent of a channel's pixels at or below it (numpy's `inverted_cdf`).

    Args:
        parts: images (N, H, W, S), and the positions of their channels among all; `None` where they have them all.
        num_channels: C.
        percentiles: P numbers between 0 and 100.
        no_data: (C,) the raw number that stands for no data; such pixels count nowhere.

    Returns:
        (P, C).
    """
    parts = list(parts)
    numbers = list(no_data) or [None] * num_channels
    counts = ValueCounts(num_channels, parts[0][0].dtype)
    _count(counts, parts, numbers)
    if parts[0][0].dtype == np.float32:
        counts.refine(percentiles)
        _count(counts, parts, numbers)
    return counts.percentiles(percentiles)


def _count(
    counts: ValueCounts, parts: Sequence[tuple[Array, Sequence[int] | None]], numbers: Sequence[float | None]
) -> None:
    for images, index in parts:
        for piece in pieces(images, _CHUNK_VALUES):
            for column, channel in enumerate(range(piece.shape[1]) if index is None else index):
                values, number = np.ascontiguousarray(piece[:, column]), numbers[channel]
                counts.add(values if number is None else values[values != number], channel)
