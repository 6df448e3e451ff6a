import dataclasses
import json
import logging
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from anychan.data.batches import Augment, Batch, EvalBatches, TrainBatches
from anychan.data.dataset import ImageData, load_data
from anychan.errors import AnychanError, ChannelError, ConfigError, DataError, InputShapeError, RunError
from anychan.evaluation.accuracy import classified
from anychan.models.base import AnyChannelModel
from anychan.models.pretrained import load
from anychan.recipe import DataConfig, Recipe
from anychan.training.checkpoint_io import read_checkpoint
from anychan.training.fit import build_model, fit, quiet_lightning
from anychan.training.run_folder import RunFolder
from anychan.training.task import ClassificationTask
from tests.runs import RGB_SPLIT, S2_TILES, read_metrics, small_recipe

AUGMENT = {"crop_padding": 2, "crop_scale": 0.7, "flip": True, "cutmix": 0.5, "mixup": 0.4}
FULL: dict[str, Any] = {**AUGMENT, "progressive_sizes": [8, 16], "channel_sampling": "uniform", "warmup_epochs": 1}
TIMES = ("seconds", "images_per_second")


def train(out: Path, **options: Any) -> dict[str, torch.Tensor]:
    """The weights that a run ends with."""
    fit(small_recipe(**options), out)
    return load_file(out / "model.safetensors")


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def without_times(run: Path) -> list[dict[str, float]]:
    return [{key: value for key, value in row.items() if key not in TIMES} for row in read_metrics(run)]


def best_of(run: Path, monitor: str) -> int:
    values = [row[monitor] for row in read_metrics(run)]
    return values.index(max(values) if monitor == "val_accuracy" else min(values))


@pytest.mark.parametrize(
    "options",
    [FULL, {"optimizer": "adamw", "channel_drop": 0.5, "precision": "bf16", "channel_sampling": "uniform_size"}],
)
def test_same_recipe_gives_the_same_bits(tmp_path: Path, options: dict[str, Any]) -> None:
    first = train(tmp_path / "1", **options)
    torch.rand(9)  # the global state has moved on
    again, other = train(tmp_path / "2", **options), train(tmp_path / "3", seed=1, **options)
    assert same(first, again)
    assert not same(first, other)
    assert without_times(tmp_path / "1") == without_times(tmp_path / "2") != without_times(tmp_path / "3")


def test_every_training_option_changes_the_run(tmp_path: Path) -> None:
    base: dict[str, Any] = {"epochs": 1, "schedule": "none"}
    changes: list[dict[str, Any]] = [
        {},
        {"schedule": "cosine"},
        {"schedule": "cosine", "min_lr": 0.005},
        {"lr": 0.02},
        {"batch_size": 4},
        {"optimizer": "adam"},
        {"momentum": 0.5},
        {"weight_decay": 0.1},
        {"label_smoothing": 0.1},
        {"channel_sampling": "uniform"},
        {"channels": ["R", "B"]},
        {"channels": ["B"]},
        {"channel_drop": 0.9},
        {"cutmix": 1.0},
        {"mixup": 1.0},
        {"ema": 0.5},
        {"progressive_sizes": [8]},
        {"crop_padding": 1},
        {"crop_scale": 0.5},
        {"flip": True},
        {"precision": "bf16"},
    ]
    runs = [train(tmp_path / str(number), **{**base, **change}) for number, change in enumerate(changes)]
    kinds = {b"".join(value.numpy().tobytes() for value in run.values()) for run in runs}
    assert len(kinds) == len(changes)


def test_rehearsal_is_one_step_on_the_first_batch(tmp_path: Path) -> None:
    recipe = small_recipe(RGB_SPLIT, epochs=1, schedule="none", lr=0.05, weight_decay=0.0)
    recipe.model.num_outputs = 7
    data = load_data(recipe.data, seed=0)
    judge = build_model(recipe, data).train()
    images, labels, _ = next(iter(TrainBatches(data.splits["train"], batch_size=5, augment=Augment(), seed=0, epoch=0)))
    torch.nn.functional.cross_entropy(judge(images), labels).backward()
    torch.optim.SGD(judge.parameters(), lr=0.05).step()
    found = fit(recipe, tmp_path, limit_batches=1)
    torch.testing.assert_close(found.state_dict(), judge.state_dict())
    assert (load(tmp_path).contract.outputs, found(images).shape) == (7, (5, 7))


