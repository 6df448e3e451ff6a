import io
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from rich.console import Console
from torch import Tensor, nn

from anychan.training.callbacks import EpochLog, KeepCheckpoints, score
from anychan.training.checkpoint_io import newest_whole, read_checkpoint
from anychan.training.fit import build_trainer, quiet_lightning
from anychan.training.run_folder import RunFolder
from tests.runs import small_recipe

NAN = float("nan")


class OneBatch:
    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Tensor]:
        return iter([torch.ones(1, 1)])


class Played(pl.LightningModule):
    """Its only weight counts the epochs; its metrics are read off a list."""

    def __init__(self, metrics: list[float]) -> None:
        super().__init__()
        self.epochs = nn.Parameter(torch.zeros(1))
        self.played = metrics

    def train_dataloader(self) -> OneBatch:
        return OneBatch()

    def val_dataloader(self) -> OneBatch:
        return OneBatch()

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return -self.epochs.sum()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        value = self.played[self.current_epoch]
        for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy"):
            self.log(name, torch.tensor(value, dtype=torch.float64))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 1.0)


def play(folder: RunFolder, metrics: list[float], *, patience: int | None = None, **options: Any) -> str:
    """Train through a list of metrics, from the newest whole checkpoint if there is one; what was printed."""
    monitor, every = options.get("monitor", "val_accuracy"), options.get("every", 1)
    text = io.StringIO()
    console = Console(file=text, width=200)
    callbacks = [
        EpochLog(folder, images=9, monitor=monitor, every=every, console=console),
        KeepCheckpoints(folder, monitor=monitor, patience=patience, console=console),
    ]
    trainer = build_trainer(small_recipe(epochs=options.get("epochs", len(metrics))), callbacks)
    resumes = str(newest_whole([folder.last, folder.previous])[0]) if folder.last.exists() else None
    with quiet_lightning():
        trainer.fit(Played(metrics), ckpt_path=resumes, weights_only=True)
    return text.getvalue()


def new_folder(path: Path) -> RunFolder:
    folder = RunFolder(path)
    folder.open(small_recipe())
    return folder


def epoch_of(path: Path) -> int:
    """The epoch that a checkpoint was saved in, by its weight and by its own word."""
    checkpoint = read_checkpoint(path)
    epoch = int(checkpoint["state_dict"]["epochs"]) - 1
    assert checkpoint["epoch"] == epoch
    return epoch


def epochs_of(folder: RunFolder) -> list[float]:
    return [row["epoch"] for row in folder.load_metrics()]


@pytest.mark.parametrize(
    ("monitor", "metrics", "best"),
    [
        ("val_accuracy", [0.1, 0.5, 0.3], 1),
        ("val_accuracy", [0.5, 0.5, 0.5], 0),
        ("val_accuracy", [0.1, 0.2, 0.3], 2),
        ("val_accuracy", [0.0, 0.0, 0.0], 0),
        ("val_loss", [0.5, 0.1, 0.1, 0.3], 1),
        ("val_loss", [NAN, 0.9, 0.8], 2),
        ("val_loss", [0.9, NAN, 0.95], 0),
        ("val_loss", [NAN, NAN], 0),
    ],
)
def test_best_and_last_epoch_are_kept(tmp_path: Path, monitor: str, metrics: list[float], best: int) -> None:
    folder = new_folder(tmp_path)
    play(folder, metrics, monitor=monitor)
    assert epoch_of(folder.best) == best
    assert epoch_of(folder.last) == len(metrics) - 1
    assert epoch_of(folder.previous) == len(metrics) - 2
    assert sorted(path.name for path in folder.checkpoints.iterdir()) == ["best.ckpt", "last.ckpt", "previous.ckpt"]


@pytest.mark.parametrize(
    ("patience", "metrics", "last"),
    [
        (1, [0.3, 0.5, 0.4, 0.9], 2),
        (2, [0.3, 0.5, 0.4, 0.5, 0.9], 3),
        (2, [0.3, 0.2, 0.4, 0.3, 0.2, 0.9], 4),
        (3, [0.1, 0.2, 0.3], 2),
        (None, [0.9, 0.1, 0.1, 0.1], 3),
    ],
)
def test_training_stops_after_patience(tmp_path: Path, patience: int | None, metrics: list[float], last: int) -> None:
    folder = new_folder(tmp_path)
    play(folder, metrics, patience=patience)
    assert epochs_of(folder) == list(range(last + 1))
    assert epoch_of(folder.last) == last


METRICS = [0.3, 0.5, 0.2, 0.4, 0.9, 0.1]  # with patience 3: best at 4, stopped by nothing; with 2: stops at 3


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
@pytest.mark.parametrize("patience", [None, 2, 3])
@pytest.mark.parametrize("moved", [False, True])
def test_resumed_run_ends_as_if_it_had_never_stopped(
    tmp_path: Path, stop: int, patience: int | None, moved: bool
) -> None:
    whole, resumed = new_folder(tmp_path / "whole"), new_folder(tmp_path / "resumed")
    play(whole, METRICS, patience=patience)
    play(resumed, METRICS, patience=patience, epochs=stop)
    if moved:
        resumed = RunFolder(shutil.move(resumed.path, tmp_path / "moved"))
    play(resumed, METRICS, patience=patience)
    assert epochs_of(resumed) == epochs_of(whole)
    assert epoch_of(resumed.best) == epoch_of(whole.best)
    assert epoch_of(resumed.last) == epoch_of(whole.last)


