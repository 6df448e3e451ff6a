"""A run ends where its numbers do: at the first loss that is NaN or infinite, and before such weights are kept."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from anychan.errors import RunError

__all__ = ["StopWhereNotFinite"]

_NEVER = 2**31
_STEPS_A_LOOK = 32  # on a GPU, where a look waits for all that was queued
_NAMES = 5


class StopWhereNotFinite(Callback):
    """Names the step and its images. Files with NaN or infinity are refused before, as they are read.

    What a step's gradients did to the weights shows in the next loss, or before a checkpoint is written.
    """

    def __init__(self) -> None:
        self._first: Tensor | None = None

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Look at the loss.

        Raises:
            RunError: when one is not finite.
        """
        step = trainer.fit_loop.epoch_loop.batch_idx
        found = torch.where(torch.isfinite(loss.detach()), _NEVER, step)
        self._first = found if self._first is None else torch.minimum(self._first, found)
        if not loss.is_cuda or step % _STEPS_A_LOOK == 0:
            self._look(pl_module)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the last steps' losses."""
        self._look(pl_module)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Look at the weights that are to be kept.

        Raises:
            RunError: when one is not finite.
        """
        self._look(pl_module)
        for name, weights in pl_module.named_parameters():
            if not torch.isfinite(weights).all():
                step = trainer.fit_loop.epoch_loop.batch_idx
                raise _error(pl_module, step, f"the weights of {name.removeprefix('model.')} are not finite after")

    def _look(self, pl_module: pl.LightningModule) -> None:
        step = _NEVER if self._first is None else int(self._first)
        self._first = None
        if step == _NEVER:
            return
        finite = all(torch.isfinite(weights).all() for weights in pl_module.parameters())
        if step and not finite:  # one step back, whose gradients were the first
            raise _error(pl_module, step - 1, "the gradients are not finite in")
        raise _error(pl_module, step, "the loss is not finite in")


def _error(pl_module: Any, step: int, what: str) -> RunError:
    names = pl_module.train_dataloader().names(step)
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return RunError(
        f"{what} step {step + 1} of epoch {pl_module.current_epoch + 1}, on {', '.join(names[:_NAMES])}{more}; lower "
        "train.lr, or use train.precision float32"
    )
