"""What a loop around training steps costs: ours, and a plain `DataLoader`, beside bare steps on one resident batch.

Epochs and as many bare steps (forward, backward, optimizer; same model, precision and optimizer) take turns in one
process. An epoch's time holds everything but validation and checkpoints: sampling, gather from the warm cache,
augmentation, metrics, logging. A share is bare time over loop time.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from hardware import device, synchronize
from PIL import Image
from pytorch_lightning.callbacks import Callback
from results_file import ResultFile
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from anychan.data.dataset import ImageData, Split, load_data
from anychan.models.base import AnyChannelModel
from anychan.recipe import DataConfig, ModelConfig, Recipe, TrainConfig
from anychan.training.callbacks import EpochLog
from anychan.training.fit import build_model, build_trainer, quiet_lightning
from anychan.training.precision import resolve_precision
from anychan.training.run_folder import RunFolder
from anychan.training.task import ClassificationTask, make_optimizer

__all__ = ["LOOPS", "Loop", "measure"]

CROP, WORKERS = 4, 2


@dataclass(frozen=True)
class Loop:
    """One network's training.

    Args:
        model: its name.
        size: of the images.
        batch_size: images a step.
        steps: of an epoch.
        pairs: epochs that are timed; the one before them is warm-up.
    """

    model: str
    size: int
    batch_size: int
    steps: int
    pairs: int = 7


LOOPS = {
    "cpu": (
        Loop("resnet34", 64, 128, 20, pairs=5),
        Loop("wide_cnn4", 64, 128, 20, pairs=5),
        Loop("baseline_cnn", 32, 128, 170),
        Loop("baseline_cnn", 32, 10, 400, pairs=5),
    ),
    "gpu": (
        Loop("resnet34", 64, 128, 170),
        Loop("wide_cnn4", 64, 128, 170),
        Loop("baseline_cnn", 32, 128, 170),
        Loop("baseline_cnn", 32, 10, 2000),
    ),
}


class _BareSteps:
    """Steps without any loop around them.

    Args:
        model: a network of its own.
        recipe: for its optimizer and precision.
    """

    def __init__(self, model: AnyChannelModel, recipe: Recipe) -> None:
        self._model = model.to(device(), memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self._optimizer = make_optimizer(model, recipe.train)
        self._bf16 = resolve_precision(recipe.train.precision) == "bf16"
        self._loss = nn.CrossEntropyLoss()

    def step(self, images: Tensor, labels: Tensor) -> None:
        """One step on raw images (N, C, H, W)."""
        with torch.autocast(device(), torch.bfloat16, enabled=self._bf16):
            loss = self._loss(self._model(images), labels)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()

    def resident(self, images: Tensor, labels: Tensor, steps: int) -> float:
        """Seconds of so many steps on one batch."""
        images, labels = images.to(device()), labels.to(device())
        began = time.perf_counter()
        for _ in range(steps):
            self.step(images, labels)
        synchronize()
        return time.perf_counter() - began

    def loaded(self, loader: DataLoader[tuple[Tensor, Tensor]]) -> float:
        """Seconds of an epoch of a plain loader."""
        began = time.perf_counter()
        for images, labels in loader:
            images = images.to(device()).contiguous(memory_format=torch.channels_last)
            self.step(images, labels.to(device()))
        synchronize()
        return time.perf_counter() - began


class _PlainImages(Dataset[tuple[Tensor, Tensor]]):
    """What tutorials write: open a file with Pillow, crop and flip it by NumPy, an image at a time."""

    def __init__(self, folder: Path, split: Split, size: int) -> None:
        self._folder, self._split, self._size = folder, split, size

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        with Image.open(self._folder / self._split.names[index]) as opened:
            resized = opened.convert("RGB").resize((self._size, self._size))
        padded = np.pad(np.asarray(resized), ((CROP, CROP), (CROP, CROP), (0, 0)))
        row, column = np.random.randint(0, 2 * CROP + 1, 2)
        image = padded[row : row + self._size, column : column + self._size]
        image = image[:, ::-1] if np.random.rand() < 0.5 else image
        return torch.from_numpy(image.transpose(2, 0, 1).copy()), self._split.labels[index]


class _TakeTurns(Callback):
    """After each epoch, run as many bare steps, and once an epoch of the plain loader; note the times.

    Args:
        bare: the rival, whose steps the plain loader has too.
        batch: one resident batch: raw images and labels.
        loader: the plain one.
    """

    def __init__(
        self, bare: _BareSteps, batch: tuple[Tensor, Tensor], loader: DataLoader[tuple[Tensor, Tensor]]
    ) -> None:
        self._bare, self._batch, self._loader = bare, batch, loader
        self._started = self._validating = 0.0
        self.rows: list[dict[str, float]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the first epoch's clock."""
        self._started = time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock."""
        synchronize()
        self._validating = time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let the clock go on."""
        self._started += time.perf_counter() - self._validating

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the others' turns; the first epoch is warm-up."""
        synchronize()
        loop, steps = time.perf_counter() - self._started, len(self._loader)
        bare = self._bare.resident(*self._batch, steps)
        if trainer.current_epoch > 0:
            self.rows.append({"loop_seconds": loop, "bare_seconds": bare})
        if trainer.current_epoch == 1:
            self.rows[-1]["plain_seconds"] = self._bare.loaded(self._loader)
        self._started = time.perf_counter()


