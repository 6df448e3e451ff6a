import dataclasses
import re
from typing import Any, Literal

import pytest

from anychan.errors import ConfigError
from anychan.recipe import DataConfig, ModelConfig, Recipe, TrainConfig
from anychan.recipe_checks import check_values


def changed(key: str, value: Any) -> Recipe:
    """A recipe with one value changed, and fractions that leave room for it."""
    values = Recipe().to_dict()
    section, _, name = key.rpartition(".")
    (values[section] if section else values)[name] = value
    return Recipe.from_dict(values)


LIMITS = [
    ("data.size", 0, 1, "1 or more"),
    ("data.num_classes", 1, 2, "2 or more"),
    ("model.num_outputs", 0, 1, "from 1 to 1,000,000"),
    ("model.num_outputs", 10**12, 10**6, "from 1 to 1,000,000"),
    ("data.patch", 0, 1, "1 or more"),
    ("data.patch_stride", 0, 1, "1 or more"),
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
    ("train.sandwich", -1, 0, "0 or more"),
    ("train.distill", -0.1, 0.0, "between 0 and 1"),
    ("train.distill", 1.1, 0.0, "between 0 and 1"),
    ("train.teacher_weight", 0.0, 1.0, "above 0 and at most 1"),
    ("train.teacher_weight", 1.01, 1.0, "above 0 and at most 1"),
    ("train.temperature", 0.0, 1.0, "above 0"),
    ("train.temperature", float("inf"), 1.0, "above 0"),
    ("train.never_hurt", -0.1, 0.0, "0 or more"),
    ("train.never_hurt", float("inf"), 0.0, "0 or more"),
    ("train.cutmix", -0.1, 0.0, "between 0 and 1"),
    ("train.cutmix", 1.1, 1.0, "between 0 and 1"),
    ("train.mixup", -0.1, 0.0, "between 0 and 1"),
    ("train.mixup", 1.1, 1.0, "between 0 and 1"),
    ("train.ema", -0.1, 0.0, "0 or more and below 1"),
    ("train.ema", 1.0, 0.9999, "0 or more and below 1"),
    ("train.label_smoothing", -0.1, 0.0, "0 or more and below 1"),
    ("train.label_smoothing", 1.0, 0.99, "0 or more and below 1"),
    ("train.crop_padding", -1, 0, "0 or more"),
    ("train.crop_scale", 0.0, 0.01, "above 0 and at most 1"),
    ("train.crop_scale", 1.1, 1.0, "above 0 and at most 1"),
    ("train.warmup_epochs", -0.5, 0, "0 or more and below train.epochs"),
    ("train.warmup_epochs", 20, 19.5, "0 or more and below train.epochs"),
    ("train.min_lr", -0.1, 0, "0 or more and at most train.lr"),
    ("train.min_lr", 0.2, 0.1, "0 or more and at most train.lr"),
    ("train.cooldown_epochs", -1, 0, "0 or more and below what train.warmup_epochs leaves of train.epochs"),
    ("train.patience", 0, 1, "1 or more"),
    ("train.checkpoint_seconds", -1.0, 0.0, "0 or more"),
    ("seed", -1, 0, "0 or more"),
]


@pytest.mark.parametrize(("key", "bad", "good", "allowed"), LIMITS)
def test_each_limit(key: str, bad: float, good: float, allowed: str) -> None:
    check_values(changed(key, good))
    with pytest.raises(ConfigError, match=re.escape(f"{key} is {bad}, but it must be {allowed}")):
        check_values(changed(key, bad))


def test_a_cooldown_has_a_rate_and_a_schedule() -> None:
    recipe = changed("train.min_lr", 0.001)
    recipe.train.cooldown_epochs, recipe.train.warmup_epochs = recipe.train.epochs - 3, 2
    check_values(recipe)
    recipe.train.cooldown_epochs += 1
    with pytest.raises(ConfigError, match=r"train\.cooldown_epochs is \d+, but it must be 0 or more and below what"):
        check_values(recipe)
    with pytest.raises(ConfigError, match=r"train\.cooldown_epochs would learn nothing at a train\.min_lr of 0"):
        check_values(changed("train.cooldown_epochs", 2))
    recipe = changed("train.min_lr", 0.001)
    recipe.train.schedule = "none"
    with pytest.raises(ConfigError, match=r"train\.min_lr is about the end of a schedule"):
        check_values(recipe)


def test_a_first_layer_is_whitened_by_channels_that_are_trained() -> None:
    recipe = changed("train.channels", ["R"])
    check_values(recipe)
    recipe.model.whiten_stem = True
    with pytest.raises(ConfigError, match=r"^model\.whiten_stem would learn from the channels that train\.channels"):
        check_values(recipe)


@pytest.mark.parametrize("key", ["pretrained", "init_from"])
def test_a_first_layer_begins_in_one_way(key: str) -> None:
    recipe = changed("model.whiten_stem", True)
    check_values(recipe)
    setattr(recipe.model, key, "folder")
    with pytest.raises(ConfigError, match=rf"^model\.whiten_stem and model\.{key} were both given; give"):
        check_values(recipe)


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


