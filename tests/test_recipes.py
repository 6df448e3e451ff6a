"""The recipes that users are pointed to: each does what its first line and its report say."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from anychan.cli import main
from anychan.data.dataset import load_data
from anychan.models.catalog import create_model
from anychan.recipe import DataConfig, ModelConfig, Recipe, TrainConfig, check_recipe_file
from anychan.recipe_checks import check_values
from anychan.training.fit import build_model, fit
from anychan.training.task import ClassificationTask
from tests.runs import RGB_SPLIT, ROOT, read_metrics

RECIPES = ROOT / "recipes"
FILES = sorted(path.relative_to(RECIPES).with_suffix("").as_posix() for path in RECIPES.rglob("*.yaml"))

# Name → model, parameters, pixels, patience, channel drop: the rows of report 1. It has 50 classes.
REPORT1 = {
    "dynamic_cnn_v1": ("dynamic_cnn_v1", 31_570, 32, 5, 0.0),
    "dynamic_cnn_v1_drop": ("dynamic_cnn_v1", 31_570, 32, 5, 0.3),
    "dynamic_cnn_v2": ("dynamic_cnn_v2", 63_314, 32, 5, 0.0),
    "dynamic_cnn_v2_drop": ("dynamic_cnn_v2", 63_314, 32, 5, 0.3),
    "baseline_cnn": ("baseline_cnn", 22_834, 32, 5, 0.0),
    "baseline_cnn_drop": ("baseline_cnn", 22_834, 32, 5, 0.3),
    "resnet34": ("resnet34", 21_310_322, 224, 10, 0.0),
    "simple_2layer_cnn": ("simple_2layer_cnn", 237_746, 224, 10, 0.0),
    "se_2layer_cnn": ("se_2layer_cnn", 240_510, 224, 10, 0.0),
    "simple_4layer_cnn": ("simple_4layer_cnn", 301_106, 224, 10, 0.0),
}
# Name → model, parameters with 100 outputs, channels: the rows of report 2.
REPORT2: dict[str, tuple[str, int, list[str] | None]] = {
    "dynamic_resnet12_rgb": ("dynamic_resnet12", 17_446_699, None),
    "dynamic_resnet12_r": ("dynamic_resnet12", 17_446_699, ["R"]),
    "dynamic_resnet12_g": ("dynamic_resnet12", 17_446_699, ["G"]),
    "dynamic_resnet12_b": ("dynamic_resnet12", 17_446_699, ["B"]),
    "dynamic_resnet12_rg": ("dynamic_resnet12", 17_446_699, ["R", "G"]),
    "dynamic_resnet12_rb": ("dynamic_resnet12", 17_446_699, ["R", "B"]),
    "dynamic_resnet12_gb": ("dynamic_resnet12", 17_446_699, ["G", "B"]),
    "wide_cnn4": ("wide_cnn4", 2_068_132, None),
    "resnet34": ("resnet34", 21_335_972, None),
}
PER_COUNT = {"channel_sampling": "uniform_size", "monitor": "last", "patience": None}
# Name → the report's row that it improves, and what it changes there; no change takes or adds a parameter.
SUGGESTIONS: dict[str, tuple[str, dict[str, dict[str, Any]]]] = {
    "dynamic_cnn_v1_per_count": (
        "report1/dynamic_cnn_v1",
        {"model": {"stem": "generator_per_count"}, "train": PER_COUNT},
    ),
    "dynamic_cnn_v2_per_count": (
        "report1/dynamic_cnn_v2",
        {"model": {"stem": "generator_per_count"}, "train": PER_COUNT},
    ),
    "dynamic_resnet12_top2": ("report2/dynamic_resnet12_rgb", {"model": {"options": {"top_k": 2}}}),
    "wide_cnn4_conv_gate": ("report2/wide_cnn4", {"model": {"options": {"gate": "conv"}}}),
    "wide_cnn4_cutmix": ("report2/wide_cnn4", {"train": {"cutmix": 0.5}}),
    "wide_cnn4_drop_block": ("report2/wide_cnn4", {"model": {"options": {"drop_block": 0.1}}}),
    "wide_cnn4_dropout": ("report2/wide_cnn4", {"model": {"options": {"dropout": 0.2}}}),
    "wide_cnn4_stride1": ("report2/wide_cnn4", {"model": {"options": {"strides": [1, 2, 2, 2]}}}),
}
# Name → model, parameters with 50 classes: the networks given everything.
STRONG = {
    "strong/resnet34": ("resnet34", 21_302_642),
    "strong/shallow2": ("shallow2_l", 3_344_318),
    "strong/shallow4": ("shallow4_l", 6_433_962),
}
ROWS = {
    **{f"report1/{name}": params for name, (_, params, *_) in REPORT1.items()},
    **{f"report2/{name}": params for name, (_, params, *_) in REPORT2.items()},
}
OTHERS = ("channel_vit_tiny", "demo_model", "dynamic_resnet12", "plain", "quickstart", "specialist")
PARAMS = {**ROWS, **{f"suggestions/{name}": ROWS[base] for name, (base, _) in SUGGESTIONS.items()}}


def recipe_of(name: str) -> Recipe:
    return Recipe.load(RECIPES / f"{name}.yaml")


def test_every_row_of_the_reports_has_its_recipe() -> None:
    assert len(ROWS) == 19
    assert set(FILES) == {*PARAMS, *STRONG, *OTHERS}
    assert {path.suffix for path in RECIPES.rglob("*") if path.is_file()} == {".yaml"}


@pytest.mark.parametrize("name", FILES)
def test_first_line_is_its_command(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    path = RECIPES / f"{name}.yaml"
    values = check_recipe_file(path)
    assert values.keys() == {"data", "model", "train", "seed"}
    check_values(recipe_of(name))
    first = path.read_text().splitlines()[0]
    assert first.startswith(f"# anychan train --config recipes/{name}.yaml --data.path path/to/")
    command = shlex.split(first.removeprefix("# anychan "))
    with pytest.raises(SystemExit) as left:
        main([*command, "--print_config"])
    assert left.value.code == 0
    found = yaml.safe_load(capsys.readouterr().out)
    assert found.pop("out") == f"runs/{name}"
    assert found["data"].pop("path").startswith("path/to/")
    expected = recipe_of(name).to_dict()
    assert expected["data"].pop("path") == ""
    assert found == expected


@pytest.mark.parametrize("name", REPORT1)
def test_protocol_of_report_1(name: str) -> None:
    model, _, size, patience, channel_drop = REPORT1[name]
    data = DataConfig(size=size, fit="squash", grey="repeat", normalize="unit")
    train = TrainConfig(
        epochs=40,
        batch_size=10,
        optimizer="adam",
        lr=1e-3,
        weight_decay=0.0,
        schedule="none",
        warmup_epochs=0.0,
        label_smoothing=0.0,
        channel_drop=channel_drop,
        crop_padding=0,
        flip=False,
        monitor="val_loss",
        patience=patience,
        precision="float32",
    )
    assert recipe_of(f"report1/{name}") == Recipe(data, ModelConfig(model, "zero"), train, seed=0)


@pytest.mark.parametrize("name", REPORT2)
def test_protocol_of_report_2(name: str) -> None:
    model, _, channels = REPORT2[name]
    data = DataConfig(size=84, fit="squash", grey="repeat", normalize="imagenet")
    train = TrainConfig(
        epochs=100,
        batch_size=128,
        optimizer="sgd",
        lr=0.1,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="cosine",
        warmup_epochs=0.0,
        label_smoothing=0.1,
        channels=channels,
        channel_drop=0.0,
        crop_padding=4,
        flip=True,
        patience=None,
        precision="float32",
    )
    assert recipe_of(f"report2/{name}") == Recipe(data, ModelConfig(model, "mean", num_outputs=100), train, seed=0)


@pytest.mark.parametrize("name", SUGGESTIONS)
def test_suggestion_changes_one_thing(name: str) -> None:
    base, changes = SUGGESTIONS[name]
    expected = recipe_of(base).to_dict()
    for section, entries in changes.items():
        expected[section].update(entries)
    assert recipe_of(f"suggestions/{name}").to_dict() == expected


@pytest.mark.parametrize("name", STRONG)
def test_strong_recipes_leave_nothing_out(name: str) -> None:
    recipe = recipe_of(name)
    train = recipe.train
    assert recipe.model.name == STRONG[name][0]
    assert train.flip
    assert train.schedule == "cosine"
    assert train.epochs >= 60
    for key in ("cutmix", "mixup", "ema", "label_smoothing", "crop_padding", "weight_decay", "warmup_epochs"):
        assert getattr(train, key) > 0, key


@pytest.mark.parametrize("name", [*PARAMS, *STRONG])
def test_parameters_at_full_scale(name: str) -> None:
    recipe = recipe_of(name)
    config, outputs = recipe.model, recipe.model.num_outputs or 50
    with torch.device("meta"):
        model = create_model(config.name, num_classes=outputs, stem=config.stem, options=config.options)
    expected = PARAMS[name] if name in PARAMS else STRONG[name][1]
    assert sum(parameter.numel() for parameter in model.parameters()) == expected
    model.check_size(recipe.data.size, recipe.data.size)


def small_data(recipe: Recipe) -> Recipe:
    """The recipe on the fixture's 12 training images of 3 classes, at 40 pixels."""
    return replace(recipe, data=replace(recipe.data, path=str(RGB_SPLIT), size=40))


