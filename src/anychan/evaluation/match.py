"""Data whose channels are not all the model's: what is known of each channel, and a model that takes what it can."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from anychan.channels import Channel, ChannelSet
from anychan.data.dataset import ImageData, normalization
from anychan.errors import ChannelError
from anychan.evaluation.text import names_text
from anychan.models.base import AnyChannelModel
from anychan.models.channel_status import channel_status
from anychan.models.extend import extend
from anychan.models.stem_choice import WAVELENGTH_STEM
from anychan.recipe import DataConfig

__all__ = ["ChannelMatch", "match_channels"]


@dataclass(frozen=True)
class ChannelMatch:
    """What a model and some data have in common.

    Args:
        channels: those of the data that the model can take, in the model's order.
        status: label of each of the data's channels → what `channel_status` says of it.
        absent: names of the model's trained channels that the data lacks.
    """

    channels: ChannelSet
    status: dict[str, str]
    absent: tuple[str, ...]

    def with_status(self, status: str) -> list[str]:
        """The data's channels of one status, in its order."""
        return [name for name, found in self.status.items() if found == status]

    @property
    def whole(self) -> bool:
        """Whether the data has the model's channels, all trained, and no others."""
        return not self.absent and set(self.status.values()) == {"trained"}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"channel_status": self.status, "absent_channels": list(self.absent)}


def match_channels(
    model: AnyChannelModel, data: ImageData, *, allow_unknown: bool = False, normalize: DataConfig | None = None
) -> tuple[AnyChannelModel, ChannelMatch]:
    """A model that takes every channel of the data that it can, and what is known of each.

    Channels that the model does not know are added by `extend` where its stem makes kernels from wavelengths; they are
    normalised by the data's training images.

    Args:
        model: a trained model, which stays as it is.
        data: with the splits that it came with.
        allow_unknown: leave channels out that were never trained and cannot be interpolated.
        normalize: the recipe's data section, whose rule new channels follow; default, and for ImageNet's constants:
            mean and standard deviation.

    Raises:
        ChannelError: for unknown channels without `allow_unknown`, naming them; or where no channel is left.
        DataError: for a new channel that is constant in the training images.
    """
    contract, labels = model.contract, data.channels.labels
    status = {label: channel_status(contract, c) for label, c in zip(labels, data.channels, strict=True)}
    unknown = [label for label, found in status.items() if found == "unknown"]
    if unknown and not allow_unknown:
        raise ChannelError(
            f"the model knows nothing of {names_text(unknown)}: never trained, and {_why_unknown(contract.stem)}; "
            "--allow-unknown-channels leaves such channels out"
        )
    usable = {c.identity: c for c, found in zip(data.channels, status.values(), strict=True) if found != "unknown"}
    if not usable:
        raise ChannelError(
            f"none of the data's channels {names_text(labels)} is known to the model; it was trained on "
            f"{names_text(contract.channels.labels)}"
        )
    known, here = set(contract.channels.identities), set(data.channels.identities)
    if new := [channel for identity, channel in usable.items() if identity not in known]:
        model = _extended(model, data, new, normalize)
    channels = ChannelSet((c for c in model.channels if c.identity in usable), source=data.channels.source)
    absent = [
        label
        for label, channel in zip(contract.channels.labels, contract.channels, strict=True)
        if channel.identity not in here and channel_status(contract, channel) == "trained"
    ]
    return model, ChannelMatch(channels, status, tuple(absent))


def _extended(
    model: AnyChannelModel, data: ImageData, new: list[Channel], normalize: DataConfig | None
) -> AnyChannelModel:
    kind = "dataset" if normalize is None or normalize.normalize == "imagenet" else normalize.normalize
    limits = data.percentiles(normalize.percentiles) if normalize is not None and kind == "percentile" else None
    index = data.channels.indices(new)
    offset, scale = normalization(kind, data.channels, data.statistics, np.dtype(data.dtype), limits=limits)
    return extend(
        model,
        new,
        offset=[offset[i] for i in index],
        scale=[scale[i] for i in index],
        encodings=[data.encodings[i] for i in index],
        verbose=False,
    )


def _why_unknown(stem: str) -> str:
    if stem == WAVELENGTH_STEM:
        return "without a wavelength to make a kernel from"
    return f"stem {stem!r} makes no kernels for new channels (stem {WAVELENGTH_STEM!r} does, from wavelengths)"