@pytest.mark.parametrize("monitor", ["val_accuracy", "val_loss"])
def test_best_epoch_is_kept(tmp_path: Path, monitor: str) -> None:
    # a rate that is too high, so that the best epoch is not the last one
    model = fit(small_recipe(epochs=6, lr=0.7, schedule="none", monitor=monitor), tmp_path)
    result = json.loads((tmp_path / "run.json").read_text())
    best = best_of(tmp_path, monitor)
    assert 0 < best < 5, "this test needs a run whose best epoch is neither the first nor the last"
    assert result["best_epoch"] == best
    assert result["val_accuracy"] == read_metrics(tmp_path)[best]["val_accuracy"]
    checkpoint = read_checkpoint(tmp_path / "checkpoints" / "best.ckpt")
    weights = {name.removeprefix("model."): value for name, value in checkpoint["state_dict"].items()}
    assert checkpoint["epoch"] == best
    for kept in (model, load(tmp_path)):
        assert not kept.training
        assert all(torch.equal(value, weights[name]) for name, value in kept.state_dict().items())
        validation = load_data(small_recipe().data, seed=0).splits["val"]
        right = classified(kept, EvalBatches(validation)).correct.float().mean()
        assert float(right) == pytest.approx(result["val_accuracy"])


def test_training_stops_early(tmp_path: Path) -> None:
    fit(small_recipe(epochs=60, lr=0.7, schedule="none", monitor="val_loss", patience=2), tmp_path)
    losses = [row["val_loss"] for row in read_metrics(tmp_path)]
    assert len(losses) < 60
    assert losses.index(min(losses)) == len(losses) - 3


def test_diverged_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"^the loss is not finite in step 2 of epoch 1, on images/.*; lower train.lr"):
        train(tmp_path, lr=1e20)
    assert not (tmp_path / "run.json").exists()


def test_what_finish_returns_joins_the_result(tmp_path: Path) -> None:
    seen = []

    def finish(folder: RunFolder, model: AnyChannelModel, data: ImageData, best_epoch: int) -> dict[str, Any]:
        seen.append((model.training, data.classes, (folder.path / "model.safetensors").exists()))
        if len(seen) == 1:
            raise KeyboardInterrupt  # a run that is killed here is not finished
        return {"more": best_epoch + 40}

    with pytest.raises(KeyboardInterrupt):
        fit(small_recipe(), tmp_path, finish=finish)
    assert not (tmp_path / "run.json").exists()
    fit(small_recipe(), tmp_path, finish=finish)
    result = json.loads((tmp_path / "run.json").read_text())
    assert result["more"] == result["best_epoch"] + 40
    assert seen == [(False, ("circle", "square", "stripe"), True)] * 2


def test_network_learns(finished_run: Path) -> None:
    rows = read_metrics(finished_run)
    assert rows[-1]["train_loss"] < 0.7 * rows[0]["train_loss"]
    assert max(row["val_accuracy"] for row in rows) > 0.8  # chance is 1/3


def test_run_folder_is_complete(finished_run: Path) -> None:
    names = {"recipe.yaml", "metrics.csv", "checkpoints", "model.safetensors", "contract.json", "run.json"}
    assert {path.name for path in finished_run.iterdir()} == names
    result = json.loads((finished_run / "run.json").read_text())
    assert result["images"] == {"train": 12, "val": 6, "test": 6}
    assert (result["seed"], result["epochs"], result["threads"]) == (0, 6, 1)
    assert result["precision"] == "float32"
    assert result["versions"]["torch"] == torch.__version__
    assert 0 < result["train_seconds"] <= result["seconds_of_last_call"]
    recipe = Recipe.load(finished_run / "recipe.yaml")
    assert recipe == small_recipe(epochs=6)
    contract = load(finished_run).contract
    assert contract.classes == ("circle", "square", "stripe")
    assert (contract.model, contract.stem, contract.grey) == ("baseline_cnn", "zero", "refuse")
    assert contract.dtype == "uint8"
    assert contract.resize is not None
    assert contract.resize.size == 16
    statistics = load_data(recipe.data, seed=0).statistics
    assert contract.offset == tuple(statistics.mean)
    assert contract.scale == tuple(statistics.std)


def test_no_file_of_a_run_is_a_pickle(finished_run: Path) -> None:
    files = [path for path in finished_run.rglob("*") if path.is_file()]
    assert len(files) == 8
    for path in files:
        start = path.read_bytes()[:2]
        assert start not in (b"PK", b"\x1f\x8b"), f"{path} is an archive"
        assert not (start[0] == 0x80 and start[1] <= 5), f"{path} is a pickle"