@pytest.mark.parametrize("name", PARAMS)
def test_data_and_optimizer(name: str) -> None:
    recipe = small_data(recipe_of(name))
    data = load_data(recipe.data, seed=recipe.seed)
    assert {split: part.images.shape for split, part in data.splits.items()} == {
        "train": (12, 40, 40, 3),
        "val": (6, 40, 40, 3),
        "test": (6, 40, 40, 3),
    }
    with torch.device("meta"):
        model = build_model(recipe, data)
    task = ClassificationTask(model, recipe, data)
    contract, found = model.contract, task.configure_optimizers()
    row = SUGGESTIONS[Path(name).name][0] if name.startswith("suggestions/") else name
    if row.startswith("report1/"):
        assert (contract.offset, contract.scale, contract.outputs) == ((0, 0, 0), (255, 255, 255), 3)
        assert type(found) is torch.optim.Adam
        (group,) = found.param_groups
        assert (group["lr"], group["weight_decay"]) == (1e-3, 0)
        assert len(task.train_dataloader()) == 2  # 10 images, and then 2
    else:
        assert contract.offset == pytest.approx((255 * 0.485, 255 * 0.456, 255 * 0.406))
        assert contract.scale == pytest.approx((255 * 0.229, 255 * 0.224, 255 * 0.225))
        assert contract.outputs == 100
        assert type(found["optimizer"]) is torch.optim.SGD
        (group,) = found["optimizer"].param_groups
        assert (group["initial_lr"], group["momentum"], group["weight_decay"]) == (0.1, 0.9, 5e-4)
        (factor,) = found["lr_scheduler"]["scheduler"].lr_lambdas
        assert [factor(step) for step in (0, 50, 100)] == pytest.approx([1, 0.5, 0])  # a step is an epoch here
        assert task.loss.label_smoothing == 0.1
    assert len(group["params"]) == len(list(model.parameters()))


