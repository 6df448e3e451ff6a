"""Batch-norm statistics for every subset of a model's channels, measured after training and kept with the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle, islice, repeat

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from anychan.errors import ConfigError
from anychan.models.base import AnyChannelModel
from anychan.nn.batch_norm import batch_norm_buffers, measure_batch_norm
from anychan.nn.subset_statistics import SubsetStatistics, rule_for
from anychan.randomness import derive_seed

__all__ = ["measure_subsets"]

_PIECE, _PIECES = 64, 32  # images a random subset, and random subsets a size


class _Fed(nn.Module):
    """The model, given another subset of the channels at each call."""

    def __init__(self, model: AnyChannelModel, subsets: Iterator[tuple[int, ...]]) -> None:
        super().__init__()
        self.model = model
        self.subsets = subsets

    def forward(self, x: Tensor) -> Tensor:
        index = next(self.subsets)
        x = x.to(self.model.normalize.offset.dtype)  # PyTorch cannot index uint16 on a GPU
        found: Tensor = self.model(x[:, list(index)], index=index)
        return found


def measure_subsets(model: AnyChannelModel, images: Iterable[Tensor], *, seed: int = 0) -> None:
    """Measure batch-norm statistics for every subset of the channels, and keep them with the model.

    Up to 16 subsets each has a set of its own; above that each number of channels has one, measured over random subsets
    of that size. The model's own become those of all channels. A network without batch norm is left as it is.
    Selections made before keep what they have. Whoever trains the model further measures again.

    Args:
        model: the model; `select`, masks in eval mode, `save` and `load` know the new statistics.
        images: batches of training images (N, C, H, W) with all channels, of one size; they are held in memory.
        seed: for the random subsets.

    Raises:
        ConfigError: for no images.
    """
    buffers, images = batch_norm_buffers(model), list(images)
    if not buffers:
        return
    if not images:
        raise ConfigError("there are no images to measure batch-norm statistics on; give batches of training images")
    saved, own = model.subset_statistics, {name: buffer.clone() for name, buffer in buffers.items()}
    model.subset_statistics = None  # what is measured is the model's own
    try:
        statistics = _measured(model, images, seed)
    except BaseException:  # the model is left as it was
        model.subset_statistics = saved
        for name, buffer in buffers.items():
            buffer.copy_(own[name])
        raise
    model.subset_statistics = statistics
    model.contract = dataclasses.replace(model.contract, batch_norm=statistics.rule)


def _measured(model: AnyChannelModel, images: Sequence[Tensor], seed: int) -> SubsetStatistics:
    channels = len(model.channels)
    statistics = SubsetStatistics(model, num_channels=channels, rule=rule_for(channels))
    device = next(model.parameters()).device
    feed = _every_subset if statistics.rule == "subset" else _every_size
    console = Console(stderr=True)
    rows: Sequence[int] = range(statistics.num_rows)  # all channels are the last
    for row in track(rows, "measuring subsets", console=console, transient=True, disable=not console.is_terminal):
        subsets, batches = feed(row, channels, images, seed)
        measure_batch_norm(_Fed(model, subsets), (batch.to(device) for batch in batches))
        statistics.write(row, model)
    return statistics


Feed = tuple[Iterator[tuple[int, ...]], Iterator[Tensor]]


def _every_subset(row: int, channels: int, images: Sequence[Tensor], seed: int) -> Feed:
    index = tuple(position for position in range(channels) if (row + 1) >> position & 1)
    return repeat(index), iter(images)


def _every_size(row: int, channels: int, images: Sequence[Tensor], seed: int) -> Feed:
    generator = torch.Generator().manual_seed(derive_seed(seed, "subsets to measure", row))
    drawn = iter(lambda: tuple(sorted(torch.randperm(channels, generator=generator)[: row + 1].tolist())), ())
    pieces = [piece for batch in images for piece in batch.split(_PIECE) if len(piece) == min(_PIECE, len(batch))]
    return drawn, islice(cycle(pieces), max(_PIECES, len(pieces)))
