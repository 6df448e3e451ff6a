"""A progress bar of an epoch's steps, with the loss, for terminals."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["StepBar"]

_SECONDS_BETWEEN_LOSSES = 0.5  # reading a loss waits for the device


class StepBar(Callback):
    """One bar, on the console that the epochs' lines go to, so that they stand above it.

    (Lightning's own bars draw on standard output, which is for results here, and over lines that others print.)

    Args:
        console: a terminal's; on others nothing is drawn.
    """

    def __init__(self, console: Console) -> None:
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps  loss {task.fields[loss]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.task = self.progress.add_task("epoch", loss="-")
        self._read = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show an epoch that goes on in its middle; a new one starts the bar anew."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the bar anew."""
        self.progress.start()
        title = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        self.progress.reset(self.task, total=trainer.num_training_batches, description=title)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance, and read the loss now and then."""
        now = time.monotonic()
        if not self.progress.disable and now - self._read > _SECONDS_BETWEEN_LOSSES:
            self._read = now
            self.progress.update(self.task, loss=f"{float(outputs['loss']):.3f}")
        self.progress.update(self.task, completed=batch_idx + 1)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Take the bar away, after an error too."""
        self.progress.stop()
