"""A scene's class map, row by row: overlapping windows, and the mean of their softmax in each cell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from anychan.errors import ConfigError, DataError

__all__ = ["EMPTY_SHARE", "Band", "Grid", "MapRow", "WindowRow", "class_rows", "classify_windows"]

EMPTY_SHARE = 0.5  # a window (or image) with more pixels of no data than this gets no class
Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Grid:
    """Where windows lie on a scene, and the cells of the class map: one for every `stride` × `stride` pixels.

    Args:
        height: the scene's, in pixels.
        width: the scene's, in pixels.
        window: side of a window in pixels.
        stride: pixels from one window to the next; the last window of a row or column is moved inwards, so that it ends
            where the scene does.

    Raises:
        ConfigError: for a stride or window below 1, or a stride above the window, which would leave gaps.
        DataError: for a scene smaller than the window.
    """

    height: int
    width: int
    window: int
    stride: int

    def __post_init__(self) -> None:
        for key in ("window", "stride"):
            if getattr(self, key) < 1:
                raise ConfigError(f"--{key} is {getattr(self, key)}, but it must be 1 or more pixels")
        if self.stride > self.window:
            raise ConfigError(
                f"--stride is {self.stride}, but it must be at most the window, {self.window}, or pixels are left out"
            )
        if min(self.height, self.width) < self.window:
            raise DataError(
                f"the scene has {self.height}x{self.width} pixels, less than one window of {self.window}; give a "
                "smaller --window"
            )

    @property
    def rows(self) -> int:
        """Rows of cells; the last may reach over the scene's edge."""
        return -(-self.height // self.stride)

    @property
    def columns(self) -> int:
        """Columns of cells."""
        return -(-self.width // self.stride)

    @property
    def tops(self) -> tuple[int, ...]:
        """First pixel row of each row of windows."""
        return self._starts(self.height)

    @property
    def lefts(self) -> tuple[int, ...]:
        """First pixel column of each column of windows."""
        return self._starts(self.width)

    def _starts(self, length: int) -> tuple[int, ...]:
        last = length - self.window
        return (*range(0, last, self.stride), last)

    def cells(self, start: int, length: int) -> slice:
        """The rows (or columns) of cells that a window covers wholly, as far as they lie on the scene.

        Args:
            start: the window's first pixel.
            length: the scene's height (or width).
        """
        end = start + self.window
        return slice(-(-start // self.stride), -(-end // self.stride) if end == length else end // self.stride)


class Band(NamedTuple):
    """As many rows of a scene as a window is high: values (window, W, S), and where no channel has data (window, W)."""

    values: Array
    empty: npt.NDArray[np.bool_]


class WindowRow(NamedTuple):
    """One row of windows: what they add to the cells of each column, (columns, K), and how many do, (columns,)."""

    sums: FloatArray
    counts: FloatArray


class MapRow(NamedTuple):
    """One row of cells: label of each, -1 where there is none; and the averaged probability of it, then NaN."""

    labels: npt.NDArray[np.int64]
    confidence: FloatArray


def class_rows(windows: Iterable[WindowRow], grid: Grid) -> Iterator[MapRow]:
    """The class map from top to bottom; only the cells that are not complete yet are held.

    A cell's probabilities are the mean softmax of all windows that cover it wholly; a cell that no window covers has no
    class.

    Args:
        windows: what `classify_windows` says for each of `grid.tops`.
        grid: where the windows lie.
    """
    sums: dict[int, FloatArray] = {}  # of rows of cells that are not complete: (columns, K)
    counts: dict[int, FloatArray] = {}
    done = 0
    for number, (line, line_count) in enumerate(windows):
        top = grid.tops[number]
        cells = grid.cells(top, grid.height)
        for row in range(cells.start, cells.stop):
            sums[row] = sums[row] + line if row in sums else line
            counts[row] = counts[row] + line_count if row in counts else line_count
        following = grid.tops[number + 1] if number + 1 < len(grid.tops) else grid.height
        while done < grid.rows and done * grid.stride < following:  # no later window covers the whole of this row
            yield _decide(sums.pop(done), counts.pop(done))
            done += 1


def classify_windows(
    band: Band, grid: Grid, classify: Callable[[Sequence[Array]], FloatArray], *, num_classes: int
) -> WindowRow:
    """One row of windows; those more than half of whose pixels hold no data in any channel take no part.

    Args:
        band: its pixels.
        grid: where the windows lie.
        classify: windows (n times (window, window, S)) → softmax (n, num_classes).
        num_classes: K.
    """
    sums, counts = np.zeros((grid.columns, num_classes), np.float32), np.zeros(grid.columns, np.float32)
    before = np.concatenate([[0], np.cumsum(band.empty.sum(0))])  # pixels of no data left of each column
    allowed = EMPTY_SHARE * grid.window**2
    lefts = [left for left in grid.lefts if before[left + grid.window] - before[left] <= allowed]
    if lefts:
        found = classify([band.values[:, left : left + grid.window] for left in lefts])
        for left, probabilities in zip(lefts, found, strict=True):
            cells = grid.cells(left, grid.width)
            sums[cells] += probabilities
            counts[cells] += 1
    return WindowRow(sums, counts)


def _decide(sums: FloatArray, counts: FloatArray) -> MapRow:
    covered = counts > 0
    labels = np.where(covered, sums.argmax(1), -1)
    confidence = np.full(len(sums), np.nan, np.float32)
    confidence[covered] = sums[covered].max(1) / counts[covered]
    return MapRow(labels, confidence)
