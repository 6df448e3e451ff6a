"""Which channels a training step sees: a subset a step, or several, from a generator of that step.

Report 1's drop is not here: it edits pixels (`train.channel_drop`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch

from anychan.channels import ChannelSet
from anychan.errors import ConfigError
from anychan.recipe import TrainConfig

__all__ = ["Sampler", "Subset", "make_sampler", "sandwich", "uniform_size_subset", "uniform_subset", "weighted_subset"]

Subset = tuple[int, ...]
Sampler = Callable[[torch.Generator], Subset]


def uniform_subset(generator: torch.Generator, *, num_channels: int) -> Subset:
    """One of the 2^C - 1 subsets, each as likely as the next (drawn bit by bit, the empty one drawn again).

    Independent drops with a small probability would starve the small subsets; this does not.
    """
    while True:
        bits = torch.randint(0, 2, (num_channels,), generator=generator).tolist()
        if any(bits):
            return tuple(position for position, bit in enumerate(bits) if bit)


def uniform_size_subset(generator: torch.Generator, *, num_channels: int) -> Subset:
    """A number of channels from 1 to C, each as likely as the next, then a subset of that size.

    Source: hierarchical channel sampling of Bao et al. 2024, Channel Vision Transformers (arXiv 2309.16108), §3.2.
    """
    size = int(torch.randint(1, num_channels + 1, (1,), generator=generator))
    return tuple(sorted(torch.randperm(num_channels, generator=generator)[:size].tolist()))


def weighted_subset(generator: torch.Generator, *, weights: Mapping[Subset, float]) -> Subset:
    """One of the subsets that have a weight, in proportion to it."""
    subsets = list(weights)
    chosen = torch.multinomial(torch.tensor([weights[subset] for subset in subsets]), 1, generator=generator)
    return subsets[int(chosen)]


def make_sampler(config: TrainConfig, channels: ChannelSet) -> Sampler | None:
    """The recipe's sampler for these channels; `None` where every step sees the same ones.

    Raises:
        ConfigError: for a sandwich whose sampler cannot leave a channel out.
        ChannelError: for `train.subset_weights` with channels that are not there.
    """
    if config.channel_sampling == "none":
        return None
    if config.channel_sampling == "weighted":
        weights = _weights(config, channels)
        if config.sandwich:
            weights = {subset: weight for subset, weight in weights.items() if len(subset) < len(channels)}
        proper = bool(weights)
        sampler: Sampler = partial(weighted_subset, weights=weights)
    else:
        proper = len(channels) > 1
        kind = uniform_subset if config.channel_sampling == "uniform" else uniform_size_subset
        sampler = partial(kind, num_channels=len(channels))
    if config.sandwich and not proper:
        raise ConfigError("train.sandwich needs subsets that lack a channel, but there is none to draw")
    most = 2 ** len(channels) - 2
    if config.sandwich > max(1, most):
        raise ConfigError(f"train.sandwich is {config.sandwich}, but only {most:,} subsets lack a channel")
    return sampler


def _weights(config: TrainConfig, channels: ChannelSet) -> dict[Subset, float]:
    weights: dict[Subset, float] = {}
    for names, weight in (config.subset_weights or {}).items():
        subset = tuple(sorted(channels.indices(names)))
        if subset in weights:
            raise ConfigError(f"train.subset_weights names the subset {names} twice, in another order")
        weights[subset] = weight
    return weights


def sandwich(sampler: Sampler, generator: torch.Generator, *, num_channels: int, count: int) -> list[Subset]:
    """The subsets of one sandwich step: all channels, then `count` that lack some, one of two a single channel.

    Source: Yu and Huang 2019, Universally Slimmable Networks (arXiv 1903.05134), §4.1; their widths are our channels.
    """
    subsets = [tuple(range(num_channels))]
    if count > 1:
        subsets.append((int(torch.randint(0, num_channels, (1,), generator=generator)),))
    while len(subsets) <= count:
        drawn = sampler(generator)
        if len(drawn) < num_channels:
            subsets.append(drawn)
    return subsets
