"""Soft labels: what teachers say of exactly the images that each step sees, said once and kept for later runs.

Order, augmentation and mixing are functions of (seed, epoch, step), so two runs with the same data, seed and
augmentation see the same images in every step, whatever they train. What a teacher says of them lies in the user's
cache folder, a file an epoch, under a hash of the teacher, the images and all that is done to them: it is never stale,
only unused.

Source: "function matching" of Beyer et al. 2022, Knowledge distillation: a good teacher is patient and consistent
(arXiv 2106.05237), §3.1: student and teacher see the same crops and mixtures.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from anychan.data.batches import TrainBatches
from anychan.data.cache import cache_folder, check_space
from anychan.data.dataset import ImageData
from anychan.data.pieces import pieces
from anychan.errors import DataError, RunError
from anychan.files import replacing
from anychan.recipe import Recipe
from anychan.training.checkpoint_io import checksum
from anychan.training.precision import resolve_precision
from anychan.training.sampling import Subset
from anychan.training.teacher import Teacher

__all__ = ["SoftLabels", "make_soft_labels", "views_key"]

# Raise it when the same recipe comes to mean other images in a step
_VIEWS_VERSION = 1
_PIECE_VALUES = 2**22
_CHECKSUM = "crc32"
# What of `TrainConfig` changes no image of a step. All the rest is part of the key, so that an option which is
# forgotten here costs a computation and never gives wrong labels.
_NOT_IN_VIEWS = {
    *("epochs", "optimizer", "lr", "momentum", "weight_decay", "schedule", "warmup_epochs", "min_lr"),
    *("cooldown_epochs", "layer_lr_decay", "freeze"),
    *("label_smoothing", "class_weights", "teacher", "teacher_weight", "temperature", "distill", "never_hurt"),
    *("channel_sampling", "subset_weights", "sandwich", "channels", "monitor", "patience", "precision", "ema"),
    *("checkpoint_seconds", "deterministic"),
    "progressive_sizes",  # of the student; a teacher sees images of `data.size`
}


class SoftLabels:
    """The probabilities that teachers give the classes, for the images of each step.

    mean over teachers m of softmax(logits_m / T)

    Args:
        teachers: one or several.
        folder: where their words are kept; each teacher has a folder inside it.
        steps: batches an epoch.
        temperature: T, above 0.
    """

    def __init__(self, teachers: Sequence[Teacher], folder: Path, *, steps: int, temperature: float = 1.0) -> None:
        self.kept = [_Kept(teacher, folder / teacher.digest[:32], steps) for teacher in teachers]
        self._temperature = temperature

    def __call__(self, images: Tensor, held: Subset | None = None, *, epoch: int, step: int) -> Tensor:
        """Probabilities (N, K), from the cache, or by running the teachers now.

        Args:
            images: of this step, raw, augmented and mixed, (N, S, H, W).
            held: positions of their channels among the data's; `None` for all.
            epoch: 0 for the first.
            step: number of the batch.

        Raises:
            RunError: for a teacher that says NaN.
            DataError: when the cache cannot be written.
        """
        logs = [kept(images, held, epoch, step).float() for kept in self.kept]
        return torch.stack([(each / self._temperature).softmax(1) for each in logs]).mean(0)

    def prepare(self, *, epochs: int, images: int) -> list[str]:
        """Load the teachers that will have to run, see that there is space, and say what is there already.

        Args:
            epochs: of the run.
            images: training images an epoch.

        Returns:
            A line for each teacher.

        Raises:
            AnychanError: one of its kinds, for a teacher that cannot be loaded or take the images, or a full disk.
        """
        lines, needed = [], 0
        for kept in self.kept:
            found = sum(kept.path(epoch).exists() for epoch in range(epochs))
            needed += (epochs - found) * images * kept.teacher.num_classes * torch.half.itemsize
            lines.append(f"taught by {kept.teacher.name}, {kept.teacher.folder}: {found} of {epochs} epochs are cached")
            if found < epochs:
                kept.teacher.load()
                kept.make()
        if needed:
            check_space(cache_folder(), needed)
        return lines


class _Kept:
    """What one teacher says, a file an epoch, written when the epoch is complete.

    Logarithms of probabilities, whose largest are the most exact in float16 (0.05 % of each). A step that is computed
    gives the same rounded numbers as one that is read.
    """

    def __init__(self, teacher: Teacher, folder: Path, steps: int) -> None:
        self.teacher, self._folder, self._steps = teacher, folder, steps
        self._epoch = -1
        self._known: dict[int, Tensor] = {}

    def path(self, epoch: int) -> Path:
        """The file of an epoch."""
        return self._folder / f"{epoch}.safetensors"

    def make(self) -> None:
        """Make the folder."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritten(str(error.strerror)) from None

    def __call__(self, images: Tensor, held: Subset | None, epoch: int, step: int) -> Tensor:
        """(N, K) float16."""
        if epoch != self._epoch:
            self._epoch, self._known = epoch, self._read(epoch)
        if step not in self._known:
            # they stay on the device: to wait for them in each step would cost time
            self._known[step] = self.teacher(images, held).half()
            if len(self._known) == self._steps:
                self._write(epoch)
        return self._known[step].to(images.device)

    def _read(self, epoch: int) -> dict[int, Tensor]:
        """All steps of an epoch, or none when the file is absent or damaged."""
        try:
            with safe_open(self.path(epoch), framework="pt") as file:
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                whole = (file.metadata() or {}).get(_CHECKSUM) == checksum("", found)
        except FileNotFoundError:
            return {}
        except (OSError, SafetensorError):
            whole = False
        if not whole:
            print(f"warning: {self.path(epoch)}: soft labels are damaged, so they are made anew", file=sys.stderr)
            return {}
        return {int(name): value for name, value in found.items()}

    def _write(self, epoch: int) -> None:
        found = {str(step): value.cpu() for step, value in sorted(self._known.items())}
        if any(value.isnan().any() for value in found.values()):
            raise RunError(f"train.teacher {self.teacher.folder}: it says NaN of some images; take another teacher")
        self.make()
        path = self.path(epoch)
        try:
            with FileLock(self._folder / "lock"), replacing(path) as partial:
                save_file(found, partial, metadata={_CHECKSUM: checksum("", found)})
        except (OSError, SafetensorError) as error:
            raise self._unwritten(getattr(error, "strerror", None) or str(error)) from None

    def _unwritten(self, reason: str) -> DataError:
        return DataError(f"{self._folder}: soft labels cannot be written ({reason}); move the cache by ANYCHAN_CACHE")


