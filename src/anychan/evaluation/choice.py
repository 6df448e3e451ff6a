"""Which subsets of a model's channels are evaluated."""

from __future__ import annotations

import torch

from anychan.channels import ChannelSet
from anychan.errors import ConfigError
from anychan.evaluation.text import count_text
from anychan.randomness import derive_seed
from anychan.training.sampling import uniform_subset

__all__ = ["all_subsets", "default_subsets", "nested_subsets", "random_orders", "sampled_subsets"]

_ALL_SUBSETS_UP_TO = 7  # channels: 127 subsets
_NO_MORE_THAN = 20  # channels: a million subsets
_SENSOR_RGB = ("red", "green", "blue")


def all_subsets(channels: ChannelSet) -> list[ChannelSet]:
    """All 2^C − 1, the largest first.

    Raises:
        ConfigError: for more than 20 channels.
    """
    if len(channels) > _NO_MORE_THAN:
        raise ConfigError(
            f"{len(channels)} channels have {count_text(2 ** len(channels) - 1)} subsets, which are too many to "
            "evaluate all; --sample draws some of them, --search greedy looks for good ones"
        )
    return sorted(channels.subsets(), key=len, reverse=True)


def default_subsets(channels: ChannelSet) -> list[ChannelSet]:
    """All subsets of up to 7 channels; of more, these: all, red + green + blue, all but one, one alone."""
    if len(channels) <= _ALL_SUBSETS_UP_TO:
        return all_subsets(channels)
    chosen = [channels]
    if all(name in channels for name in _SENSOR_RGB):
        chosen.append(channels.select(_SENSOR_RGB))
    chosen += [channels - ChannelSet([channel]) for channel in channels]
    return [*chosen, *(ChannelSet([channel]) for channel in channels)]


def sampled_subsets(channels: ChannelSet, count: int, *, seed: int) -> list[ChannelSet]:
    """Different subsets, each of all 2^C − 1 as likely as the next.

    Raises:
        ConfigError: for a count that is not between 1 and the number of subsets.
    """
    possible = 2 ** len(channels) - 1
    if not 1 <= count <= possible:
        raise ConfigError(
            f"a sample of {count:,} subsets was asked for, but there are 1 to {count_text(possible)} to draw"
        )
    generator = torch.Generator().manual_seed(derive_seed(seed, "subset sample"))
    found: dict[tuple[int, ...], None] = {}
    while len(found) < count:
        found[uniform_subset(generator, num_channels=len(channels))] = None
    return [ChannelSet((channels[i] for i in index), source=channels.source) for index in found]


def random_orders(num_channels: int, count: int, *, seed: int) -> list[tuple[int, ...]]:
    """Orders in which the channels come in, each of all C! as likely as the next; the first ones of a longer list.

    Raises:
        ConfigError: for fewer than 2, which have no spread to tell an error from.
    """
    if count < 2:
        raise ConfigError(f"{count} random orders were asked for, but Shapley values with an error need 2 or more")
    generator = torch.Generator().manual_seed(derive_seed(seed, "channel orders"))
    return [tuple(torch.randperm(num_channels, generator=generator).tolist()) for _ in range(count)]


def nested_subsets(order: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The first channel of an order, the first two, up to all; each with its positions sorted.

    Example:
        >>> nested_subsets((2, 0, 1))
        [(2,), (0, 2), (0, 1, 2)]
    """
    return [tuple(sorted(order[: size + 1])) for size in range(len(order))]