def test_relative_data_paths_hold_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(RGB_SPLIT.parent)
    fit(small_recipe("rgb_split", epochs=1), tmp_path)
    assert Recipe.load(tmp_path / "recipe.yaml").data.path == str(RGB_SPLIT)


def test_unfinished_run_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", epochs=4, **FULL)
    (tmp_path / "whole" / "run.json").unlink()
    (tmp_path / "whole" / "model.safetensors").unlink()
    assert same(train(tmp_path / "whole", epochs=4, **FULL), whole)


@pytest.mark.parametrize("epoch", range(3))
@pytest.mark.parametrize("step", range(3))
def test_run_goes_on_to_the_same_bits_from_any_step(
    epoch: int, step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an average of weights, an optimizer that counts its steps, and metrics of an epoch that was interrupted."""
    options = {**FULL, "epochs": 3, "batch_size": 4, "ema": 0.8, "optimizer": "adam", "checkpoint_seconds": 0}
    whole = train(tmp_path / "whole", **options)
    step_of = ClassificationTask.training_step

    def interrupted(task: ClassificationTask, batch: Batch, number: int) -> torch.Tensor:
        if (task.current_epoch, number) == (epoch, step):
            raise KeyboardInterrupt
        return step_of(task, batch, number)

    with monkeypatch.context() as patch:
        patch.setattr(ClassificationTask, "training_step", interrupted)
        with pytest.raises(RunError, match=r"interrupted; the same command goes on from its last checkpoint$"):
            train(tmp_path / "other", **options)
    assert same(train(tmp_path / "other", **options), whole)
    assert without_times(tmp_path / "other") == without_times(tmp_path / "whole")


@pytest.mark.parametrize("content", [None, b""])
def test_a_run_whose_best_epoch_was_lost_says_how_to_start_anew(content: bytes | None, tmp_path: Path) -> None:
    whole = train(tmp_path, epochs=1)
    (tmp_path / "run.json").unlink()
    folder = RunFolder(tmp_path)
    folder.best.unlink() if content is None else folder.best.write_bytes(content)
    advice = f"put it back, or delete {folder.checkpoints} to start anew"
    with pytest.raises(RunError, match=rf"^{re.escape(str(folder.best))}: .*{re.escape(advice)}$"):
        train(tmp_path, epochs=1)
    shutil.rmtree(folder.checkpoints)
    assert same(train(tmp_path, epochs=1), whole)


@pytest.mark.parametrize("epochs", [1, 3])
def test_damaged_checkpoint_is_told(epochs: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The one before is used, if there is one."""
    whole = train(tmp_path, epochs=epochs)
    (tmp_path / "run.json").unlink()
    (tmp_path / "model.safetensors").unlink()
    last = tmp_path / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-9])
    message = f"{last}: the checkpoint is damaged or not ours ("
    if epochs == 1:
        with pytest.raises(RunError, match=re.escape(message)):
            train(tmp_path, epochs=epochs)
        return
    capsys.readouterr()
    assert same(train(tmp_path, epochs=epochs), whole)
    said = capsys.readouterr().err
    assert f"warning: {message}" in said
    assert re.findall(r"epoch +(\d)/3", said) == ["3"]


