"""Mean and covariance of the channels, in one pass and float64, also where some pixels lack some channels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from anychan.contract import ChannelStatistics
from anychan.data.pieces import pieces
from anychan.encoding import no_data_row

__all__ = ["StatisticsAccumulator", "image_statistics"]

_CHUNK_VALUES = 2**20  # 8 MiB each in the few arrays that a chunk needs


class StatisticsAccumulator:
    """Adds up sums and cross products of pixels; a NaN means that the channel is absent there.

    Sums are of values less a constant near their mean (that of the first chunk with the channel), so that the
    difference of two large numbers never eats the variance.

    Args:
        num_channels: C.
    """

    def __init__(self, num_channels: int) -> None:
        size = (num_channels, num_channels)
        self._shift = np.full(num_channels, np.nan)  # NaN until the channel is seen
        self._pixels = np.zeros(size, np.int64)
        self._sums = np.zeros(size)  # [i, j]: channel i, over pixels that also have channel j
        self._products = np.zeros(size)

    def add(self, pixels: npt.NDArray[Any]) -> None:
        """Add pixels (n, C) of any number type."""
        values = pixels.astype(np.float64)
        seen = np.isfinite(values)
        counts = seen.sum(0)
        new = np.isnan(self._shift) & (counts > 0)
        self._shift[new] = np.where(seen, values, 0).sum(0)[new] / counts[new]
        values = np.where(seen, values - self._shift, 0)
        mask = seen.astype(np.float64)
        self._pixels += np.rint(mask.T @ mask).astype(np.int64)
        self._sums += values.T @ mask
        self._products += values.T @ values

    def merge(self, other: StatisticsAccumulator) -> None:
        """Add what another has added up, by the same sums around this one's constants."""
        self._shift = np.where(np.isnan(self._shift), other._shift, self._shift)
        moved = np.nan_to_num(other._shift - self._shift)  # a channel that the other never saw adds nothing
        self._products += other._products + moved[:, None] * other._sums.T + moved * other._sums
        self._products += np.outer(moved, moved) * other._pixels
        self._sums += other._sums + moved[:, None] * other._pixels
        self._pixels += other._pixels

    def result(self) -> ChannelStatistics:
        """The statistics of everything added; NaN for pairs never seen together."""
        with np.errstate(invalid="ignore", divide="ignore"):
            covariance = self._products / self._pixels - (self._sums / self._pixels) * (self._sums / self._pixels).T
            mean = self._shift + np.diag(self._sums) / np.diag(self._pixels)
        np.fill_diagonal(covariance, np.maximum(np.diag(covariance), 0))
        return ChannelStatistics(mean, covariance, self._pixels.copy())


def image_statistics(
    parts: Iterable[tuple[npt.NDArray[Any], Sequence[int] | None]],
    num_channels: int,
    no_data: Sequence[float | None] = (),
) -> ChannelStatistics:
    """The statistics of images, read in pieces so that memory maps of any size fit.

    Args:
        parts: images (N, H, W, S), and the positions of their channels among all; `None` where they have them all.
        num_channels: C.
        no_data: (C,) the raw number that stands for no data; such pixels count nowhere.
    """
    accumulator = StatisticsAccumulator(num_channels)
    for images, index in parts:
        numbers = no_data_row(no_data or [None] * num_channels, images.dtype)
        columns = list(range(num_channels)) if index is None else list(index)
        for piece in pieces(images, _CHUNK_VALUES):
            pixels = piece.astype(np.float64)
            pixels[pixels == numbers[columns]] = np.nan
            if len(columns) == num_channels and columns == sorted(columns):
                accumulator.add(pixels)
                continue
            padded = np.full((len(pixels), num_channels), np.nan)
            padded[:, columns] = pixels
            accumulator.add(padded)
    return accumulator.result()