def test_a_step_mixes_in_one_way_at_most() -> None:
    check_values(Recipe(train=TrainConfig(cutmix=0.7, mixup=0.3)))
    message = "train.cutmix + train.mixup is 1.25, but it must be at most 1, as a step does at most one of them"
    with pytest.raises(ConfigError, match=re.escape(message)):
        check_values(Recipe(train=TrainConfig(cutmix=0.75, mixup=0.5)))


def test_sizes_are_at_most_the_datas() -> None:
    for good in ([32], [16, 24, 32, 32], [32, 1]):
        check_values(changed("train.progressive_sizes", good))
    for bad in ([], [16, 33], [0], [16.0], [True]):
        message = f"train.progressive_sizes is {bad}, but each must be from 1 to 32, which is data.size"
        with pytest.raises(ConfigError, match=re.escape(message)):
            check_values(changed("train.progressive_sizes", bad))
    with pytest.raises(ConfigError, match=r"train\.progressive_sizes is 16, but it must be list or nothing"):
        check_values(changed("train.progressive_sizes", 16))


def test_sizes_are_no_more_than_the_epochs() -> None:
    check_values(Recipe(train=TrainConfig(epochs=2, progressive_sizes=[16, 32])))
    with pytest.raises(ConfigError, match=r"^train\.progressive_sizes has 2 sizes, but train\.epochs is 1; give at"):
        check_values(Recipe(train=TrainConfig(epochs=1, progressive_sizes=[16, 32])))


@pytest.mark.parametrize("bad", [[], [1.0], [0, 1, 2], [5, 5], [99, 1], [-1, 50], [1, 101], [True, 2], ["a", 2]])
def test_percentiles_are_a_low_and_a_high_one(bad: list[Any]) -> None:
    check_values(Recipe(DataConfig(normalize="percentile", percentiles=[0, 100])))
    message = f"data.percentiles is {bad}, but it must be a low and a high number from 0 to 100, as [0.1, 99.9]"
    with pytest.raises(ConfigError, match=re.escape(message)):
        check_values(Recipe(DataConfig(normalize="percentile", percentiles=bad)))


def test_percentiles_need_their_normalization() -> None:
    with pytest.raises(ConfigError, match=r"data.percentiles needs data.normalize percentile, not dataset"):
        check_values(Recipe(DataConfig(percentiles=[1, 99])))


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


@pytest.mark.parametrize("weight", [0, -1.0, float("nan"), float("inf"), "much"])
def test_weights_of_subsets_are_above_zero(weight: Any) -> None:
    train = TrainConfig(channel_sampling="weighted", subset_weights={"R,G": 2, "B": weight})
    with pytest.raises(ConfigError, match=f"train.subset_weights of B is {weight}, but it must be above 0"):
        check_values(Recipe(train=train))
    check_values(Recipe(train=dataclasses.replace(train, subset_weights={"R,G": 2, "B": 0.5})))


def test_weights_name_a_subset() -> None:
    with pytest.raises(ConfigError, match=r"train\.subset_weights names no subset; give each one that is to be drawn"):
        check_values(Recipe(train=TrainConfig(channel_sampling="weighted", subset_weights={})))


@pytest.mark.parametrize("train", [{"channel_sampling": "weighted"}, {"subset_weights": {"R": 1.0}}])
def test_weights_and_their_sampler_go_together(train: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"train\.subset_weights and train\.channel_sampling weighted go together"):
        check_values(Recipe(train=TrainConfig(**train)))


def test_passes_are_compared_in_a_sandwich_alone() -> None:
    with pytest.raises(ConfigError, match=r"train\.sandwich needs a train\.channel_sampling that draws its subsets"):
        check_values(Recipe(train=TrainConfig(sandwich=1)))
    for key in ("distill", "never_hurt"):
        train = TrainConfig(channel_sampling="uniform", **{key: 0.5})  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match=rf"train\.{key} compares the passes of a sandwich step; give"):
            check_values(Recipe(train=train))
        check_values(Recipe(train=dataclasses.replace(train, sandwich=1)))


@pytest.mark.parametrize("teacher", ["run", ["run"], ["run", "other"]])
def test_what_a_teacher_needs(teacher: str | list[str]) -> None:
    check_values(Recipe(train=TrainConfig(teacher=teacher, teacher_weight=0.5, temperature=4)))
    for key in ("teacher_weight", "temperature"):
        message = rf"train\.{key} is about the soft labels of a teacher; give train\.teacher too"
        with pytest.raises(ConfigError, match=message):
            check_values(changed(f"train.{key}", 0.5))


@pytest.mark.parametrize("bad", ["", [], [1], ["run", ""]])
def test_a_teacher_is_a_folder(bad: Any) -> None:
    message = f"train.teacher is {bad!r}, but it must be a folder, or a list of folders"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        check_values(changed("train.teacher", bad))


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


def test_weights_to_begin_with_are_given_once() -> None:
    check_values(Recipe(model=ModelConfig(init_from="a")))
    check_values(Recipe(model=ModelConfig(pretrained="b")))
    with pytest.raises(ConfigError, match=r"^model\.pretrained and model\.init_from were both given; give the weights"):
        check_values(Recipe(model=ModelConfig(init_from="a", pretrained="b")))
