"""Batches of one epoch, their order and augmentation functions of (seed, epoch, step)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from anychan.data.augment import drop_channels, random_crop_flip
from anychan.data.dataset import Split
from anychan.randomness import derive_seed

__all__ = ["Augment", "Batch", "EvalBatches", "TrainBatches", "calibration_images"]


class Batch(NamedTuple):
    """Raw images (N, C, H, W), stored channels last, and labels (N,)."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Augment:
    """What happens to training images.

    Args:
        crop_padding: see `random_crop_flip`.
        flip: see `random_crop_flip`.
        channel_drop: see `drop_channels`.
    """

    crop_padding: int = 0
    flip: bool = False
    channel_drop: float = 0.0

    def __call__(self, images: Tensor, seed: int) -> Tensor:
        """Augment images (N, H, W, C)."""
        generator = torch.Generator().manual_seed(seed)
        if self.crop_padding or self.flip:
            images = random_crop_flip(images, padding=self.crop_padding, flip=self.flip, generator=generator)
        if self.channel_drop:
            images = drop_channels(images, probability=self.channel_drop, generator=generator)
        return images


class TrainBatches:
    """One epoch's batches, each image once.

    The last batch may be smaller, but a last single image joins the batch before: batch norm cannot take one image
    where the maps are one pixel.

    Args:
        split: the training images.
        batch_size: images a batch.
        augment: what happens to them.
        seed: the run's.
        epoch: 0 for the first.
    """

    def __init__(self, split: Split, *, batch_size: int, augment: Augment, seed: int, epoch: int) -> None:
        self.split, self.batch_size, self.augment = split, batch_size, augment
        self.seed, self.epoch = seed, epoch

    def __len__(self) -> int:
        whole, rest = divmod(len(self.split), self.batch_size)
        return max(1, whole + (rest > (1 if self.batch_size > 1 else 0)))

    def __iter__(self) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "order", self.epoch))
        order = torch.randperm(len(self.split), generator=generator)
        for step in range(len(self)):
            last = step == len(self) - 1
            rows = order[step * self.batch_size : None if last else (step + 1) * self.batch_size]
            images = self.augment(self.split.tensor[rows], derive_seed(self.seed, "augment", self.epoch, step))
            yield Batch(images.permute(0, 3, 1, 2), self.split.labels[rows])


class EvalBatches:
    """A split's batches in order, without augmentation but for report 1's channel drop where it is asked for.

    Args:
        split: the images.
        batch_size: images a batch.
        channel_drop: probability that one random channel of an image is set to raw zero; from the seed alone, so that
            every model meets the same drops.
        seed: for the drops.
    """

    def __init__(self, split: Split, *, batch_size: int = 256, channel_drop: float = 0.0, seed: int = 0) -> None:
        self.split, self.batch_size, self.seed = split, batch_size, seed
        self.augment = Augment(channel_drop=channel_drop)

    def __len__(self) -> int:
        return -(-len(self.split) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for step, start in enumerate(range(0, len(self.split), self.batch_size)):
            rows = slice(start, start + self.batch_size)
            images = self.augment(self.split.tensor[rows], derive_seed(self.seed, "evaluation drop", step))
            yield Batch(images.permute(0, 3, 1, 2), self.split.labels[rows])


def calibration_images(
    split: Split, *, augment: Augment | None = None, seed: int, images: int = 2048, batch_size: int = 256
) -> list[Tensor]:
    """Random training images to measure batch-norm statistics on: batches (N, C, H, W).

    Args:
        split: the training images.
        augment: as in training. The weights are fitted to the statistics of what training showed them: after padded
            crops, statistics of whole images cost some points of accuracy (measured by `benchmarks/channels.py`).
        seed: chooses the images.
        images: how many, at most.
        batch_size: images a batch.
    """
    chosen = Augment() if augment is None else augment
    batches = TrainBatches(split, batch_size=min(batch_size, len(split)), augment=chosen, seed=seed, epoch=0)
    whole = max(1, min(images, len(split)) // batches.batch_size)  # a smaller last batch would count too much
    return [batch.images for batch in islice(batches, whole)]