@pytest.mark.parametrize("name", STRONG)
def test_strong_recipes_train(name: str, tmp_path: Path) -> None:
    """A smaller network, for two epochs."""
    recipe = small_data(recipe_of(name))
    assert recipe.train.progressive_sizes == [40, 48, 64, 64]
    recipe.train.progressive_sizes = [32, 40]
    recipe.model = ModelConfig("resnet8")
    recipe.train.epochs, recipe.train.warmup_epochs, recipe.train.batch_size = 2, 1, 4
    model = fit(recipe, tmp_path)
    start = build_model(recipe, load_data(recipe.data, seed=recipe.seed))
    idle = [key for key, value in model.named_parameters() if torch.equal(value, start.get_parameter(key))]
    assert idle == []
    assert all(0.5 < row["train_loss"] < 4 for row in read_metrics(tmp_path))


@pytest.mark.parametrize("name", ["report1/baseline_cnn_drop", "report2/dynamic_resnet12_rb"])
def test_one_step(name: str, tmp_path: Path) -> None:
    """On files listed as mini-ImageNet's are: `images/n0153282900000005.jpg 0`."""
    recipe = small_data(recipe_of(name))
    recipe.train.epochs = 1
    assert (RGB_SPLIT / "train.txt").read_text().startswith("images/circle/circle_0.jpg 0\n")
    model = fit(recipe, tmp_path, limit_batches=1)
    start = build_model(recipe, load_data(recipe.data, seed=recipe.seed))
    idle = [key for key, value in model.named_parameters() if torch.equal(value, start.get_parameter(key))]
    assert idle == []
    (row,) = read_metrics(tmp_path)
    assert 0.5 < row["train_loss"] < 8
