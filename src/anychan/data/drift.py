"""Inputs that are not like the training images: another unit, an offset, another number type."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from anychan.channels import ChannelSet
from anychan.contract import ChannelStatistics, Contract
from anychan.encoding import no_data_row
from anychan.errors import InputShapeError

__all__ = ["input_warnings", "print_warnings"]

# The bounds below, on 200 EuroSAT tiles of ten classes: means of a random half lie 0.4 standard deviations from those
# of the other half at most (50 draws, 13 bands); means of one class 1.4, but lakes, which are warned of, 1.9. An offset
# of -1000 (Sentinel-2 since 2022) moves six bands by 1.6 to 4.3; values divided by 10,000, or by 257 to 8 bits, move
# all but one by 1.6 to 5.7.
_MEAN_STDS = 1.5
# Of no distribution do more than 1/k² of the values lie beyond k standard deviations (Chebyshev 1867), so that a larger
# share cannot come of the training images; on the random halves above it was half of this at most.
_RANGE_STDS = 4.0
_OUTSIDE = 1 / _RANGE_STDS**2
_CHUNK_VALUES = 2**22
_PRINTED = 8
FloatArray = npt.NDArray[np.float64]


def input_warnings(
    contract: Contract, inputs: npt.NDArray[Any] | ChannelStatistics, *, channels: ChannelSet | None = None
) -> list[str]:
    """One sentence for each channel whose inputs leave the contract's statistics.

    A channel is named when the mean of the inputs lies more than 1.5 of the training pixels' standard deviations from
    their mean, or more than 1/16 of the pixels beyond 4 of them. A set of one class only, or a scene of one kind of
    ground, may be named rightly: it is unlike the training images. What a warning does not tell is whether the model
    is wrong there. Pixels that are not finite, or hold no data, are left out. Time and memory are linear in the
    channels.

    Args:
        contract: of a trained model; without statistics (as after `extend`) there is nothing to compare with.
        inputs: images (N, H, W, C) in raw values; or their statistics, of which the means alone are compared.
        channels: those of the inputs, in their order; channels that the contract lacks are passed over. Default: the
            contract's.

    Raises:
        InputShapeError: when the inputs do not have as many channels.
    """
    channels = contract.channels if channels is None else channels
    count = len(inputs.mean) if isinstance(inputs, ChannelStatistics) else inputs.shape[-1]
    if count != len(channels):
        raise InputShapeError(f"the inputs have {count} channels, not the {len(channels)} of {channels.label}")
    if contract.statistics is None:
        return []
    place = {channel.identity: position for position, channel in enumerate(contract.channels)}
    known = [position for position, channel in enumerate(channels) if channel.identity in place]
    if not known:
        return []
    trained = [place[channels[position].identity] for position in known]
    mean, std = contract.statistics.mean[trained], contract.statistics.std[trained]
    if isinstance(inputs, ChannelStatistics):
        found, outside = inputs.mean[known], np.zeros(len(known))
    else:
        numbers = [contract.encodings[position].no_data for position in trained]
        found, outside = _mean_and_share(inputs, known, mean, std, numbers)
    labels = channels.labels
    rows = zip([labels[position] for position in known], found, mean, std, outside, strict=True)
    return [text for row in rows if (text := _sentence(*row))]


def print_warnings(found: Sequence[str]) -> None:
    """Print sentences of `input_warnings` on standard error: the first eight, and how many more there are."""
    for line in found[:_PRINTED]:
        print(f"warning: {line}", file=sys.stderr)
    if len(found) > _PRINTED:
        print(f"warning: the same of {len(found) - _PRINTED} more channels", file=sys.stderr)


def _mean_and_share(
    images: npt.NDArray[Any], columns: list[int], mean: FloatArray, std: FloatArray, no_data: list[float | None]
) -> tuple[FloatArray, FloatArray]:
    """The mean of the pixels with data, and their share beyond the range, of each column; NaN where there are none."""
    missing = no_data_row(no_data, images.dtype)
    sums, beyond, counts = np.zeros(len(columns)), np.zeros(len(columns)), np.zeros(len(columns))
    step = max(1, _CHUNK_VALUES // int(np.prod(images.shape[1:])))
    for start in range(0, len(images), step):
        pixels = images[start : start + step][..., columns].reshape(-1, len(columns)).astype(np.float64)
        seen, away = np.isfinite(pixels) & (pixels != missing), pixels - mean
        counts += seen.sum(0)
        sums += np.where(seen, away, 0).sum(0)
        beyond += (np.abs(np.where(seen, away, 0)) > _RANGE_STDS * std).sum(0)
    with np.errstate(invalid="ignore"):
        return mean + sums / counts, beyond / counts


def _sentence(label: str, found: float, mean: float, std: float, outside: float) -> str:
    """Empty where there is nothing to warn of."""
    shift = abs(found - mean)
    advice = "see that unit, offset and number type are those of the training"
    if shift > _MEAN_STDS * std:
        side = "above" if found > mean else "below"
        return (
            f"channel {label}: the inputs' mean, {found:.5g}, lies {shift / std:.1f} standard deviations {side} that "
            f"of the training images, {mean:.5g}; {advice}"
        )
    if outside > _OUTSIDE:
        low, high = mean - _RANGE_STDS * std, mean + _RANGE_STDS * std
        return f"channel {label}: {100 * outside:.0f} % of the pixels lie outside {low:.5g} to {high:.5g}; {advice}"
    return ""
