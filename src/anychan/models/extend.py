"""A model that also takes channels it was never trained on, and says so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch

from anychan.channels import Channel, ChannelSet
from anychan.encoding import Encoding
from anychan.errors import ChannelError, ConfigError
from anychan.models.base import AnyChannelModel, weights_without_subsets
from anychan.models.catalog import model_from_contract
from anychan.models.stem_choice import WAVELENGTH_STEM

__all__ = ["extend"]

_SETS_UP_TO = 8  # channels: 255 sets


def extend(
    model: AnyChannelModel,
    channels: Iterable[Channel],
    *,
    offset: Sequence[float],
    scale: Sequence[float],
    encodings: Sequence[Encoding] = (),
    verbose: bool = True,
) -> AnyChannelModel:
    """A copy of a model that also knows new channels, whose kernels come from their wavelengths alone; in eval mode.

    For the channels that the model knew, the copy gives the answers that the model gives; beyond 8 channels in all, a
    model with batch-norm statistics for each subset keeps only those of all its channels. How good the copy is on the
    new channels only a measurement can tell. Its `contract.interpolated` holds the identities of all channels never
    trained; its contract has no statistics of pixels, as none were measured for the new channels.

    Args:
        model: a model with stem `"wavelength"`, which stays as it is.
        channels: the new channels, which come after the model's own in the copy.
        offset: raw values that normalisation takes off, one for each new channel, such as its mean.
        scale: raw values that make one unit, one for each new channel, such as its standard deviation.
        encodings: what the new channels' raw values mean; default: nothing is said of them.
        verbose: print which channels were never trained.

    Raises:
        ConfigError: for a model with another stem, or a number of offsets or scales that is not that of the channels.
        ChannelError: for a channel without a wavelength, one that the model knows already, or one of the same identity
            at another wavelength.

    Example:
        >>> from anychan.models.catalog import create_model
        >>> model = create_model("resnet8", num_classes=10, stem="wavelength")
        >>> wider = extend(model, [Channel("nir", "drone", wavelength_nm=840)], offset=[0], scale=[255])
        drone:nir was never trained: its kernel comes from 840 nm alone
        >>> wider.contract.interpolated
        ('drone:nir',)
        >>> wider.select(["nir", "R"])(torch.zeros(1, 2, 32, 32)).shape
        torch.Size([1, 10])
    """
    before, new = model.contract, ChannelSet(channels)
    joined = before.channels | new
    _check(model, new, offset, scale)
    contract = replace(
        before,
        channels=joined,
        offset=(*before.offset, *map(float, offset)),
        scale=(*before.scale, *map(float, scale)),
        statistics=None,
        interpolated=before.interpolated + new.identities,
        encodings=before.encodings + (tuple(encodings) or (Encoding(),) * len(new)),
        # one set a subset would be too many for many channels
        batch_norm="shared" if before.batch_norm == "subset" and len(joined) > _SETS_UP_TO else before.batch_norm,
    )
    parameter = next(model.parameters())
    copy = model_from_contract(contract).to(parameter.device, parameter.dtype)  # first, or float64 is rounded
    copy.load_state_dict({**copy.state_dict(), **weights_without_subsets(model)})
    if copy.subset_statistics is not None and model.subset_statistics is not None:
        copy.subset_statistics.take_from(model.subset_statistics)
    if verbose:
        for channel in new:
            print(f"{channel.identity} was never trained: its kernel comes from {channel.wavelength_nm:g} nm alone")
    return copy.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload, no-any-return]


def _check(model: AnyChannelModel, new: ChannelSet, offset: Sequence[float], scale: Sequence[float]) -> None:
    before = model.contract
    if before.stem != WAVELENGTH_STEM:
        raise ConfigError(
            f"{model.name} with stem {before.stem!r} cannot make kernels for new channels; train it with stem "
            f"{WAVELENGTH_STEM!r}"
        )
    for channel in new:
        if channel.identity in before.channels.identities:
            raise ChannelError(f"channel {channel.identity!r} is one of the model's own; give new channels only")
        if channel.wavelength_nm is None:
            raise ChannelError(
                f"channel {channel.identity!r} has no wavelength to make its kernel from; train the model with it"
            )
    if not len(offset) == len(scale) == len(new):
        raise ConfigError(
            f"extend() needs one offset and one scale for each of {len(new)} new channels, not {len(offset)} and "
            f"{len(scale)}"
        )
