import numpy as np
import pytest

from anychan.data import percentiles
from anychan.data.percentiles import ValueCounts, image_percentiles
from tests.runs import Array

WANTED = (0.0, 0.1, 2, 50, 99.9, 100)


def images(dtype: str) -> Array:
    """(9, 5, 7, 3): each channel of another range, floats also below 0."""
    normal = np.random.default_rng(0).normal(size=(9, 5, 7, 3)) * [1, 20, 400] + [0, 100, -30]
    return normal.astype(dtype) if dtype == "float32" else np.abs(normal).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_percentiles_are_those_of_numpy(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = images(dtype)
    expected = np.percentile(data.reshape(-1, 3), WANTED, axis=0, method="inverted_cdf")
    np.testing.assert_array_equal(image_percentiles([(data, None)], 3, WANTED), expected)
    monkeypatch.setattr(percentiles, "_CHUNK_VALUES", 200)  # two images at a time
    np.testing.assert_array_equal(image_percentiles([(data, None)], 3, WANTED), expected)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_sources_with_other_channels(dtype: str) -> None:
    data = images(dtype)
    parts = [(data, (0, 3, 1)), (data[:2], (2, 3, 0))]
    first, last = data.reshape(-1, 3), data[:2].reshape(-1, 3)
    pooled = [
        np.concatenate([first[:, 0], last[:, 2]]),
        first[:, 2],
        last[:, 0],
        np.concatenate([first[:, 1], last[:, 1]]),
    ]
    expected = np.stack([np.percentile(values, (5, 95), method="inverted_cdf") for values in pooled], 1)
    np.testing.assert_array_equal(image_percentiles(parts, 4, (5, 95)), expected)


def test_pixels_without_data_count_nowhere() -> None:
    data = images("float32")
    data[:, :2, :, 0] = -9999
    data[:, :3, :, 1] = np.nan
    rows = data.reshape(-1, 3)
    expected = [
        np.percentile(values, 1, method="inverted_cdf")
        for values in (rows[rows[:, 0] != -9999, 0], rows[np.isfinite(rows[:, 1]), 1], rows[:, 2])
    ]
    found = image_percentiles([(data, None)], 3, (1,), [-9999.0, np.nan, None])
    np.testing.assert_array_equal(found[0], expected)


def test_one_pass_over_floats_is_within_a_hundredth() -> None:
    rows = images("float32").reshape(-1, 3)
    counts = ValueCounts(3, rows.dtype)
    for channel in range(3):
        counts.add(rows[:, channel], channel)
    expected = np.percentile(rows, (1, 60, 99), axis=0, method="inverted_cdf")
    np.testing.assert_allclose(counts.percentiles((1, 60, 99)), expected, rtol=0.01)
    assert counts.pixels.tolist() == [315, 315, 315]


def test_a_channel_without_pixels_has_none() -> None:
    counts = ValueCounts(2, np.dtype(np.uint16))
    counts.add(np.array([7, 9, 9], np.uint16), 1)
    np.testing.assert_array_equal(counts.percentiles((50,)), [[np.nan, 9]])
    assert counts.seen(1).tolist() == [7, 9]
