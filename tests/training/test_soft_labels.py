import dataclasses
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, load_file, save_file
from safetensors.torch import save as dump
from torch.nn import functional

from anychan.data.augment import cut_mix
from anychan.data.batches import Augment, Batch, TrainBatches
from anychan.data.dataset import ImageData, load_data
from anychan.errors import ConfigError, ContractError, DataError, RunError
from anychan.models.pretrained import CONTRACT_FILE, WEIGHTS_FILE, save
from anychan.models.pretrained import load as load_model
from anychan.randomness import derive_seed
from anychan.recipe import DataConfig, Recipe, TrainConfig
from anychan.training import soft_labels, teacher
from anychan.training.fit import build_model, fit
from anychan.training.soft_labels import SoftLabels, make_soft_labels, views_key
from anychan.training.task import ClassificationTask
from anychan.training.teacher import Teacher
from tests.runs import RGB_SPLIT, read_metrics, small_recipe
from tests.sensors import write_sensor

MIXED: dict[str, Any] = {"crop_padding": 2, "flip": True, "cutmix": 0.5}
FULL: dict[str, Any] = {**MIXED, "channel_sampling": "uniform", "epochs": 3, "progressive_sizes": [12, 16]}
STEPS = 3  # of 12 images by 5


@pytest.fixture(scope="module")
def data(cache: object) -> ImageData:
    return load_data(small_recipe().data, seed=0)


def make_teacher(folder: Path, data: ImageData, *, seed: int = 7, outputs: int | None = None) -> Path:
    """The folder of a saved model whose predictions differ from image to image."""
    recipe = small_recipe(seed=seed)
    recipe.model.num_outputs = outputs
    model = build_model(recipe, data)
    with torch.no_grad():
        model.head[-1].weight.mul_(40)  # type: ignore[index]
    save(model, folder)
    return folder


