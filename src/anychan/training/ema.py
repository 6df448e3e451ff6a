"""An average of the weights over the steps of training, which is what is validated, compared and kept.

Lightning's own average copies the whole task with its data, and PyTorch's waits for the device in every step.
"""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

__all__ = ["WeightAverage", "decay_of_step"]

_TRAINED = "trained_weights"  # of a checkpoint: those that training goes on from


def decay_of_step(decay: float, step: int) -> float:
    """min(decay, (1 + step) / (10 + step)), so that the first weights, which are random, are soon forgotten.

    Args:
        decay: in the long run.
        step: 1 for the first.
    """
    return min(decay, (1 + step) / (10 + step))


class WeightAverage(Callback):
    """Exponential moving average of weights and batch-norm statistics:

        average_t = d_t · average_(t-1) + (1 - d_t) · weights_t, from average_0 = weights_0, with `decay_of_step`'s d_t

    Whole numbers, such as batch norm's counts, are copied. The model holds the average while it is validated. In a
    checkpoint the average is the `state_dict`, and the weights that training goes on from stand beside it.

    Args:
        decay: from 0 and below 1.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.average: dict[str, Tensor] = {}
        self._loaded: dict[str, Tensor] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start from the model's weights, or from a checkpoint's average, in the model's memory layout and place."""
        self.average = {name: value.clone() for name, value in pl_module.state_dict().items()}
        for name, value in self._loaded.items():
            self.average[name].copy_(value)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take one step's weights in."""
        values = pl_module.state_dict()
        floats = [name for name, value in values.items() if value.is_floating_point()]
        update = get_ema_multi_avg_fn(decay_of_step(self.decay, trainer.global_step))
        update([self.average[name] for name in floats], [values[name] for name in floats], trainer.global_step)
        for name in values.keys() - floats:
            self.average[name].copy_(values[name])

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Give the model the average."""
        self._swap(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Give the model its own weights back."""
        self._swap(pl_module)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Put the average where whoever reads a checkpoint looks for the weights."""
        checkpoint |= {"state_dict": self.average, _TRAINED: checkpoint["state_dict"]}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """The inverse of `on_save_checkpoint`; Lightning has loaded `state_dict` by now."""
        self._loaded = checkpoint["state_dict"]
        pl_module.load_state_dict(checkpoint[_TRAINED])

    @torch.no_grad()
    def _swap(self, pl_module: pl.LightningModule) -> None:
        for name, value in pl_module.state_dict().items():
            trained = value.clone()
            value.copy_(self.average[name])
            self.average[name].copy_(trained)
