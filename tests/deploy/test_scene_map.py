from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anychan.deploy.scene_map import Band, Grid, MapRow, class_rows, classify_windows
from anychan.errors import ConfigError, DataError
from tests.scenes import Array

FloatArray = npt.NDArray[np.float32]


def softmax_of(windows: Sequence[Array]) -> FloatArray:
    """Probabilities of three classes that depend on every pixel of a window."""
    logits = np.array([[window.mean(), window[0].mean(), window[:, -1].mean()] for window in windows])
    found = np.exp(logits)
    return np.asarray(found / found.sum(1, keepdims=True), np.float32)


def brute_force(values: Array, empty: Array, grid: Grid) -> tuple[Array, Array]:
    """Every window over every cell, cell by cell."""
    labels = np.full((grid.rows, grid.columns), -1)
    confidence = np.full((grid.rows, grid.columns), np.nan)
    last = (grid.height - grid.window, grid.width - grid.window)
    starts = [sorted({*range(0, end + 1, grid.stride), end}) for end in last]
    for row, column in np.ndindex(labels.shape):
        cell = np.zeros((grid.height, grid.width), bool)
        cell[row * grid.stride : (row + 1) * grid.stride, column * grid.stride : (column + 1) * grid.stride] = True
        found = []
        for top in starts[0]:
            for left in starts[1]:
                inside = np.zeros_like(cell)
                inside[top : top + grid.window, left : left + grid.window] = True
                if (cell & ~inside).any() or empty[inside].mean() > 0.5:
                    continue
                found.append(softmax_of([values[top : top + grid.window, left : left + grid.window]])[0])
        if found:
            mean = np.mean(found, 0)
            labels[row, column], confidence[row, column] = mean.argmax(), mean.max()
    return labels, confidence


def rows_of(bands: Iterable[Band], grid: Grid) -> Iterator[MapRow]:
    return class_rows((classify_windows(band, grid, softmax_of, num_classes=3) for band in bands), grid)


def mapped(values: Array, empty: Array, grid: Grid) -> tuple[Array, Array]:
    bands = (Band(values[top : top + grid.window], empty[top : top + grid.window]) for top in grid.tops)
    rows = list(rows_of(bands, grid))
    return np.stack([row.labels for row in rows]), np.stack([row.confidence for row in rows])


@settings(max_examples=40)
@given(
    height=st.integers(5, 21),
    width=st.integers(5, 21),
    window=st.integers(1, 5),
    stride=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_map_is_the_mean_over_all_windows_that_cover_a_cell(
    height: int, width: int, window: int, stride: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(height, width, 2))
    empty = rng.random((height, width)) < 0.45
    grid = Grid(height, width, window, min(stride, window))
    labels, confidence = mapped(values, empty, grid)
    expected_labels, expected_confidence = brute_force(values, empty, grid)
    np.testing.assert_array_equal(labels, expected_labels)
    np.testing.assert_allclose(confidence, expected_confidence, rtol=1e-5)


def test_last_windows_are_moved_inwards_so_that_every_pixel_is_covered() -> None:
    grid = Grid(height=10, width=7, window=4, stride=3)
    assert grid.tops == (0, 3, 6)
    assert grid.lefts == (0, 3)
    assert (grid.rows, grid.columns) == (4, 3)
    grid = Grid(height=11, width=4, window=4, stride=4)
    assert grid.tops == (0, 4, 7)
    assert grid.lefts == (0,)
    assert grid.cells(7, 11) == slice(2, 3)


@pytest.mark.parametrize("length", range(8, 30))
@pytest.mark.parametrize(("window", "stride"), [(8, 8), (8, 3), (7, 5), (8, 1)])
def test_every_cell_has_a_window(length: int, window: int, stride: int) -> None:
    grid = Grid(length, length, window, stride)
    covered = {row for top in grid.tops for row in range(*grid.cells(top, length).indices(grid.rows))}
    assert covered == set(range(grid.rows))


def test_a_window_of_more_than_half_no_data_gets_no_class() -> None:
    grid = Grid(height=4, width=8, window=4, stride=4)
    values, empty = np.zeros((4, 8, 1)), np.zeros((4, 8), bool)
    empty[:2], empty[2, 7] = True, True  # half of the left window, and one pixel more of the right one
    labels, confidence = mapped(values, empty, grid)
    assert labels[0, 0] >= 0
    assert labels[0, 1] == -1
    assert np.isnan(confidence[0, 1])


def test_rows_come_as_soon_as_no_later_window_can_change_them() -> None:
    grid = Grid(height=12, width=4, window=4, stride=2)
    read: list[int] = []

    def bands() -> Iterator[Band]:
        for top in grid.tops:
            read.append(top)
            yield Band(np.zeros((4, 4, 1)), np.zeros((4, 4), bool))

    rows = rows_of(bands(), grid)
    next(rows)
    assert read == [0]
    next(rows)
    assert read == [0, 2]
    assert len(list(rows)) == 4


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((64, 64, 0, 1), "--window is 0, but it must be 1 or more pixels"),
        ((64, 64, 8, 0), "--stride is 0, but it must be 1 or more pixels"),
        ((64, 64, 8, 9), "--stride is 9, but it must be at most the window, 8, or pixels are left out"),
    ],
)
def test_windows_that_cannot_be_are_refused(sizes: tuple[int, int, int, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Grid(*sizes)


def test_a_scene_smaller_than_the_window_is_refused() -> None:
    with pytest.raises(DataError, match="the scene has 63x90 pixels, less than one window of 64; give a smaller"):
        Grid(63, 90, 64, 32)
