from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from anychan.data.batches import Augment, EvalBatches, calibration_batches
from anychan.data.dataset import ImageData, load_data
from anychan.evaluation.accuracy import classified
from anychan.models.base import AnyChannelModel
from anychan.models.measure import measure_subsets
from anychan.models.pretrained import load
from anychan.recipe import Recipe
from anychan.training.callbacks import KeepCheckpoints
from anychan.training.checkpoint_io import read_checkpoint
from anychan.training.ema import WeightAverage, decay_of_step
from anychan.training.fit import build_model, build_trainer, fit, quiet_lightning
from anychan.training.run_folder import RunFolder
from anychan.training.task import ClassificationTask
from tests.runs import read_metrics, small_recipe

Weights = dict[str, Tensor]
LAST = Path("checkpoints") / "last.ckpt"


@pytest.fixture(scope="module")
def data(cache: object) -> ImageData:
    return load_data(small_recipe().data, seed=0)


def copied(weights: Weights) -> Weights:
    return {name: value.clone() for name, value in weights.items()}


def same(first: Weights, second: Weights) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


class Watch(Callback):
    """Keeps the model's weights after every step, in validation, and after it; and leaves where it is told to."""

    def __init__(self, leave_at: int | None = None) -> None:
        self.leave_at = leave_at
        self.steps: list[Weights] = []
        self.validated: list[Weights] = []
        self.after: list[Weights] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == self.leave_at:
            raise KeyboardInterrupt

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.steps.append(copied(pl_module.state_dict()))

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.steps.append(copied(pl_module.state_dict()))

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.validated.append(copied(pl_module.state_dict()))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.after.append(copied(pl_module.state_dict()))


def train(recipe: Recipe, data: ImageData, folder: Path, watch: Watch, *, goes_on: bool = False) -> None:
    folder.mkdir(exist_ok=True)
    run = RunFolder(folder)
    callbacks = [WeightAverage(recipe.train.ema), watch, KeepCheckpoints(run, monitor="last")]
    with quiet_lightning(), suppress(SystemExit):  # Lightning's way out
        task = ClassificationTask(build_model(recipe, data), recipe, data)
        trainer = build_trainer(recipe, callbacks)
        trainer.fit(task, ckpt_path=str(run.last) if goes_on else None, weights_only=True)


def test_decay_begins_low() -> None:
    assert [decay_of_step(0.5, step) for step in (1, 2, 8, 9)] == pytest.approx([2 / 11, 3 / 12, 0.5, 0.5])
    assert decay_of_step(0.998, 10_000) == 0.998


@pytest.mark.parametrize("decay", [0.3, 0.99])
def test_average_by_hand(data: ImageData, decay: float, tmp_path: Path) -> None:
    watch = Watch()
    train(small_recipe(epochs=2, ema=decay, lr=0.1), data, tmp_path, watch)  # 3 steps an epoch
    assert (len(watch.steps), len(watch.validated)) == (7, 2)
    average = watch.steps[0]
    for step, weights in enumerate(watch.steps[1:], 1):
        share = min(decay, (1 + step) / (10 + step))
        average = {
            name: share * average[name] + (1 - share) * value if value.is_floating_point() else value
            for name, value in weights.items()
        }
        if step % 3 == 0:
            torch.testing.assert_close(watch.validated[step // 3 - 1], average)
            assert same(watch.after[step // 3 - 1], weights)  # training goes on from its own
    assert any(name.endswith("running_var") for name in average)
    counts = [value for name, value in average.items() if name.endswith("num_batches_tracked")]
    assert {int(count) for count in counts} == {6}
    kept = read_checkpoint(tmp_path / LAST)
    assert same(kept["state_dict"], watch.validated[1])
    assert same(kept["trained_weights"], watch.steps[6])


def test_stopped_run_goes_on_to_the_same_bits(data: ImageData, tmp_path: Path) -> None:
    recipe = small_recipe(epochs=4, ema=0.9, lr=0.05, crop_padding=2, mixup=0.5)
    whole, first, second = Watch(), Watch(leave_at=2), Watch()
    train(recipe, data, tmp_path / "whole", whole)
    train(recipe, data, tmp_path / "parts", first)
    train(recipe, data, tmp_path / "parts", second, goes_on=True)
    assert (len(first.validated), len(second.validated)) == (2, 2)
    pairs = zip(whole.validated, first.validated + second.validated, strict=True)
    assert all(same(one, other) for one, other in pairs)
    ends = [read_checkpoint(tmp_path / name / LAST) for name in ("whole", "parts")]
    for part in ("state_dict", "trained_weights"):
        assert same(ends[0][part], ends[1][part])
    assert not same(ends[0]["state_dict"], ends[0]["trained_weights"])


def test_the_average_is_what_a_run_is_about(data: ImageData, tmp_path: Path) -> None:
    options: dict[str, Any] = {"epochs": 3, "lr": 0.1}
    model = fit(small_recipe(**options, ema=0.9), tmp_path / "average")
    fit(small_recipe(**options), tmp_path / "plain")
    losses = [[row["train_loss"] for row in read_metrics(tmp_path / name)] for name in ("average", "plain")]
    assert losses[0] == losses[1]  # the steps are the same
    ends = [read_checkpoint(tmp_path / name / LAST) for name in ("average", "plain")]
    assert same(ends[0]["trained_weights"], ends[1]["state_dict"])
    best = read_checkpoint(tmp_path / "average" / "checkpoints" / "best.ckpt")
    row = read_metrics(tmp_path / "average")[best["epoch"]]
    for kept in (model, load(tmp_path / "average")):
        assert same({f"model.{name}": value for name, value in kept.state_dict().items()}, best["state_dict"])
        right = classified(kept, EvalBatches(data.splits["val"])).correct.float().mean()
        assert float(right) == pytest.approx(row["val_accuracy"])


def measured_in(model: AnyChannelModel) -> Weights:
    """Without the counts of batches, which go on from a count to the next."""
    return {name: value for name, value in model.state_dict().items() if not name.endswith("num_batches_tracked")}


def test_statistics_of_subsets_are_of_the_average(tmp_path: Path) -> None:
    model = fit(small_recipe(epochs=2, lr=0.1, channel_sampling="uniform", ema=0.9), tmp_path)
    best = read_checkpoint(tmp_path / "checkpoints" / "best.ckpt")
    assert all(torch.equal(value, best["state_dict"][f"model.{name}"]) for name, value in model.named_parameters())
    assert model.subset_statistics is not None
    saved = measured_in(model)
    measured = load(tmp_path)
    batches = calibration_batches(load_data(small_recipe().data, seed=0).parts("train"), augment=Augment(), seed=0)
    measure_subsets(measured, [(images, held or (0, 1, 2)) for images, _, held in batches], seed=0)
    torch.testing.assert_close(measured_in(measured), saved, rtol=1e-3, atol=1e-4)
