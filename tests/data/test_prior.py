import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anychan.channels import Channel, ChannelSet
from anychan.contract import ChannelStatistics, FloatArray
from anychan.data.prior import with_wavelength_prior
from anychan.errors import ChannelError
from tests.runs import Array

BANDS = ChannelSet(Channel(f"b{nm}", "lab", wavelength_nm=nm) for nm in (450, 550, 650, 850, 1600))


def statistics(covariance: Array, unseen: list[tuple[int, int]]) -> ChannelStatistics:
    count = len(covariance)
    pixels = np.full((count, count), 50)
    values: FloatArray = covariance.astype(np.float64)
    for i, j in unseen:
        pixels[i, j] = pixels[j, i] = 0
        values[i, j] = values[j, i] = np.nan
    return ChannelStatistics(np.arange(count, dtype=np.float64) + 1, values, pixels)


def spectral(length: float, std: Array) -> Array:
    """Covariance of the prior's own form."""
    octaves = np.log2([channel.wavelength_nm or 0 for channel in BANDS])
    found: Array = np.exp(-np.abs(octaves[:, None] - octaves) / length) * np.outer(std, std)
    return found


def test_all_pairs_seen_is_left_alone() -> None:
    whole = statistics(spectral(1, np.ones(5)), [])
    assert with_wavelength_prior(whole, BANDS) is whole


def test_its_own_form_is_recovered() -> None:
    std = np.array([1.0, 2, 3, 4, 5])
    truth = spectral(2**0.5, std)  # a length on the grid
    found = with_wavelength_prior(statistics(truth, [(0, 3), (1, 4)]), BANDS)
    np.testing.assert_allclose(found.covariance, truth, rtol=1e-9)
    assert found.pixels[0, 3] == 0


@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.sampled_from([(i, j) for i in range(5) for j in range(i)]), min_size=1, unique=True),
)
def test_always_positive_definite_and_seen_pairs_stay_where_they_can(seed: int, unseen: list[tuple[int, int]]) -> None:
    factors = np.random.default_rng(seed).normal(size=(5, 8))
    given_ = statistics(factors @ factors.T, unseen)
    found = with_wavelength_prior(given_, BANDS)
    std = found.std
    np.testing.assert_allclose(std, given_.std)
    correlation = found.covariance / np.outer(std, std)
    np.testing.assert_allclose(correlation, correlation.T)
    least = np.linalg.eigvalsh(correlation)[0]
    assert least > 0
    if least > 1e-3:  # nothing had to be cut
        seen = given_.pixels > 0
        np.testing.assert_allclose(found.covariance[seen], given_.covariance[seen], rtol=1e-9)


def test_contradicting_guess_is_made_positive_definite() -> None:
    """Two channels that are each like the middle one cannot be as unlike each other as a short length says."""
    narrow = ChannelSet(
        [Channel("a", "lab", wavelength_nm=400), Channel("b", "lab"), Channel("c", "lab", wavelength_nm=6400)]
    )
    covariance = np.array([[1, 0.99, 0], [0.99, 1, 0.99], [0, 0.99, 1]])
    found = with_wavelength_prior(statistics(covariance, [(0, 2)]), narrow)
    assert np.linalg.eigvalsh(covariance)[0] < 0
    assert np.linalg.eigvalsh(found.covariance)[0] > 0
    np.testing.assert_allclose(np.diag(found.covariance), 1)


def test_channel_without_wavelength_is_named() -> None:
    channels = ChannelSet([*list(BANDS)[:4], Channel("radar", "lab")])
    message = "channels b550 and radar were never seen together, and lab:radar has no wavelength to guess from; give it"
    with pytest.raises(ChannelError, match=message):
        with_wavelength_prior(statistics(spectral(1, np.ones(5)), [(1, 4)]), channels)
    found = with_wavelength_prior(statistics(spectral(1, np.ones(5)), [(1, 3)]), channels)  # its pairs were all seen
    assert np.isfinite(found.covariance).all()
