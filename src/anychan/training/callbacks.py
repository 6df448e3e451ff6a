"""What happens around an epoch: metrics.csv, a line in the terminal, the time it took, checkpoints, stopping early."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, Checkpoint
from rich.console import Console

from anychan.errors import RunError
from anychan.training.processes import agreed
from anychan.training.run_folder import RunFolder

__all__ = ["EndBySignal", "EpochLog", "KeepCheckpoints"]


def score(metrics: Mapping[str, Any], monitor: str) -> float:
    """How good an epoch was, higher is better; NaN is worse than everything. `"last"` is better the later."""
    if monitor == "last":
        return float(metrics["epoch"])
    value = float(metrics[monitor])
    if math.isnan(value):
        return -math.inf
    return value if monitor == "val_accuracy" else -value


class EpochLog(Callback):
    """Adds a row to metrics.csv and prints a line at each epoch's end.

    A resumed run takes the rows from its checkpoint, so that no epoch is there twice, or lost with the file.

    Args:
        folder: the run's.
        images: training images an epoch, for the rate.
        monitor: the metric that chooses the best epoch.
        every: print a line each so many epochs, and at the last one.
        console: where the lines go; default: standard error.
    """

    def __init__(
        self, folder: RunFolder, *, images: int, monitor: str, every: int = 1, console: Console | None = None
    ) -> None:
        self.folder, self.images, self.monitor, self.every = folder, images, monitor, every
        self.console = console or Console(stderr=True)
        self.rows: list[dict[str, float]] = []
        self._started = self._trained = 0.0

    def state_dict(self) -> dict[str, Any]:
        """The time that the epoch has taken so far, and the rows of those that are done."""
        return {"seconds": time.perf_counter() - self._started, "rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """An epoch that was begun goes on; a new one starts the clock anew."""
        self._started = time.perf_counter() - state_dict["seconds"]
        self.rows = state_dict["rows"]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the rows of the epochs that are done where the file has others; no epoch may follow that would."""
        with suppress(RunError):
            if not self.rows or self.folder.load_metrics() == self.rows:
                return
        self.folder.save_metrics(self.rows)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock for training: validation is not counted in images a second."""
        self._trained = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the row and the line."""
        found: dict[str, Any] = trainer.callback_metrics
        names = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
        row = {"epoch": float(trainer.current_epoch), **{name: float(found[name]) for name in names}}
        row["lr"] = float(trainer.optimizers[0].param_groups[0]["lr"])
        row["seconds"] = time.perf_counter() - self._started
        row["images_per_second"] = self.images / (self._trained - self._started)
        self.rows.append(row)
        self.folder.save_metrics(self.rows)
        if (trainer.current_epoch + 1) % self.every and trainer.current_epoch + 1 != trainer.max_epochs:
            return
        scores = [score(earlier, self.monitor) for earlier in self.rows]
        is_best = scores.index(max(scores)) == len(scores) - 1  # of equal ones the first is kept
        line = (
            f"epoch {trainer.current_epoch + 1:>3}/{trainer.max_epochs}  "
            f"train loss {row['train_loss']:.3f}  accuracy {row['train_accuracy']:.1%}  "
            f"val loss {row['val_loss']:.3f}  accuracy {row['val_accuracy']:.1%}  "
            f"{row['images_per_second']:,.0f} images/s{'  best' if is_best else ''}"
        )
        self.console.print(line, highlight=False, soft_wrap=True)


class EndBySignal(Callback):
    """SIGTERM ends a process of several as Ctrl-C does, at once.

    Lightning's own handler tells the other processes first, and waits for ever if they are in the middle of a step.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the place of Lightning's handler, which it takes away itself in the end."""
        signal.signal(signal.SIGTERM, signal.default_int_handler)


class KeepCheckpoints(Checkpoint):
    """Writes last.ckpt now and then and after every epoch, best.ckpt after a better one than all before; stops early.

    What was last.ckpt becomes previous.ckpt, unless it was damaged. In the middle of an epoch the steps until the next
    one are counted, not the seconds, because all processes must write at the same step; the count is what took so long
    until then.

    Lightning's ModelCheckpoint writes "last" only beside a new best, and forgets the best of a folder that was moved;
    its EarlyStopping trains one epoch more when a run that had stopped is resumed.

    Args:
        folder: the run's.
        monitor: the metric that chooses the best epoch; of equal ones the first is kept.
        patience: stop after so many epochs without a better one; `None` for never.
        seconds: between two checkpoints in an epoch, about; 0 for one after every step.
        console: where warnings go; default: standard error.
    """

    def __init__(
        self,
        folder: RunFolder,
        *,
        monitor: str,
        patience: int | None = None,
        seconds: float = math.inf,
        console: Console | None = None,
    ) -> None:
        self.folder, self.monitor, self.patience, self.seconds = folder, monitor, patience, seconds
        self.console = console or Console(stderr=True)
        self.best, self.best_epoch, self.waited = -math.inf, -1, 0
        self._keeps_previous = False
        self._since, self._steps, self._due = 0.0, 0, 1.0

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to go on as if it had never stopped."""
        return {"best": self.best, "best_epoch": self.best_epoch, "waited": self.waited}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.best, self.best_epoch = state_dict["best"], state_dict["best_epoch"]
        self.waited = state_dict["waited"]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Warn where the best epoch so far was lost: the run cannot end unless a better one comes."""
        self._keeps_previous = trainer.ckpt_path == str(self.folder.previous)  # last.ckpt is damaged or absent
        if self.best_epoch < 0:
            return
        try:
            self.folder.read_best(self.best_epoch)
        except RunError as error:
            text = f"warning: {error}, or let it be: a better epoch may come"
            self.console.print(text, highlight=False, soft_wrap=True)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A run that had stopped, but was killed before its end, stops again."""
        self._since = time.perf_counter()
        self._stop(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write in the middle of an epoch; its last step is followed by its end."""
        self._steps += 1
        if self._steps < self._due or batch_idx + 1 >= trainer.num_training_batches:
            return
        passed = agreed(time.perf_counter() - self._since)
        self._due = max(1.0, self._steps * self.seconds / passed)  # as many as take so long
        if passed >= self.seconds / 2:
            self._write_last(trainer)

    def _write_last(self, trainer: pl.Trainer) -> None:
        previous = None if self._keeps_previous else self.folder.previous
        trainer.save_checkpoint(self.folder.last, False, storage_options={"previous": previous})
        self._since, self._steps, self._keeps_previous = time.perf_counter(), 0, False

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compare, write, stop; Lightning calls checkpoint callbacks after all others."""
        found = score({**trainer.callback_metrics, "epoch": trainer.current_epoch}, self.monitor)
        is_best = found > self.best or trainer.current_epoch == 0
        self.waited += 1
        if is_best:
            self.best, self.best_epoch, self.waited = found, trainer.current_epoch, 0
            trainer.save_checkpoint(self.folder.best, weights_only=False)  # optimizer and schedule too
        self._write_last(trainer)
        self._stop(trainer)

    def _stop(self, trainer: pl.Trainer) -> None:
        if self.patience is not None and self.waited >= self.patience:
            trainer.should_stop = True
