"""What the training loop costs: whole epochs of `anychan train` over bare steps on one resident batch.

Epochs and the same number of bare steps (forward, backward, optimizer; same model, precision and optimizer) take turns
in one process. An epoch's time holds everything but validation and checkpoints: sampling, gather from the warm cache,
augmentation, metrics, logging. The share is bare time over loop time, the median of all pairs.

    python benchmarks/loop.py --scale cpu --data path/to/tiny-imagenet-50.zip
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hardware import device, synchronize
from pytorch_lightning.callbacks import Callback
from results_file import RESULTS, ResultFile, claim
from torch import nn

from anychan.data.dataset import ImageData, Split, load_data
from anychan.models.base import AnyChannelModel
from anychan.recipe import DataConfig, ModelConfig, Recipe, TrainConfig
from anychan.training.callbacks import EpochLog
from anychan.training.fit import build_model, build_trainer, quiet_lightning
from anychan.training.run_folder import RunFolder
from anychan.training.task import ClassificationTask, make_optimizer

PAIRS, STEPS, BATCH_SIZE = 15, {"cpu": 35, "gpu": 170}, 128  # 4,480 images: the ten classes; 21,760: nearly all


def claims(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`loop_share_resnet34_64`: the median share of bare steps in the loop's time."""
    shares = [row["share"] for row in rows if row["model"] == "resnet34"]
    return [claim("loop_share_resnet34_64", statistics.median(shares), ">=", 0.95)]


class BareLoop:
    """The same steps without any loop around them.

    Args:
        model: a network of its own.
        recipe: for its optimizer and precision.
        images: one resident batch, raw (N, C, H, W).
        labels: (N,).
    """

    def __init__(self, model: AnyChannelModel, recipe: Recipe, images: torch.Tensor, labels: torch.Tensor) -> None:
        self.device = torch.device(device())
        self.model = model.to(self.device).train()
        self.optimizer = make_optimizer(model, recipe.train)
        self.images, self.labels = images.to(self.device), labels.to(self.device)
        self.loss = nn.CrossEntropyLoss()

    def run(self, steps: int) -> float:
        """Seconds for so many steps."""
        started = time.perf_counter()
        for _ in range(steps):
            with torch.autocast(self.device.type, torch.bfloat16):
                loss = self.loss(self.model(self.images), self.labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        synchronize()
        return time.perf_counter() - started


class TakeTurns(Callback):
    """After each epoch, run the bare loop for as many steps, and note both times; the first pair is warm-up.

    Args:
        bare: the rival.
        steps: of an epoch.
        results: where rows go.
    """

    def __init__(self, bare: BareLoop, steps: int, results: ResultFile) -> None:
        self.bare, self.steps, self.results = bare, steps, results
        self.started = self.validating = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the first epoch's clock."""
        self.started = time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock."""
        synchronize()
        self.validating = time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let the clock go on."""
        self.started += time.perf_counter() - self.validating

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the other's turn."""
        synchronize()
        loop = time.perf_counter() - self.started
        bare = self.bare.run(self.steps)
        if trainer.current_epoch > 0:
            pair = {"model": "resnet34", "pair": trainer.current_epoch, "loop_seconds": loop, "bare_seconds": bare}
            self.results.add({**pair, "share": bare / loop, "images": self.steps * BATCH_SIZE, "seed": 0})
            print(f"pair {trainer.current_epoch:>2}: loop {loop:.2f} s, bare {bare:.2f} s, share {bare / loop:.3f}")
        self.started = time.perf_counter()


def _shortened(data: ImageData, images: int) -> ImageData:
    """The same data with fewer training images and one batch of validation images."""
    splits = {}
    for name, count in (("train", images), ("val", BATCH_SIZE)):
        split = data.splits[name]
        splits[name] = Split(split.images[:count], split.labels[:count], split.names[:count])
    return dataclasses.replace(data, sources=dict.fromkeys(data.sources, splits))


def run(scale: str, data_path: str, pairs: int, folder: Path | None = None) -> ResultFile:
    """Measure `pairs` pairs and write them."""
    steps = STEPS[scale]
    recipe = Recipe(
        DataConfig(path=data_path, num_classes=50 if scale == "gpu" else 10, size=64, grey="repeat"),
        ModelConfig("resnet34"),
        TrainConfig(epochs=pairs + 1, batch_size=BATCH_SIZE, lr=0.01, crop_padding=4, flip=True, precision="bf16"),
    )
    data = _shortened(load_data(recipe.data, seed=0), steps * BATCH_SIZE)
    train = data.splits["train"]
    resident = train.tensor[:BATCH_SIZE].clone().permute(0, 3, 1, 2)
    bare = BareLoop(build_model(recipe, data), recipe, resident, train.labels[:BATCH_SIZE])
    bare.run(2)
    results = ResultFile("loop", scale, claims, folder=folder or RESULTS)
    results.rows = []  # pairs of one process only: what an earlier, stopped process measured is dropped
    with tempfile.TemporaryDirectory() as scratch, quiet_lightning():
        log = EpochLog(RunFolder(scratch), images=len(train), monitor="val_accuracy")
        trainer = build_trainer(recipe, [log, TakeTurns(bare, steps, results)], enable_checkpointing=False)
        trainer.fit(ClassificationTask(build_model(recipe, data), recipe, data))
    return results


def main() -> None:
    """Parse options and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scale", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--data", required=True, help="tiny-imagenet-50.zip")
    parser.add_argument("--pairs", type=int, default=PAIRS)
    options = parser.parse_args()
    results = run(options.scale, options.data, options.pairs)
    for found in results.claims(results.rows):
        print(f"{found['id']} = {found['value']:.3f} ({found['op']} {found['bound']}): holds {found['holds']}")


if __name__ == "__main__":
    main()
