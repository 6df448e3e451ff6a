import re
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from anychan.errors import ConfigError
from anychan.recipe import DataConfig, ModelConfig, Recipe, TrainConfig, check_recipe_file, check_values

RECIPE = Recipe(
    data=DataConfig(path="somewhere.zip", channels=["sentinel2:B04", "DNA"], num_classes=7, size=97, fit="crop"),
    model=ModelConfig(name="resnet18", stem="completion", options={"entry": "3x3"}, num_outputs=9),
    train=TrainConfig(epochs=3, lr=1e-5, channels=["DNA"], cutmix=0.5, patience=5, precision="float32"),
    seed=11,
)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_recipe_survives_a_file(tmp_path: Path) -> None:
    RECIPE.save(tmp_path / "recipe.yaml")
    assert Recipe.load(tmp_path / "recipe.yaml") == RECIPE


def test_file_keeps_the_order_of_the_fields(tmp_path: Path) -> None:
    RECIPE.save(tmp_path / "recipe.yaml")
    text = (tmp_path / "recipe.yaml").read_text()
    assert re.findall(r"^(\w+):", text, re.MULTILINE) == ["data", "model", "train", "seed"]
    assert re.findall(r"^  (\w+):", text, re.MULTILINE)[:3] == ["path", "channels", "num_classes"]


def test_what_is_left_out_is_the_default(tmp_path: Path) -> None:
    found = Recipe.load(write(tmp_path, "train: {epochs: 2}\n"))
    assert found == Recipe(train=TrainConfig(epochs=2))
    assert Recipe.from_dict({}) == Recipe()


def test_defaults_are_not_shared() -> None:
    first = Recipe()
    first.model.options["entry"] = "3x3"
    assert Recipe().model.options == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: {epoch: 2}\n", "no key is called train.epoch; did you mean train.epochs"),
        ("train: {leraning_rate: 2}\n", "no key is called train.leraning_rate; there are epochs, batch_size"),
        ("sede: 2\n", "no key is called sede; did you mean seed"),
        ("zzz: 2\n", "no key is called zzz; there are data, model, train, seed"),
        ("5: 2\n", "no key is called 5; there are data, model, train, seed"),
        ("train: 5\n", "train must be a mapping of keys, not 5"),
        ("data:\n", "data must be a mapping of keys, not None"),
        ("- data\n", "a recipe is a mapping with the keys data, model, train and seed"),
        ("", "a recipe is a mapping with the keys data, model, train and seed"),
        ("seed: 1\ntrain: {epochs: 2\nmodel: {}\n", "line 3 is not YAML (expected ',' or '}'"),
        ("seed: 1\n\tdata: {}\n", "line 2 is not YAML (found character '\\t'"),
        ("seed: \x01\n", "somewhere is not YAML ("),
    ],
)
def test_bad_recipe_files(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=re.escape(f"{path}: {message}")):
        check_recipe_file(path)


def test_unreadable_recipe_files(tmp_path: Path) -> None:
    absent, binary = tmp_path / "absent.yaml", tmp_path / "binary.yaml"
    binary.write_bytes(b"\x80\x81")
    reasons = {absent: "No such file or directory", tmp_path: "Is a directory", binary: "not a text file"}
    for path, reason in reasons.items():
        with pytest.raises(ConfigError, match=re.escape(f"{path}: the recipe cannot be read ({reason})")):
            Recipe.load(path)


def test_options_of_a_model_are_free(tmp_path: Path) -> None:
    values = check_recipe_file(write(tmp_path, "model: {options: {anything: 1}}\n"))
    assert values == {"model": {"options": {"anything": 1}}}


def changed(key: str, value: Any) -> Recipe:
    """A recipe with one value changed, and fractions that leave room for it."""
    values = Recipe().to_dict()
    section, _, name = key.rpartition(".")
    (values[section] if section else values)[name] = value
    return Recipe.from_dict(values)


