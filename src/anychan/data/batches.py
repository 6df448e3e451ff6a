"""Batches of one epoch, their order and augmentation functions of (seed, epoch, step)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from anychan.data.augment import drop_channels, random_crop_flip, random_resized_crop
from anychan.data.dataset import Split
from anychan.data.decoding import in_order
from anychan.randomness import derive_seed

__all__ = ["Augment", "Batch", "EvalBatches", "TrainBatches", "calibration_batches", "calibration_images"]


class Batch(NamedTuple):
    """Raw images (N, C, H, W), stored channels last, labels (N,), and which of the data's channels the images hold.

    `held` are their positions; `None` where they are all.
    """

    images: Tensor
    labels: Tensor
    held: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Augment:
    """What happens to training images.

    Args:
        crop_padding: see `random_crop_flip`.
        flip: see `random_crop_flip`.
        channel_drop: see `drop_channels`.
        crop_scale: see `random_resized_crop`; 1 for none.
    """

    crop_padding: int = 0
    flip: bool = False
    channel_drop: float = 0.0
    crop_scale: float = 1.0

    def __call__(self, images: Tensor, seed: int) -> Tensor:
        """Augment images (N, H, W, C)."""
        generator = torch.Generator().manual_seed(seed)
        if self.crop_padding or self.flip:
            images = random_crop_flip(images, padding=self.crop_padding, flip=self.flip, generator=generator)
        if self.crop_scale < 1:
            images = random_resized_crop(images, scale=self.crop_scale, generator=generator)
        if self.channel_drop:
            images = drop_channels(images, probability=self.channel_drop, generator=generator)
        return images


class TrainBatches:
    """One epoch's batches, each image once; those of several sources, each of one source, in a random order.

    A source's last batch may be smaller, but a last single image joins the batch before: batch norm cannot take one
    image where the maps are one pixel. Those that are left of an epoch can be gone on with: see `state_dict`.

    Args:
        split: the training images, or those of each source.
        batch_size: images a batch.
        augment: what happens to them.
        seed: the run's.
        epoch: 0 for the first.
        ahead: make each batch in a thread while the one before is used. On a CPU it would only take cores from the
            network.
        device: where images are augmented, and are then; what is drawn is the same on any.
    """

    def __init__(
        self,
        split: Split | Sequence[Split],
        *,
        batch_size: int,
        augment: Augment,
        seed: int,
        epoch: int,
        ahead: bool = False,
        device: str = "cpu",
    ) -> None:
        self.parts = (split,) if isinstance(split, Split) else tuple(part for part in split if len(part))
        self.batch_size, self.augment = batch_size, augment
        self.seed, self.epoch, self.ahead, self.device = seed, epoch, ahead, device
        self._first = self._given = 0

    def state_dict(self) -> dict[str, int]:
        """How many batches of the epoch were given so far."""
        return {"epoch": self.epoch, "given": self._given}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Begin after the batches that were given, if it is the same epoch; another one begins with its first."""
        self._first = state_dict["given"] if state_dict["epoch"] == self.epoch else 0

    def _steps(self, part: Split) -> int:
        whole, rest = divmod(len(part), self.batch_size)
        return max(1, whole + (rest > (1 if self.batch_size > 1 else 0)))

    def __len__(self) -> int:
        return sum(map(self._steps, self.parts))

    def _plan(self) -> list[tuple[Split, Tensor]]:
        """Each batch's source and rows, in order."""
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "order", self.epoch))
        plan = []
        for part in self.parts:
            order, steps = torch.randperm(len(part), generator=generator), self._steps(part)
            for step in range(steps):
                end = None if step == steps - 1 else (step + 1) * self.batch_size
                plan.append((part, order[step * self.batch_size : end]))
        if len(self.parts) == 1:
            return plan
        return [plan[place] for place in torch.randperm(len(plan), generator=generator).tolist()]

    def sizes(self) -> list[int]:
        """Images of each batch, in order."""
        return [len(rows) for _, rows in self._plan()]

    def names(self, step: int) -> list[str]:
        """The images of a batch."""
        part, rows = self._plan()[step]
        return [part.names[row] for row in rows.tolist()]

    def __iter__(self) -> Iterator[Batch]:
        plan, first = self._plan(), self._first
        self._given = first

        def batch(place: int) -> Batch:
            step = first + place
            part, rows = plan[step]
            images = part.take(rows)
            if self.device != "cpu":
                images = images.pin_memory()  # so that the copy waits for nothing
            images = images.to(self.device, non_blocking=True)
            images = self.augment(images, derive_seed(self.seed, "augment", self.epoch, step))
            return Batch(images.permute(0, 3, 1, 2), part.labels[rows], part.index)

        left = len(plan) - first
        batches = in_order(batch, left, threads=1) if self.ahead else map(batch, range(left))
        for self._given, given in enumerate(batches, first + 1):
            yield given


class EvalBatches:
    """A split's batches in order, without augmentation but for report 1's channel drop where it is asked for.

    Args:
        split: the images, or those of each source.
        batch_size: images a batch.
        channel_drop: probability that one random channel of an image is set to raw zero; from the seed alone, so that
            every model meets the same drops.
        seed: for the drops.
    """

    def __init__(
        self, split: Split | Sequence[Split], *, batch_size: int = 256, channel_drop: float = 0.0, seed: int = 0
    ) -> None:
        self.parts = (split,) if isinstance(split, Split) else tuple(split)
        self.batch_size, self.seed = batch_size, seed
        self.augment = Augment(channel_drop=channel_drop)

    def __len__(self) -> int:
        return sum(-(-len(part) // self.batch_size) for part in self.parts)

    def __iter__(self) -> Iterator[Batch]:
        plan = ((part, start) for part in self.parts for start in range(0, len(part), self.batch_size))
        for step, (part, start) in enumerate(plan):
            rows = slice(start, start + self.batch_size)
            images = self.augment(part.take(rows), derive_seed(self.seed, "evaluation drop", step))
            yield Batch(images.permute(0, 3, 1, 2), part.labels[rows], part.index)


def calibration_batches(
    split: Split | Sequence[Split],
    *,
    augment: Augment | None = None,
    seed: int,
    images: int = 2048,
    batch_size: int = 256,
) -> list[Batch]:
    """Random training images to measure batch-norm statistics on.

    Args:
        split: the training images, or those of each source, of which each gives its share.
        augment: as in training. The weights are fitted to the statistics of what training showed them: after padded
            crops, statistics of whole images cost some points of accuracy (measured by `benchmarks/channels.py`).
        seed: chooses the images.
        images: how many, at most.
        batch_size: images a batch.
    """
    chosen = Augment() if augment is None else augment
    parts = [split] if isinstance(split, Split) else [part for part in split if len(part)]
    total = sum(map(len, parts))
    found: list[Batch] = []
    for part in parts:
        batches = TrainBatches(part, batch_size=min(batch_size, len(part)), augment=chosen, seed=seed, epoch=0)
        share = min(images * len(part) // total, len(part))
        whole = max(1, share // batches.batch_size)  # a smaller last batch would count too much
        found += islice(batches, whole)
    return found


def calibration_images(
    split: Split, *, augment: Augment | None = None, seed: int, images: int = 2048, batch_size: int = 256
) -> list[Tensor]:
    """As `calibration_batches` of one source: batches (N, C, H, W)."""
    batches = calibration_batches(split, augment=augment, seed=seed, images=images, batch_size=batch_size)
    return [batch.images for batch in batches]
