"""From which channels of a trained first layer each new channel takes its kernel: by identity, else by wavelength."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from anychan.channels import Channel, ChannelSet
from anychan.errors import ChannelError, ConfigError

__all__ = ["NEW_CHANNELS", "MappedChannel", "map_channels", "mapped_kernel", "mapping_table"]

NEW_CHANNELS = ("error", "nearest", "zero", "random")


@dataclass(frozen=True)
class MappedChannel:
    """Where one channel's kernel comes from.

    Args:
        channel: identity of the new channel.
        sources: identity and weight of each source channel; none for `"zero"` and `"random"`.
        how: `"identity"`, `"common name"`, `"wavelength"`, `"nearest"`, `"zero"` or `"random"`.
    """

    channel: str
    sources: tuple[tuple[str, float], ...]
    how: str


def map_channels(
    channels: ChannelSet, sources: ChannelSet, *, new_channels: str = "error"
) -> tuple[MappedChannel, ...]:
    """Find each channel's sources.

    In this order: the source of the same identity; the one of the same common name (so red is R); the two neighbours by
    wavelength, interpolated linearly, for a channel between the sources' shortest and longest; else `new_channels`.

    Args:
        channels: the new channels.
        sources: the trained layer's channels.
        new_channels: for channels with none of these: `"error"`, `"nearest"` by wavelength, `"zero"`, or `"random"`.

    Raises:
        ConfigError: for another `new_channels`.
        ChannelError: for channels without a source where that is an error, or without a wavelength where the nearest is
            asked for; or two channels of one identity that differ.
    """
    if new_channels not in NEW_CHANNELS:
        raise ConfigError(f"new_channels is {new_channels!r}, but it must be one of {', '.join(NEW_CHANNELS)}")
    channels | sources  # one identity, two wavelengths: an error
    found = [_by_identity(channel, sources) or _by_wavelength(channel, sources) for channel in channels]
    missing = [channel for channel, mapped in zip(channels, found, strict=True) if mapped is None]
    if missing and new_channels == "error":
        names = ", ".join(ChannelSet(missing).labels)
        raise ChannelError(
            f"no weights for {names}: they are none of {', '.join(sources.labels)} and not between two of them by "
            "wavelength; choose new_channels: 'nearest' (by wavelength), 'zero', or 'random' (drawn anew)"
        )
    rest = [_otherwise(channel, sources, new_channels) for channel in missing]
    return tuple(mapped or rest.pop(0) for mapped in found)


def _by_identity(channel: Channel, sources: ChannelSet) -> MappedChannel | None:
    for source in sources:
        if source.identity == channel.identity:
            return MappedChannel(channel.identity, ((source.identity, 1.0),), "identity")
    alike = [source for source in sources if channel.common_name and source.common_name == channel.common_name]
    if len(alike) != 1:
        return None
    return MappedChannel(channel.identity, ((alike[0].identity, 1.0),), "common name")


def _by_wavelength(channel: Channel, sources: ChannelSet) -> MappedChannel | None:
    if channel.wavelength_nm is None:
        return None
    known = sorted((source.wavelength_nm, source.identity) for source in sources if source.wavelength_nm is not None)
    for (low, below), (high, above) in pairwise(known):
        if low <= channel.wavelength_nm <= high:
            share = (channel.wavelength_nm - low) / (high - low) if high > low else 0.0
            parts = tuple((name, weight) for name, weight in ((below, 1 - share), (above, share)) if weight)
            return MappedChannel(channel.identity, parts, "wavelength")
    return None


def _otherwise(channel: Channel, sources: ChannelSet, how: str) -> MappedChannel:
    if how != "nearest":
        return MappedChannel(channel.identity, (), how)
    known = [(source.wavelength_nm, source.identity) for source in sources if source.wavelength_nm is not None]
    if channel.wavelength_nm is None or not known:
        lacks = channel.identity if known else f"any of {', '.join(sources.labels)}"
        raise ChannelError(f"no wavelength is known of {lacks}; choose new_channels: 'zero' or 'random'")
    asked = channel.wavelength_nm
    return MappedChannel(channel.identity, ((min(known, key=lambda pair: abs(pair[0] - asked))[1], 1.0),), "nearest")


def mapped_kernel(
    mapping: Sequence[MappedChannel], sources: Sequence[str], kernel: Tensor, fresh: Tensor, *, axis: int = 1
) -> Tensor:
    """The kernel over the new channels, or anything else that has numbers for each channel.

    Args:
        mapping: from `map_channels`, for C channels.
        sources: identities of the S source channels, in the kernel's order.
        kernel: (O, S, k, k), the trained one.
        fresh: (O, C, k, k), drawn anew, from which `"random"` channels take theirs.
        axis: that of the channels.

    Returns:
        (O, C, k, k); a channel with one source has its very numbers.
    """
    where = {identity: position for position, identity in enumerate(sources)}
    slices = []
    for number, row in enumerate(mapping):
        if row.how == "random":
            slices.append(fresh.select(axis, number))
            continue
        taken = [(kernel.select(axis, where[name]), weight) for name, weight in row.sources]
        parts = [part if weight == 1 else weight * part for part, weight in taken]
        slices.append(sum(parts[1:], parts[0]) if parts else torch.zeros_like(fresh.select(axis, 0)))
    return torch.stack(slices, axis)


def mapping_table(mapping: tuple[MappedChannel, ...]) -> str:
    """A line a channel: channel ← sources with weights, and why."""
    texts = []
    for row in mapping:
        parts = [name if weight == 1 else f"{weight:.2f} {name}" for name, weight in row.sources]
        texts.append((row.channel, " + ".join(parts) or "nothing", row.how))
    widths = [max(len(text[column]) for text in texts) for column in (0, 1)]
    return "\n".join(f"  {name:<{widths[0]}} ← {source:<{widths[1]}}  ({how})" for name, source, how in texts)
