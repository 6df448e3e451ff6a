import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anychan.contract import ChannelStatistics
from anychan.data import statistics
from anychan.data.statistics import StatisticsAccumulator, image_statistics
from tests.runs import Array

MIXING = np.array([[1.0, 0.0, 0.0], [0.5, 2.0, 0.0], [-1.0, 0.3, 0.7]])


def pixels(count: int, *, mean: float = 0.0, seed: int = 0) -> Array:
    """(n, 3) correlated float64 pixels, means apart by 10."""
    noise: Array = np.random.default_rng(seed).normal(size=(count, 3))
    values: Array = noise @ MIXING.T + mean + 10 * np.arange(3)
    return values


def accumulated(*chunks: Array) -> ChannelStatistics:
    accumulator = StatisticsAccumulator(chunks[0].shape[1])
    for chunk in chunks:
        accumulator.add(chunk)
    return accumulator.result()


def slow(values: Array) -> tuple[Array, Array, Array]:
    """Mean, covariance and count, pair by pair over the pixels that have both: the judge."""
    count = values.shape[1]
    covariance, together = np.full((count, count), np.nan), np.zeros((count, count), np.int64)
    for i in range(count):
        for j in range(count):
            a, b = values[np.isfinite(values[:, i]) & np.isfinite(values[:, j])][:, [i, j]].T
            together[i, j] = len(a)
            if len(a):
                covariance[i, j] = np.mean((a - a.mean()) * (b - b.mean()))
    return np.nanmean(values, 0), covariance, together


def test_by_hand() -> None:
    found = accumulated(np.array([[1, 10], [3, 10], [5, 40]], np.uint8))
    np.testing.assert_allclose(found.mean, [3, 20])
    np.testing.assert_allclose(found.covariance, np.array([[8 / 3, 20], [20, 200]]))
    np.testing.assert_array_equal(found.pixels, [[3, 3], [3, 3]])


@pytest.mark.parametrize("mean", [0.0, 1e6, -1e8])
def test_one_pass_with_a_large_mean(mean: float) -> None:
    values = pixels(5000, mean=mean)
    found = accumulated(*np.split(values, 10))
    np.testing.assert_allclose(found.mean, values.mean(0), rtol=1e-13)
    np.testing.assert_allclose(found.covariance, np.cov(values.T, bias=True), rtol=1e-6)


def test_first_chunk_may_be_unlike_the_rest() -> None:
    values = np.concatenate([pixels(100), pixels(100, mean=1e4, seed=1)])
    found = accumulated(values[:100], values[100:])
    np.testing.assert_allclose(found.covariance, np.cov(values.T, bias=True), rtol=1e-9)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(0, 100))
def test_chunks_make_no_difference(sizes: list[int], seed: int) -> None:
    values = pixels(sum(sizes), mean=500, seed=seed)
    whole, parts = accumulated(values), accumulated(*np.split(values, np.cumsum(sizes)[:-1]))
    np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(parts.covariance, whole.covariance, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(parts.pixels, whole.pixels)


@given(st.lists(st.integers(0, 2), max_size=4), st.integers(0, 100))
def test_sums_of_several_are_the_sums_of_all(absent: list[int], seed: int) -> None:
    """Also where one of them never saw a channel; each has constants of its own."""
    parts = [pixels(30, mean=500 * number, seed=seed + number) for number in range(4)]
    for part, channel in zip(parts, absent, strict=False):
        part[:, channel] = np.nan
    merged = StatisticsAccumulator(3)
    for part in parts:
        other = StatisticsAccumulator(3)
        other.add(part)
        merged.merge(other)
    found, whole = merged.result(), accumulated(*parts)
    np.testing.assert_array_equal(found.pixels, whole.pixels)
    np.testing.assert_allclose(found.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(found.covariance, whole.covariance, rtol=1e-8, atol=1e-6)


def test_absent_channels_count_pair_by_pair() -> None:
    values = pixels(3000, mean=1e6)
    values[:1500, 0] = np.nan
    values[1000:2000, 1] = np.nan
    found, (mean, covariance, together) = accumulated(*np.split(values, 5)), slow(values)
    np.testing.assert_array_equal(found.pixels, together)
    assert together[0, 1] == 1000
    np.testing.assert_allclose(found.mean, mean, rtol=1e-13)
    np.testing.assert_allclose(found.covariance, covariance, rtol=1e-6)


def test_channel_that_comes_late_keeps_its_precision() -> None:
    values = pixels(2000, mean=1e8)
    values[:1000, 2] = np.nan
    found = accumulated(values[:1000], values[1000:])
    np.testing.assert_allclose(found.covariance, slow(values)[1], rtol=1e-4)


def test_pair_never_seen_together() -> None:
    values = pixels(200)
    values[:100, 0] = np.nan
    values[100:, 2] = np.nan
    found = accumulated(values[:100], values[100:])
    assert np.isnan(found.covariance[0, 2])
    assert np.isnan(found.covariance[2, 0])
    assert np.isnan(found.covariance).sum() == 2
    assert found.pixels.tolist() == [[100, 100, 0], [100, 200, 100], [0, 100, 100]]


def test_variance_is_never_negative() -> None:
    for value in (0.1, 1e-3, 123.456, 3e7):
        image = np.full((2, 50, 40, 1), value, np.float32)
        assert image_statistics([(image, None)], 1).std.tolist() == [0.0]


@pytest.mark.parametrize("number", [0.1, 1e20, -3.4028235e38])
def test_no_data_that_float32_rounds_counts_nowhere(number: float) -> None:
    images: Array = np.random.default_rng(1).random((2, 4, 5, 2)).astype(np.float32)
    images[0, ..., 1] = number
    found = image_statistics([(images, None)], 2, [None, number])
    assert np.diag(found.pixels).tolist() == [40, 20]
    np.testing.assert_allclose(found.mean, [images[..., 0].mean(), images[1, ..., 1].mean()], rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("chunk_values", [1, 105, 240, 2**20])
def test_images_in_pieces(dtype: type, chunk_values: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of less than one image, one, two (with one left over) and all at once."""
    monkeypatch.setattr(statistics, "_CHUNK_VALUES", chunk_values)
    highest = 255 if dtype == np.uint8 else 65535
    images: Array = np.random.default_rng(1).integers(0, highest, (7, 5, 7, 3)).astype(dtype)
    images[..., 1] //= 2
    images[..., 2] = images[..., 0] // 4
    found = image_statistics([(images, None)], 3)
    flat = images.reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(found.mean, flat.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(flat.T, bias=True), rtol=1e-9, atol=1e-6)
    assert found.pixels[0, 2] == 7 * 5 * 7