def make_soft_labels(recipe: Recipe, data: ImageData, batches: TrainBatches) -> SoftLabels | None:
    """The soft labels that a recipe asks for; `None` where it has no teacher.

    Args:
        recipe: the run.
        data: its images.
        batches: of any of its epochs.

    Raises:
        ContractError: for a teacher that cannot be read, or whose raw values mean something else.
        ConfigError: for one with other classes than the data.
        ChannelError: for one that was not trained on a channel of the data.
    """
    train = recipe.train
    if train.teacher is None:
        return None
    folders = [train.teacher] if isinstance(train.teacher, str) else train.teacher
    teachers = [Teacher(folder, data) for folder in folders]
    folder = cache_folder() / "soft_labels" / views_key(recipe, data)
    return SoftLabels(teachers, folder, steps=len(batches), temperature=train.temperature)


def views_key(recipe: Recipe, data: ImageData) -> str:
    """A hash of all that decides the images of every step, and of the precision in which a teacher sees them.

    PyTorch's version is part of it, because another one may draw other random numbers from a seed.
    """
    train = {key: value for key, value in asdict(recipe.train).items() if key not in _NOT_IN_VIEWS}
    precision = resolve_precision(recipe.train.precision)
    facts = [_VIEWS_VERSION, torch.__version__, recipe.seed, train, precision, data.channels.identities]
    found = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for part in data.parts("train"):
        found.update(json.dumps([part.images.shape, str(part.images.dtype), part.index]).encode())
        for piece in pieces(part.images, _PIECE_VALUES):
            found.update(np.ascontiguousarray(piece).data)
    return found.hexdigest()[:32]