@pytest.mark.parametrize("patience", [None, 2])
def test_run_that_had_ended_trains_no_more(tmp_path: Path, patience: int | None) -> None:
    """Killed between the last checkpoint and the end: for instance while the model was saved."""
    folder = new_folder(tmp_path)
    play(folder, METRICS, patience=patience)
    before = folder.metrics.read_text(), folder.last.read_bytes(), folder.best.read_bytes()
    assert play(folder, METRICS, patience=patience) == ""
    assert (folder.metrics.read_text(), folder.last.read_bytes(), folder.best.read_bytes()) == before


def test_row_without_checkpoint_is_written_anew(tmp_path: Path) -> None:
    """Killed between the row and the checkpoint of epoch 2."""
    folder = new_folder(tmp_path)
    play(folder, METRICS, epochs=2)
    rows = folder.load_metrics()
    folder.save_metrics([*rows, {**rows[0], "epoch": 2.0, "val_accuracy": 0.77}])
    play(folder, METRICS)
    assert [(row["epoch"], row["val_accuracy"]) for row in folder.load_metrics()] == list(enumerate(METRICS))
    assert folder.load_metrics()[:2] == rows


@pytest.mark.parametrize("stop", [2, len(METRICS)])
@pytest.mark.parametrize("keep", [None, 0, 60, 200])
def test_rows_that_were_lost_come_back(tmp_path: Path, stop: int, keep: int | None) -> None:
    """From the checkpoint, also where no epoch follows."""
    folder = new_folder(tmp_path)
    play(folder, METRICS, epochs=stop)
    before = folder.metrics.read_text()
    folder.metrics.unlink()
    if keep is not None:
        folder.metrics.write_text(before[:keep])
    play(folder, METRICS)
    assert folder.metrics.read_text().startswith(before)
    assert epochs_of(folder) == list(range(len(METRICS)))


def test_a_damaged_checkpoint_does_not_take_the_place_of_the_one_before(tmp_path: Path) -> None:
    folder = new_folder(tmp_path)
    play(folder, METRICS, epochs=3)
    folder.last.write_bytes(folder.last.read_bytes()[:-1])
    play(folder, METRICS, epochs=3)
    assert [epoch_of(path) for path in (folder.last, folder.previous)] == [2, 1]
    play(folder, METRICS, epochs=5)
    assert [epoch_of(path) for path in (folder.last, folder.previous)] == [4, 3]


@pytest.mark.parametrize("how", ["absent", "cut", "earlier"])
def test_a_best_epoch_that_was_lost_is_told_at_once(tmp_path: Path, how: str) -> None:
    folder = new_folder(tmp_path)
    play(folder, METRICS, epochs=1)
    earlier = folder.best.read_bytes()
    assert play(folder, METRICS, epochs=2).count("warning") == 0
    contents = {"cut": folder.best.read_bytes()[:-1], "earlier": earlier}
    folder.best.unlink()
    if how in contents:
        folder.best.write_bytes(contents[how])
    first, *_ = play(folder, METRICS).splitlines()
    assert first == (
        f"warning: {folder.best}: the checkpoint of the best epoch is absent, damaged or an earlier epoch's; put it "
        f"back, or delete {folder.checkpoints} to start anew, or let it be: a better epoch may come"
    )
    assert epoch_of(folder.best) == 4  # as it did


def test_rows_hold_what_the_readme_says(tmp_path: Path) -> None:
    folder = new_folder(tmp_path)
    play(folder, [0.25, 0.5])
    rows = folder.load_metrics()
    names = ["epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr", "seconds", "images_per_second"]
    assert [list(row) for row in rows] == [names, names]
    for row, value in zip(rows, (0.25, 0.5), strict=True):
        assert [row[name] for name in names[1:6]] == [value, value, value, value, 1.0]
        assert 0 < 9 / row["images_per_second"] < row["seconds"]


def test_a_line_an_epoch_marks_what_is_kept(tmp_path: Path) -> None:
    lines = play(new_folder(tmp_path), [0.25, 0.25, 0.5, 0.5]).splitlines()
    assert [line.endswith("  best") for line in lines] == [True, False, True, False]
    parts = ("epoch   3/4", "train loss 0.500  accuracy 50.0%", "val loss 0.500  accuracy 50.0%", " images/s  best")
    for part in parts:
        assert part in lines[2]


def test_lines_may_be_few(tmp_path: Path) -> None:
    lines = play(new_folder(tmp_path), [0.1] * 7, every=3).splitlines()
    assert [line[:11] for line in lines] == ["epoch   3/7", "epoch   6/7", "epoch   7/7"]


def test_scores_are_higher_for_better_epochs() -> None:
    metrics = {"val_loss": torch.tensor(0.5), "val_accuracy": 0.75}
    assert score(metrics, "val_loss") == -0.5
    assert score(metrics, "val_accuracy") == 0.75
    assert score({**metrics, "epoch": 4.0}, "last") == 4.0
    assert score({"val_loss": NAN}, "val_loss") == score({"val_accuracy": NAN}, "val_accuracy") == -math.inf
