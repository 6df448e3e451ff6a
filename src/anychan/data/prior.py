"""A stated guess of the covariance of channels that were never seen together, from their wavelengths."""

from __future__ import annotations

import dataclasses

import numpy as np

from anychan.channels import ChannelSet
from anychan.contract import ChannelStatistics, FloatArray
from anychan.errors import ChannelError

__all__ = ["with_wavelength_prior"]

_LEAST_EIGENVALUE = 1e-4  # of a correlation matrix; completion's ridge is far above


def with_wavelength_prior(statistics: ChannelStatistics, channels: ChannelSet) -> ChannelStatistics:
    """Statistics whose missing covariances are guessed: correlation falls with the distance in wavelength.

    ρ = exp(−|log₂(λ_i / λ_j)| / ℓ), with ℓ fitted by least squares on the pairs that were seen together. The guessed
    matrix need not be positive definite; the eigenvalues of its correlations are cut from below at 1e-4, and its
    diagonal is scaled back to 1, so pairs that were seen together change by as little as that takes (Higham 2002,
    Computing the nearest correlation matrix, whose one projection this is). `pixels` stays 0 for guessed pairs.

    Args:
        statistics: of C channels, NaN where a pair was never seen together.
        channels: the C channels.

    Raises:
        ChannelError: naming a pair of channels one of which has no wavelength.
    """
    unseen = np.argwhere(np.triu(statistics.pixels == 0))
    if not len(unseen):
        return statistics
    for i, j in unseen.tolist():
        for channel in (channels[i], channels[j]):
            if channel.wavelength_nm is None:
                raise ChannelError(
                    f"channels {channels.labels[i]} and {channels.labels[j]} were never seen together, and "
                    f"{channel.identity} has no wavelength to guess from; give it one in channels.yaml"
                )
    std = statistics.std
    seen = statistics.pixels > 0
    with np.errstate(invalid="ignore"):
        known = statistics.covariance / np.outer(std, std)
    octaves = np.log2([channel.wavelength_nm or np.nan for channel in channels])
    distance = np.abs(octaves[:, None] - octaves[None, :])
    guess = np.exp(-distance / _length(known[seen], distance[seen]))
    correlation = np.where(seen, known, guess)
    values, vectors = np.linalg.eigh(correlation)
    if values[0] < _LEAST_EIGENVALUE:
        correlation = (vectors * np.maximum(values, _LEAST_EIGENVALUE)) @ vectors.T
        scale = np.sqrt(np.diag(correlation))
        correlation /= np.outer(scale, scale)
    return dataclasses.replace(statistics, covariance=correlation * np.outer(std, std))


def _length(correlation: FloatArray, distance: FloatArray) -> float:
    """ℓ in octaves, the best of a grid from 1/16 to 16, by squared errors of pairs with wavelengths; 1 without any."""
    pairs = np.isfinite(distance) & (distance > 0)
    if not pairs.any():
        return 1.0
    grid = 2.0 ** np.linspace(-4, 4, 65)
    errors = [np.square(np.exp(-distance[pairs] / length) - correlation[pairs]).sum() for length in grid]
    return float(grid[int(np.argmin(errors))])