@pytest.fixture
def taught(tmp_path: Path, data: ImageData) -> Path:
    return make_teacher(tmp_path / "teacher", data)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders of the teachers that were loaded."""
    folders: list[Path] = []

    def spy(folder: Path) -> Any:
        folders.append(folder)
        return load_model(folder)

    monkeypatch.setattr(teacher, "load", spy)
    return folders


def train(out: Path, **options: Any) -> dict[str, torch.Tensor]:
    """The weights that a run ends with."""
    fit(small_recipe(**options), out)
    return load_file(out / WEIGHTS_FILE)


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def files_of(cache: Path) -> list[Path]:
    return sorted((cache / "soft_labels").rglob("*.safetensors"))


def views(data: ImageData, epoch: int) -> list[torch.Tensor]:
    """What the steps of an epoch see, put together from what makes it."""
    batches = TrainBatches(data.parts("train"), batch_size=5, augment=Augment(2, True), seed=0, epoch=epoch)
    found = []
    for step, batch in enumerate(batches):
        generator = torch.Generator().manual_seed(derive_seed(0, "cutmix", epoch, step))
        mixes = bool(torch.rand(1, generator=generator) < 0.5)
        found.append(cut_mix(batch.images, generator=generator)[0] if mixes else batch.images)
    return found


def test_labels_are_the_teachers_own_words_on_the_very_images(
    data: ImageData, taught: Path, tmp_path: Path, empty_cache: Path
) -> None:
    fit(small_recipe(teacher=str(taught), **FULL), tmp_path / "run")
    files = files_of(empty_cache)
    assert [path.name for path in files] == ["0.safetensors", "1.safetensors", "2.safetensors"]
    model, spread = load_model(taught), 0.0
    for epoch, path in enumerate(files):
        kept = load_file(path)
        assert len(kept) == STEPS
        for step, images in enumerate(views(data, epoch)):
            with torch.no_grad():
                assert torch.equal(kept[str(step)], model(images).log_softmax(1).half())
            spread = max(spread, float(kept[str(step)].float().softmax(1).std(0).max()))
    assert spread > 0.03  # the teacher tells the images apart


def test_second_run_reads_them_and_gives_the_same_bits(
    taught: Path, tmp_path: Path, empty_cache: Path, loaded: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"teacher": str(taught), "teacher_weight": 0.7, "temperature": 2.0, **FULL}
    first = train(tmp_path / "1", **options)
    assert f"taught by baseline_cnn, {taught}: 0 of 3 epochs are cached" in capsys.readouterr().err.splitlines()
    assert loaded == [taught]
    stamps = [path.stat().st_mtime_ns for path in files_of(empty_cache)]
    again = train(tmp_path / "2", **options)
    assert f"taught by baseline_cnn, {taught}: 3 of 3 epochs are cached" in capsys.readouterr().err.splitlines()
    assert same(first, again)
    # another way to train on the same images
    other = train(tmp_path / "3", **{**options, "lr": 0.02, "channel_sampling": "none", "temperature": 1.0})
    assert not same(first, other)
    assert loaded == [taught]
    assert [path.stat().st_mtime_ns for path in files_of(empty_cache)] == stamps
    untaught = train(tmp_path / "4", **FULL)
    assert not same(first, untaught)
    assert len(files_of(empty_cache)) == 3


def test_resumed_run_ends_with_the_same_bits(
    taught: Path, data: ImageData, tmp_path: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small_recipe(teacher=str(taught), **FULL)
    whole = train(tmp_path / "whole", teacher=str(taught), **FULL)
    (path,) = {path.parent for path in files_of(empty_cache)}
    labels = {file.name: load_file(file) for file in path.iterdir() if file.suffix}
    monkeypatch.setenv("ANYCHAN_CACHE", str(tmp_path / "other"))
    blocked = tmp_path / "other" / path.relative_to(empty_cache) / "1.safetensors" / "in the way"
    blocked.mkdir(parents=True)
    with pytest.raises(DataError, match=re.escape(f"{blocked.parents[1]}: soft labels cannot be written (")):
        fit(recipe, tmp_path / "resumed")
    assert len(read_metrics(tmp_path / "resumed")) == 1
    blocked.rmdir()
    blocked.parent.rmdir()
    fit(recipe, tmp_path / "resumed")
    assert same(load_file(tmp_path / "resumed" / WEIGHTS_FILE), whole)
    for file in files_of(tmp_path / "other"):
        assert same(load_file(file), labels[file.name])


DAMAGE: list[Callable[[bytes], bytes]] = [
    lambda data: data[:-3],
    lambda data: b"nothing",
    lambda data: b"",
    lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    lambda data: data.replace(b'"shape":[5,3]', b'"shape":[3,5]', 1),
    lambda data: data.replace(b'"F16"', b'"I16"', 1),
    lambda data: dump(load(data)),  # without the checksum
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_file_is_made_anew(
    data: ImageData,
    taught: Path,
    tmp_path: Path,
    damage: Callable[[bytes], bytes],
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = Teacher(taught, data)
    batches = views(data, 4)[:2]

    def ask() -> list[torch.Tensor]:
        labels = SoftLabels([words], tmp_path / "kept", steps=2)
        return [labels(images, epoch=4, step=step) for step, images in enumerate(batches)]

    first = ask()
    (path,) = (tmp_path / "kept").rglob("4.safetensors")
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert path.read_bytes() != whole
    for found, expected in zip(ask(), first, strict=True):
        assert torch.equal(found, expected)
    assert capsys.readouterr().err == f"warning: {path}: soft labels are damaged, so they are made anew\n"
    assert path.read_bytes() == whole


def test_absent_folder_is_made_anew(data: ImageData, taught: Path, tmp_path: Path) -> None:
    labels = SoftLabels([Teacher(taught, data)], tmp_path / "kept", steps=1)
    for epoch in range(2):
        shutil.rmtree(tmp_path / "kept", ignore_errors=True)
        labels(views(data, 0)[0], epoch=epoch, step=0)
        assert len(list((tmp_path / "kept").rglob(f"{epoch}.safetensors"))) == 1


def test_an_epoch_that_is_not_whole_is_not_written(
    data: ImageData, taught: Path, tmp_path: Path, empty_cache: Path
) -> None:
    fit(small_recipe(teacher=str(taught), epochs=1), tmp_path / "run", limit_batches=STEPS - 1)
    assert files_of(empty_cache) == []
    labels = SoftLabels([Teacher(taught, data)], tmp_path / "kept", steps=3)
    for epoch, step in ((0, 0), (0, 1), (0, 1), (1, 2)):
        labels(views(data, epoch)[step], epoch=epoch, step=step)
    assert not list((tmp_path / "kept").rglob("*.safetensors"))


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_an_ensemble_is_the_mean_of_probabilities(
    data: ImageData, taught: Path, tmp_path: Path, temperature: float
) -> None:
    other = make_teacher(tmp_path / "other", data, seed=8, outputs=5)
    words = [Teacher(folder, data) for folder in (taught, other)]
    labels = SoftLabels(words, tmp_path / "kept", steps=1, temperature=temperature)
    images = views(data, 0)[0]
    with torch.no_grad():
        logits = [load_model(taught)(images), load_model(other)(images)[:, :3]]
    expected = sum((each / temperature).softmax(1) for each in logits) / 2
    assert isinstance(expected, torch.Tensor)
    again = SoftLabels(words, tmp_path / "kept", steps=1, temperature=temperature)
    for found in (labels(images, epoch=0, step=0), again(images, epoch=0, step=0)):
        torch.testing.assert_close(found, expected, atol=2e-3, rtol=2e-3)
        torch.testing.assert_close(found.sum(1), torch.ones(5))
    assert len(list((tmp_path / "kept").rglob("0.safetensors"))) == 2
    alone = SoftLabels(words[:1], tmp_path / "kept", steps=1, temperature=temperature)(images, epoch=0, step=0)
    assert not torch.allclose(alone, expected, atol=0.02)


def test_a_teacher_that_says_nan_is_told(data: ImageData, taught: Path, tmp_path: Path) -> None:
    weights = load_file(taught / WEIGHTS_FILE)
    save_file({**weights, "head.2.bias": weights["head.2.bias"] * float("nan")}, taught / WEIGHTS_FILE)
    labels = SoftLabels([Teacher(taught, data)], tmp_path / "kept", steps=1)
    with pytest.raises(RunError, match=re.escape(f"train.teacher {taught}: it says NaN of some images")):
        labels(views(data, 0)[0], epoch=0, step=0)
    assert not list((tmp_path / "kept").rglob("*.safetensors"))


# Every option, with a value of another run
IN_VIEWS = {
    **{"batch_size": 4, "crop_padding": 1, "crop_scale": 0.5, "flip": True},
    **{"cutmix": 1.0, "mixup": 1.0, "channel_drop": 0.9},
}
NOT_IN_VIEWS: dict[str, Any] = {
    **{"epochs": 9, "optimizer": "adam", "lr": 0.7, "momentum": 0.5, "weight_decay": 0.1, "schedule": "none"},
    **{"warmup_epochs": 1.0, "min_lr": 0.01, "cooldown_epochs": 1, "layer_lr_decay": 0.5, "freeze": "body"},
    **{"label_smoothing": 0.1, "distill": 0.5, "progressive_sizes": [8, 12]},
    **{"class_weights": "balanced", "teacher": "other", "teacher_weight": 0.5, "temperature": 2.0, "never_hurt": 1.0},
    **{"channel_sampling": "uniform", "subset_weights": {"R": 1.0}, "sandwich": 1, "channels": ["R"]},
    **{"monitor": "last", "patience": 3, "precision": "float32", "ema": 0.9},
    **{"checkpoint_seconds": 0.0, "deterministic": True},
}


def test_every_option_is_known_to_change_the_images_or_not() -> None:
    assert {*IN_VIEWS, *NOT_IN_VIEWS} == {field.name for field in dataclasses.fields(TrainConfig)}
    assert set(NOT_IN_VIEWS) == soft_labels._NOT_IN_VIEWS


@pytest.mark.parametrize(("key", "value"), [*IN_VIEWS.items(), *NOT_IN_VIEWS.items()])
def test_key_changes_where_the_images_do(data: ImageData, taught: Path, key: str, value: Any) -> None:
    value = str(taught) if key == "teacher" else value
    more: dict[str, Any] = {"channel_sampling": "uniform"} if key == "sandwich" else {}
    more |= {"channel_sampling": "weighted"} if key == "subset_weights" else {}
    recipes = small_recipe(), small_recipe(**{**more, key: value})

    def seen(recipe: Recipe) -> list[torch.Tensor]:
        task = ClassificationTask(build_model(recipe, data), recipe, data)
        return [task._mix(batch, step).images.float() for step, batch in enumerate(task.train_dataloader())]

    first, second = map(seen, recipes)
    equal = len(first) == len(second) and all(map(torch.equal, first, second))
    assert equal == (key in NOT_IN_VIEWS)
    assert (views_key(recipes[0], data) == views_key(recipes[1], data)) == equal


def test_key_is_of_all_that_a_teacher_sees(data: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    split = data.splits["train"]

    def key(images: Any = split.images, names: str = "R,G,B", **options: Any) -> str:
        changed = dataclasses.replace(split, images=images)
        channels = data.channels.select(names)
        sources = {"": {**data.splits, "train": changed}}
        return views_key(small_recipe(**options), dataclasses.replace(data, sources=sources, channels=channels))

    other = np.array(split.images)
    assert key(other) == key() == views_key(small_recipe(), data)
    other[7, 3, 3, 1] ^= 1
    found = {key(), key(other), key(seed=1), key(precision="bf16"), key(split.images[:11]), key(split.images[::-1])}
    found |= {key(names="B,G,R")}
    monkeypatch.setattr(torch, "__version__", "1.0")
    found.add(key())
    monkeypatch.setattr(soft_labels, "_VIEWS_VERSION", 0)
    found.add(key())
    assert len(found) == 9


def test_each_source_is_taught_on_its_own_channels(tmp_path: Path) -> None:
    paths = [str(write_sensor(tmp_path / name, ["c1", f"c{number}"])) for number, name in ((2, "one"), (3, "two"))]
    data = load_data(DataConfig(path=paths, size=8), seed=0)
    recipe = Recipe(DataConfig(path=paths, size=8), train=TrainConfig(batch_size=4, teacher=str(tmp_path / "teacher")))
    recipe.model.name, recipe.model.stem = "baseline_cnn", "mean"
    model = build_model(recipe, data).eval()
    save(model, tmp_path / "teacher")
    task = ClassificationTask(build_model(recipe, data), recipe, data)
    assert task.soft_labels is not None
    held = set()
    for step, batch in enumerate(task.train_dataloader()):
        found = task.soft_labels(batch.images, batch.held, epoch=0, step=step)
        with torch.no_grad():
            torch.testing.assert_close(found, model(batch.images, index=batch.held).softmax(1), atol=1e-3, rtol=1e-3)
        assert task.training_step(batch, step).isfinite()
        held.add(batch.held)
    assert held == {(0, 1), (0, 2)}


@pytest.mark.parametrize(
    "options", [{}, {"channel_sampling": "uniform", "sandwich": 1, "distill": 0.25}, {"channels": ["G"]}]
)
@pytest.mark.parametrize(("weight", "temperature"), [(1.0, 1.0), (0.3, 2.0)])
def test_loss_by_hand(
    data: ImageData, taught: Path, options: dict[str, Any], weight: float, temperature: float
) -> None:
    soft: dict[str, Any] = {"teacher": str(taught), "teacher_weight": weight, "temperature": temperature}
    recipe = small_recipe(cutmix=1.0, label_smoothing=0.1, **soft, **options)
    task = ClassificationTask(build_model(recipe, data).eval(), recipe, data)
    split = data.splits["train"]
    batch = Batch(split.tensor.permute(0, 3, 1, 2)[3:10], split.labels[3:10])
    generator = torch.Generator().manual_seed(derive_seed(0, "cutmix", 0, 5))
    torch.rand(1, generator=generator)
    images, partners, share = cut_mix(batch.images, generator=generator)
    own = functional.one_hot(batch.labels, 3).float()
    target = 0.9 * (share * own + (1 - share) * own[partners]) + 0.1 / 3
    with torch.no_grad():
        p = (load_model(taught)(images).log_softmax(1).half().float() / temperature).softmax(1)
    first, *rest = [index or (0, 1, 2) for index in task.channels_of_step(5)]
    logits = task.model(images[:, list(first)], index=first)
    hard = -(target * logits.log_softmax(1)).sum(1).mean()
    kl = (p * (p.log() - (logits / temperature).log_softmax(1))).sum(1).mean()
    expected = (1 - weight) * hard + weight * temperature**2 * kl
    for index in rest:
        logs = task.model(images[:, list(index)], index=index).log_softmax(1)
        expected = expected - (0.75 * target * logs + 0.25 * logits.detach().softmax(1) * logs).sum(1).mean()
    torch.testing.assert_close(task.training_step(batch, 5), expected / (1 + len(rest)))


def test_loading_a_teacher_draws_no_number_of_the_steps(data: ImageData, taught: Path) -> None:
    numbers = []
    for folder in (None, str(taught)):
        recipe = small_recipe(teacher=folder)
        task = ClassificationTask(build_model(recipe, data), recipe, data)
        batch = next(iter(task.train_dataloader()))
        task.training_step(batch, 0)
        numbers.append(float(torch.rand(1)))
    assert numbers[0] == numbers[1]


def test_without_a_teacher_there_are_no_labels(data: ImageData) -> None:
    recipe = small_recipe()
    task = ClassificationTask(build_model(recipe, data), recipe, data)
    assert task.soft_labels is None
    assert task.prepare_teachers() == []
    assert make_soft_labels(recipe, data, task.train_dataloader()) is None


def test_a_teacher_is_no_part_of_the_checkpoint(data: ImageData, taught: Path) -> None:
    recipes = small_recipe(), small_recipe(teacher=str(taught))
    plain, task = (ClassificationTask(build_model(recipe, data), recipe, data) for recipe in recipes)
    task.training_step(next(iter(task.train_dataloader())), 0)
    assert task.state_dict().keys() == plain.state_dict().keys()


def test_nothing_is_written_when_a_teacher_cannot_be(
    data: ImageData, taught: Path, tmp_path: Path, empty_cache: Path
) -> None:
    contract = load_model(taught).contract
    dataclasses.replace(contract, classes=("dog", *contract.classes[1:])).save(taught / CONTRACT_FILE)
    message = f"train.teacher {taught}: of its 3 classes number 0 is 'dog', of the data's 3 it is 'circle'"
    with pytest.raises(ConfigError, match=re.escape(message)):
        fit(small_recipe(teacher=str(taught)), tmp_path / "run")
    (taught / WEIGHTS_FILE).write_bytes(b"nothing")
    contract.save(taught / CONTRACT_FILE)
    with pytest.raises(ContractError, match="the weights cannot be read"):
        fit(small_recipe(teacher=[str(taught)]), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert not (empty_cache / "soft_labels").exists()


def test_relative_teachers_hold_from_anywhere(
    data: ImageData, taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(taught.parent)
    for number, given in enumerate(("teacher", ["teacher", "./teacher"])):
        fit(small_recipe(RGB_SPLIT, teacher=given, epochs=1), tmp_path / str(number), limit_batches=1)
        found = Recipe.load(tmp_path / str(number) / "recipe.yaml").train.teacher
        assert found == (str(taught) if number == 0 else [str(taught)] * 2)


def test_space_is_checked_first(taught: Path, data: ImageData, empty_cache: Path) -> None:
    recipe = small_recipe(teacher=str(taught))
    task = ClassificationTask(build_model(recipe, data), recipe, data)
    assert task.soft_labels is not None
    needed = 2 * 3 * 10**14 * 2 / 2**20  # two epochs of three classes in float16
    message = f"{empty_cache}: the cache needs {needed:.0f} MiB, but "
    with pytest.raises(DataError, match=f"^{re.escape(message)}"):
        task.soft_labels.prepare(epochs=2, images=10**14)
