"""Which channels a training step sees: a subset a step, from a generator of that step."""

from __future__ import annotations

from collections.abc import Callable

import torch

__all__ = ["SAMPLERS", "uniform_size_subset", "uniform_subset"]

Subset = tuple[int, ...]


def uniform_subset(num_channels: int, generator: torch.Generator) -> Subset:
    """One of the 2^C - 1 subsets, each as likely as the next (drawn bit by bit, the empty one drawn again).

    Independent drops with a small probability would starve the small subsets; this does not.
    """
    while True:
        bits = torch.randint(0, 2, (num_channels,), generator=generator).tolist()
        if any(bits):
            return tuple(position for position, bit in enumerate(bits) if bit)


def uniform_size_subset(num_channels: int, generator: torch.Generator) -> Subset:
    """A number of channels from 1 to C, each as likely as the next, then a subset of that size."""
    size = int(torch.randint(1, num_channels + 1, (1,), generator=generator))
    return tuple(sorted(torch.randperm(num_channels, generator=generator)[:size].tolist()))


SAMPLERS: dict[str, Callable[[int, torch.Generator], Subset]] = {
    "uniform": uniform_subset,
    "uniform_size": uniform_size_subset,
}
