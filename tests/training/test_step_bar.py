import io
from collections.abc import Iterator

import pytorch_lightning as pl
import torch
from rich.console import Console
from torch import Tensor, nn

from anychan.training.fit import quiet_lightning
from anychan.training.step_bar import StepBar


class ThreeBatches:
    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Iterator[Tensor]:
        return iter([torch.ones(2, 1)] * 3)


class Slope(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss: Tensor = self.layer(batch).square().mean() * 0 + 0.125
        return loss

    def train_dataloader(self) -> "ThreeBatches":
        return ThreeBatches()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def drawn(*, terminal: bool) -> str:
    text = io.StringIO()
    bar = StepBar(Console(file=text, force_terminal=terminal, width=120))
    trainer = pl.Trainer(
        max_epochs=2,
        callbacks=[bar],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with quiet_lightning():
        trainer.fit(Slope())
    assert not bar.progress.live.is_started
    return text.getvalue()


def test_a_terminal_sees_epochs_steps_and_loss() -> None:
    text = drawn(terminal=True)
    for part in ("epoch 1/2", "epoch 2/2", "/3", "loss 0.125"):
        assert part in text, part


def test_other_outputs_see_nothing() -> None:
    assert drawn(terminal=False) == ""