@pytest.mark.parametrize("asked", [True, False])
def test_only_deterministic_operations(asked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, step_of = set(), ClassificationTask.training_step

    def watched(task: ClassificationTask, batch: Batch, number: int) -> torch.Tensor:
        seen.add(torch.are_deterministic_algorithms_enabled())
        return step_of(task, batch, number)

    monkeypatch.setattr(ClassificationTask, "training_step", watched)
    train(tmp_path, deterministic=asked)
    assert seen == {asked}
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"train": {"epochs": 0}}, ConfigError, "train.epochs is 0, but it must be 1 or more"),
        ({"model": {"name": "resnet7"}}, ConfigError, "no model is called 'resnet7'; the catalogue has"),
        ({"model": {"stem": "median"}}, ConfigError, "no stem is called 'median'; there are"),
        ({"model": {"options": {"depth": 3}}}, ConfigError, "resnet8 has no option 'depth'; its options"),
        ({"model": {"name": "simple_2layer_cnn"}}, InputShapeError, "takes images of at least 37x37 pixels, not 16x16"),
        ({"model": {"num_outputs": 2}}, ConfigError, "model.num_outputs is 2, but the data has 3 classes"),
        ({"train": {"channels": ["R", "nir"]}}, ChannelError, "channel 'nir' is not one of R, G, B; name one of these"),
        ({"data": {"path": "/absent.zip"}}, DataError, "/absent.zip: there is no such folder or zip"),
        ({"data": {"path": ""}}, DataError, "no data was named"),
    ],
)
def test_nothing_is_written_for_a_run_that_cannot_be(
    tmp_path: Path, change: dict[str, dict[str, Any]], error: type[AnychanError], message: str
) -> None:
    values = Recipe(data=DataConfig(path=str(RGB_SPLIT), size=16)).to_dict()
    for section, entries in change.items():
        values[section].update(entries)
    with pytest.raises(error, match=re.escape(message)):
        fit(Recipe.from_dict(values), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_weights_come_from_the_seed_alone() -> None:
    recipe = small_recipe(S2_TILES, stem="completion")
    data = load_data(recipe.data, seed=0)
    torch.rand(4)
    first, again = build_model(recipe, data), build_model(recipe, data)
    other = build_model(small_recipe(S2_TILES, stem="completion", seed=1), data)
    assert same(first.state_dict(), again.state_dict())
    assert not same(first.state_dict(), other.state_dict())
    assert first.channels.names == ("B02", "B03", "B04", "B08")
    assert first.contract.stem == "completion"
    assert first.get_parameter("stem.conv.weight").is_contiguous(memory_format=torch.channels_last)


def test_completion_is_the_formula_under_percentiles() -> None:
    """x_M = μ_M + Σ_MS (Σ_SS + λ s²)⁻¹ (x_S − μ_S) in raw values, s the scale: here μ is not the offset."""
    recipe = small_recipe(S2_TILES, stem="completion")
    recipe.data = dataclasses.replace(recipe.data, normalize="percentile", percentiles=[2, 90])
    data = load_data(recipe.data, seed=0)
    model = build_model(recipe, data).double().eval()
    low, high = data.percentiles([2, 90])
    np.testing.assert_allclose(model.contract.offset, low)
    np.testing.assert_allclose(model.contract.scale, high - low)
    mean, covariance = data.statistics.mean, data.statistics.covariance
    images = data.splits["test"].images.astype(float)
    present, absent = [0, 3], [1, 2]
    ridge = 0.01 * np.diag((high - low)[present] ** 2)
    weights = covariance[np.ix_(absent, present)] @ np.linalg.inv(covariance[np.ix_(present, present)] + ridge)
    whole = images.copy()
    whole[..., absent] = mean[absent] + (images[..., present] - mean[present]) @ weights.T
    expected = model(torch.from_numpy(whole).movedim(-1, 1))
    found = model.select(["B02", "B08"])(torch.from_numpy(images[..., present]).movedim(-1, 1))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(expected, model(torch.from_numpy(images).movedim(-1, 1)), atol=1e-3)


def test_lightning_is_quiet_and_loud_again() -> None:
    logger = logging.getLogger("pytorch_lightning.utilities.rank_zero")
    before = logger.level
    with quiet_lightning():
        assert logger.level == logging.WARNING
    assert logger.level == before != logging.WARNING


def test_terminal_says_what_happens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(small_recipe(epochs=2), tmp_path)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0] == "training baseline_cnn on R+G+B, 3 classes, 16x16 pixels: 12 train, 6 val, 6 test images"
    assert [line[:11] for line in lines[1:]] == ["epoch   1/2", "epoch   2/2"]
    (tmp_path / "run.json").unlink()
    fit(small_recipe(epochs=2), tmp_path)
    assert capsys.readouterr().err.splitlines() == [lines[0].replace("training", "going on with")]


def test_no_batches_are_no_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="limit_batches is 0, but it must be 1 or more"):
        fit(small_recipe(), tmp_path / "run", limit_batches=0)
    assert not (tmp_path / "run").exists()


def test_the_last_epoch_is_kept_when_asked_for(tmp_path: Path) -> None:
    fit(small_recipe(epochs=3, lr=1e-9, momentum=0.0, monitor="last"), tmp_path)
    assert json.loads((tmp_path / "run.json").read_text())["best_epoch"] == 2
    accuracies = [row["val_accuracy"] for row in read_metrics(tmp_path)]
    assert max(accuracies) in accuracies[:2]  # by accuracy an earlier epoch would have been kept