LIMITS = [
    ("data.size", 0, 1, "1 or more"),
    ("data.num_classes", 1, 2, "2 or more"),
    ("data.val_fraction", 0.0, 0.01, "above 0 and below 1"),
    ("data.val_fraction", 1.0, 0.8, "above 0 and below 1"),
    ("data.test_fraction", 0.0, 0.01, "above 0 and below 1"),
    ("data.test_fraction", 1.0, 0.8, "above 0 and below 1"),
    ("train.epochs", 0, 1, "1 or more"),
    ("train.batch_size", 0, 1, "1 or more"),
    ("train.lr", 0.0, 1e-9, "above 0"),
    ("train.lr", float("nan"), 5.0, "above 0"),
    ("train.momentum", -0.1, 0.0, "0 or more and below 1"),
    ("train.momentum", 1.0, 0.99, "0 or more and below 1"),
    ("train.weight_decay", -1e-9, 0.0, "0 or more"),
    ("train.layer_lr_decay", 0.0, 0.01, "above 0 and at most 1"),
    ("train.layer_lr_decay", 1.01, 1.0, "above 0 and at most 1"),
    ("train.channel_drop", -0.1, 0.0, "between 0 and 1"),
    ("train.channel_drop", 1.1, 1.0, "between 0 and 1"),
    ("train.cutmix", -0.1, 0.0, "between 0 and 1"),
    ("train.cutmix", 1.1, 1.0, "between 0 and 1"),
    ("train.label_smoothing", -0.1, 0.0, "0 or more and below 1"),
    ("train.label_smoothing", 1.0, 0.99, "0 or more and below 1"),
    ("train.crop_padding", -1, 0, "0 or more"),
    ("train.warmup_epochs", -0.5, 0, "0 or more and below train.epochs"),
    ("train.warmup_epochs", 20, 19.5, "0 or more and below train.epochs"),
    ("train.patience", 0, 1, "1 or more"),
    ("seed", -1, 0, "0 or more"),
]


@pytest.mark.parametrize(("key", "bad", "good", "allowed"), LIMITS)
def test_each_limit(key: str, bad: float, good: float, allowed: str) -> None:
    check_values(changed(key, good))
    with pytest.raises(ConfigError, match=re.escape(f"{key} is {bad}, but it must be {allowed}")):
        check_values(changed(key, bad))


def test_what_is_frozen_is_a_word_or_names() -> None:
    check_values(changed("train.freeze", ["stem", "body.bn1"]))
    with pytest.raises(ConfigError, match=r"train\.freeze is 'bod', but it must be none or body or list"):
        check_values(changed("train.freeze", "bod"))
    with pytest.raises(ConfigError, match=r"model\.new_channels is 'mean', but it must be error or nearest or zero or"):
        check_values(changed("model.new_channels", "mean"))


def test_fractions_must_leave_training_images() -> None:
    message = "data.val_fraction + data.test_fraction is 1.0, but it must be below 1"
    with pytest.raises(ConfigError, match=re.escape(message)):
        check_values(Recipe(data=DataConfig(val_fraction=0.5, test_fraction=0.5)))


@pytest.mark.parametrize("sampling", ["uniform", "uniform_size"])
def test_channels_are_fixed_or_sampled(sampling: Literal["uniform", "uniform_size"]) -> None:
    check_values(Recipe(train=TrainConfig(channels=["R", "B"])))
    message = "train.channels and train.channel_sampling were both given; give one"
    with pytest.raises(ConfigError, match=re.escape(message)):
        check_values(Recipe(train=TrainConfig(channels=["R"], channel_sampling=sampling)))


def test_options_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"train\.channels and train\.channel_drop were both given; give one"):
        check_values(Recipe(train=TrainConfig(channels=["R"], channel_drop=0.3)))
    with pytest.raises(ConfigError, match=r"train\.patience needs a train\.monitor that can get worse; 'last' never"):
        check_values(Recipe(train=TrainConfig(monitor="last", patience=2)))


def test_every_number_of_the_recipe_has_a_limit() -> None:
    limited = {key for key, *_ in LIMITS}
    values = Recipe().to_dict()
    numbers = {
        f"{section}.{key}"
        for section in ("data", "train")
        for key, value in values[section].items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    assert numbers - limited == set()


def test_defaults_are_allowed() -> None:
    check_values(Recipe())
    check_values(RECIPE)


def test_saved_numbers_stay_numbers(tmp_path: Path) -> None:
    RECIPE.save(tmp_path / "recipe.yaml")
    assert yaml.safe_load((tmp_path / "recipe.yaml").read_text())["train"]["lr"] == 1e-5