def _shortened(data: ImageData, images: int, rest: int) -> ImageData:
    """The same data with fewer training images and one batch of validation images."""
    splits = {}
    for name, count in (("train", images), ("val", rest)):
        split = data.splits[name]
        splits[name] = Split(split.images[:count], split.labels[:count], split.names[:count])
    return dataclasses.replace(data, sources=dict.fromkeys(data.sources, splits))


def measure(results: ResultFile, scale: str, data_path: str, *, loops: tuple[Loop, ...] | None = None) -> None:
    """Time each network's loop.

    Args:
        results: where a row for each pair goes.
        scale: which loops.
        data_path: tiny-imagenet-50.zip.
        loops: other ones, to rehearse.
    """
    for loop in loops or LOOPS[scale]:
        key = {"kind": "loop", **{name: vars(loop)[name] for name in ("model", "size", "batch_size")}}
        rows = _measure(loop, data_path)
        results.add(
            *({**key, "steps": loop.steps, "pair": pair, "seed": 0, **row} for pair, row in enumerate(rows)),
            instead_of=key,
        )
        shares = sorted(row["bare_seconds"] / row["loop_seconds"] for row in rows)
        print(f"{loop.model}, {loop.size}×{loop.size}, batches of {loop.batch_size}: {shares[len(shares) // 2]:.3f}")


def _measure(loop: Loop, data_path: str) -> list[dict[str, Any]]:
    recipe = Recipe(
        DataConfig(path=data_path, size=loop.size, grey="repeat"),
        ModelConfig(loop.model),
        TrainConfig(
            epochs=loop.pairs + 1, batch_size=loop.batch_size, lr=0.01, crop_padding=CROP, flip=True, precision="auto"
        ),
    )
    data = _shortened(load_data(recipe.data, seed=0), loop.steps * loop.batch_size, loop.batch_size)
    train = data.splits["train"]
    bare = _BareSteps(build_model(recipe, data), recipe)
    batch = train.tensor[: loop.batch_size].clone().permute(0, 3, 1, 2), train.labels[: loop.batch_size]
    bare.resident(*batch, 2)
    with tempfile.TemporaryDirectory() as scratch, quiet_lightning():
        with zipfile.ZipFile(data_path) as packed:
            packed.extractall(scratch, train.names)
        plain = _PlainImages(Path(scratch), train, loop.size)
        loader = DataLoader(plain, batch_size=loop.batch_size, shuffle=True, num_workers=WORKERS)
        turns = _TakeTurns(bare, batch, loader)
        log = EpochLog(RunFolder(scratch), images=len(train), monitor="val_accuracy")
        trainer = build_trainer(recipe, [log, turns], enable_checkpointing=False)
        trainer.fit(ClassificationTask(build_model(recipe, data), recipe, data))
    return turns.rows
