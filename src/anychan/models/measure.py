"""Batch-norm statistics for every subset of a model's channels, measured after training and kept with the model."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle, islice

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
_SIZES = 16  # numbers of channels that are measured, at most
Cut = tuple[Tensor, tuple[int, ...]]  # images (N, S, H, W) and the positions of their channels among the model's


class _Fed(nn.Module):
    """The model, given images and the positions of their channels as one pair."""

    def __init__(self, model: AnyChannelModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, cut: Cut) -> Tensor:
        found: Tensor = self.model(cut[0], index=cut[1])
        return found


def measure_subsets(model: AnyChannelModel, images: Iterable[Tensor | Cut], *, seed: int = 0) -> None:
    """Measure batch-norm statistics for every subset of the channels, and keep them with the model.

    Up to 16 subsets each has a set of its own; above that, or where some images lack channels, each number of channels
    has one, measured over random subsets of that size. Of more than 16 channels, 16 numbers from 1 to all are measured,
    in steps of equal ratio, and the other numbers take what the nearest of these (by ratio) has: the time is linear in
    the channels. A number of channels that no image has takes the set of the largest one that was measured. The model's
    own become those of all channels. A network without batch norm is left as it is. Selections made before keep what
    they have. Whoever trains the model further measures again.

    Args:
        model: the model; `select`, masks in eval mode, `save` and `load` know the new statistics.
        images: batches of training images of one size, held in memory: tensors (N, C, H, W) with all channels, or
            pairs of a tensor (N, S, H, W) and the positions of its channels.
        seed: for the random subsets.

    Raises:
        ConfigError: for no images.
    """
    buffers = batch_norm_buffers(model)
    if not buffers:
        return
    everything = tuple(range(len(model.channels)))
    held = [(batch, everything) if isinstance(batch, Tensor) else batch for batch in images]
    if not held:
        raise ConfigError("there are no images to measure batch-norm statistics on; give batches of training images")
    saved, own = model.subset_statistics, {name: buffer.clone() for name, buffer in buffers.items()}
    model.subset_statistics = None  # what is measured is the model's own
    try:
        statistics = _measured(model, held, seed)
    except BaseException:  # the model is left as it was
        model.subset_statistics = saved
        for name, buffer in buffers.items():
            buffer.copy_(own[name])
        raise
    model.subset_statistics = statistics
    model.contract = dataclasses.replace(model.contract, batch_norm=statistics.rule)


def _measured(model: AnyChannelModel, held: Sequence[Cut], seed: int) -> SubsetStatistics:
    channels = len(model.channels)
    ragged = any(len(index) < channels for _, index in held)
    statistics = SubsetStatistics(model, num_channels=channels, rule="size" if ragged else rule_for(channels))
    cuts = _every_subset if statistics.rule == "subset" else _every_size
    largest = max(len(index) for _, index in held)
    device = next(model.parameters()).device
    console, module = Console(stderr=True), _Fed(model)
    rows = range(statistics.num_rows)  # all channels are the last
    same = _measured_sizes(channels, largest) if statistics.rule == "size" else {row: [row] for row in rows}
    for row in track(list(same), "measuring subsets", console=console, transient=True, disable=not console.is_terminal):
        measure_batch_norm(module, ((x.to(device), index) for x, index in cuts(row, held, seed)))
        for alike in same[row]:
            statistics.write(alike, model)
    return statistics


def _measured_sizes(channels: int, largest: int) -> dict[int, list[int]]:
    """Rows (a size less 1) to measure, up to that of the images, in order, each with all rows that take what it has."""
    ratios = [largest ** (step / (_SIZES - 1)) for step in range(_SIZES)]
    sizes = range(1, largest + 1) if largest <= _SIZES else sorted({round(ratio) for ratio in ratios})
    same: dict[int, list[int]] = {size - 1: [] for size in sizes}
    for row in range(channels):
        same[min(same, key=lambda other: abs(math.log((other + 1) / (row + 1))))].append(row)
    return same


def _cut(images: Tensor, columns: Sequence[int], index: tuple[int, ...]) -> Cut:
    if images.dtype == torch.uint16:
        images = images.float()  # PyTorch cannot index uint16 on a GPU
    return images[:, list(columns)], tuple(index[column] for column in columns)


def _every_subset(row: int, held: Sequence[Cut], seed: int) -> Iterator[Cut]:
    for images, index in held:
        yield _cut(images, [column for column in range(len(index)) if (row + 1) >> column & 1], index)


def _every_size(row: int, held: Sequence[Cut], seed: int) -> Iterator[Cut]:
    generator = torch.Generator().manual_seed(derive_seed(seed, "subsets to measure", row))
    enough = [(images, index) for images, index in held if len(index) > row]
    pieces = [
        (piece, index)
        for images, index in enough
        for piece in images.split(_PIECE)
        if len(piece) == min(_PIECE, len(images))
    ]
    for piece, index in islice(cycle(pieces), max(_PIECES, len(pieces))):
        yield _cut(piece, sorted(torch.randperm(len(index), generator=generator)[: row + 1].tolist()), index)
