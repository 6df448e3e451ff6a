"""What the values of a recipe may be: types, choices, limits, and what cannot go together."""

from __future__ import annotations

import dataclasses
import math
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from anychan.errors import ConfigError
from anychan.recipe import DataConfig, ModelConfig, Recipe, TrainConfig

__all__ = ["check_values"]

Limit = tuple[str, float | None, bool, str]  # key, its value, whether it holds, what is allowed


def _check_types(section: Any, prefix: str) -> None:
    for key, kind in get_type_hints(type(section)).items():
        value = getattr(section, key)
        if dataclasses.is_dataclass(kind):
            _check_types(value, f"{prefix}{key}.")
            continue
        # Literal | list is a typing.Union
        choices = get_args(kind) if isinstance(kind, UnionType) or get_origin(kind) is Union else (kind,)
        allowed = tuple(
            str(option) for choice in choices if get_origin(choice) is Literal for option in get_args(choice)
        )
        types = tuple(get_origin(choice) or choice for choice in choices if get_origin(choice) is not Literal)
        fits = isinstance(value, types) or value in allowed or (float in types and isinstance(value, int))
        if not fits or (isinstance(value, bool) and bool not in types):
            names = (*allowed, *("nothing" if kind is NoneType else kind.__name__ for kind in types))
            raise ConfigError(f"{prefix}{key} is {value!r:.80}, but it must be {' or '.join(names)}")


def _check_combinations(train: TrainConfig) -> None:
    if train.channels is not None and train.channel_sampling != "none":
        raise ConfigError("train.channels and train.channel_sampling were both given; give one")
    if train.channels is not None and train.channel_drop:
        raise ConfigError("train.channels and train.channel_drop were both given; give one")
    if (train.channel_sampling == "weighted") != (train.subset_weights is not None):
        raise ConfigError("train.subset_weights and train.channel_sampling weighted go together; give both or neither")
    if train.subset_weights == {}:
        raise ConfigError('train.subset_weights names no subset; give each one that is to be drawn, as {"R,G": 2}')
    if train.sandwich and train.channel_sampling == "none":
        raise ConfigError("train.sandwich needs a train.channel_sampling that draws its subsets")
    for key in ("distill", "never_hurt"):
        if getattr(train, key) and not train.sandwich:
            raise ConfigError(f"train.{key} compares the passes of a sandwich step; give train.sandwich too")
    teachers = [train.teacher] if isinstance(train.teacher, str) else train.teacher
    if teachers is not None and not (teachers and all(isinstance(each, str) and each for each in teachers)):
        raise ConfigError(f"train.teacher is {train.teacher!r}, but it must be a folder, or a list of folders")
    for key in ("teacher_weight", "temperature"):
        if train.teacher is None and getattr(train, key) != 1:
            raise ConfigError(f"train.{key} is about the soft labels of a teacher; give train.teacher too")
    for key in ("min_lr", "cooldown_epochs"):
        if getattr(train, key) and train.schedule == "none":
            raise ConfigError(f"train.{key} is about the end of a schedule; give train.schedule cosine")
    if train.cooldown_epochs and not train.min_lr:
        raise ConfigError("train.cooldown_epochs would learn nothing at a train.min_lr of 0; give one above 0")
    if train.monitor == "last" and train.patience is not None:
        raise ConfigError("train.patience needs a train.monitor that can get worse; 'last' never does")


def _check_model(model: ModelConfig, train: TrainConfig) -> None:
    if model.pretrained is not None and model.init_from is not None:
        raise ConfigError("model.pretrained and model.init_from were both given; give the weights to begin with once")
    for key in ("pretrained", "init_from"):
        if model.whiten_stem and getattr(model, key) is not None:
            raise ConfigError(f"model.whiten_stem and model.{key} were both given; give the weights to begin with once")
    if model.whiten_stem and train.channels is not None:
        raise ConfigError("model.whiten_stem would learn from the channels that train.channels leaves out; give one")


def _check_percentiles(data: DataConfig) -> None:
    numbers = [isinstance(value, int | float) and not isinstance(value, bool) for value in data.percentiles]
    if len(numbers) != 2 or not all(numbers) or not 0 <= data.percentiles[0] < data.percentiles[1] <= 100:
        raise ConfigError(
            f"data.percentiles is {data.percentiles}, but it must be a low and a high number from 0 to 100, as "
            f"{DataConfig().percentiles}"
        )
    if data.normalize != "percentile" and data.percentiles != DataConfig().percentiles:
        raise ConfigError(f"data.percentiles needs data.normalize percentile, not {data.normalize}")


def _check_sizes(recipe: Recipe) -> None:
    sizes, size, epochs = recipe.train.progressive_sizes, recipe.data.size, recipe.train.epochs
    if sizes is None:
        return
    if not sizes or not all(type(each) is int and 1 <= each <= size for each in sizes):
        raise ConfigError(f"train.progressive_sizes is {sizes}, but each must be from 1 to {size}, which is data.size")
    if len(sizes) > epochs:
        raise ConfigError(
            f"train.progressive_sizes has {len(sizes)} sizes, but train.epochs is {epochs}; give at most one an epoch"
        )


def _data_limits(data: DataConfig) -> list[Limit]:
    held_out = data.val_fraction + data.test_fraction
    return [
        ("data.size", data.size, data.size >= 1, "1 or more"),
        (
            "data.num_classes",
            data.num_classes,
            data.num_classes is None or data.num_classes >= 2,
            "2 or more",
        ),
        ("data.val_fraction", data.val_fraction, 0 < data.val_fraction < 1, "above 0 and below 1"),
        ("data.test_fraction", data.test_fraction, 0 < data.test_fraction < 1, "above 0 and below 1"),
        ("data.val_fraction + data.test_fraction", held_out, held_out < 1, "below 1"),
        ("data.patch", data.patch, data.patch >= 1, "1 or more"),
        ("data.patch_stride", data.patch_stride, data.patch_stride >= 1, "1 or more"),
    ]


def _train_limits(train: TrainConfig) -> list[Limit]:
    warmup, mixed = train.warmup_epochs, train.cutmix + train.mixup
    cooldown, before = train.cooldown_epochs, "0 or more and below what train.warmup_epochs leaves of train.epochs"
    limits = [
        ("train.epochs", train.epochs, train.epochs >= 1, "1 or more"),
        ("train.batch_size", train.batch_size, train.batch_size >= 1, "1 or more"),
        ("train.lr", train.lr, 0 < train.lr < math.inf, "above 0"),
        ("train.momentum", train.momentum, 0 <= train.momentum < 1, "0 or more and below 1"),
        ("train.weight_decay", train.weight_decay, 0 <= train.weight_decay < math.inf, "0 or more"),
        ("train.layer_lr_decay", train.layer_lr_decay, 0 < train.layer_lr_decay <= 1, "above 0 and at most 1"),
        ("train.channel_drop", train.channel_drop, 0 <= train.channel_drop <= 1, "between 0 and 1"),
        ("train.sandwich", train.sandwich, train.sandwich >= 0, "0 or more"),
        ("train.distill", train.distill, 0 <= train.distill <= 1, "between 0 and 1"),
        ("train.teacher_weight", train.teacher_weight, 0 < train.teacher_weight <= 1, "above 0 and at most 1"),
        ("train.temperature", train.temperature, 0 < train.temperature < math.inf, "above 0"),
        ("train.never_hurt", train.never_hurt, 0 <= train.never_hurt < math.inf, "0 or more"),
        ("train.cutmix", train.cutmix, 0 <= train.cutmix <= 1, "between 0 and 1"),
        ("train.mixup", train.mixup, 0 <= train.mixup <= 1, "between 0 and 1"),
        ("train.cutmix + train.mixup", mixed, mixed <= 1, "at most 1, as a step does at most one of them"),
        ("train.ema", train.ema, 0 <= train.ema < 1, "0 or more and below 1"),
        (
            "train.label_smoothing",
            train.label_smoothing,
            0 <= train.label_smoothing < 1,
            "0 or more and below 1",
        ),
        ("train.crop_padding", train.crop_padding, train.crop_padding >= 0, "0 or more"),
        ("train.crop_scale", train.crop_scale, 0 < train.crop_scale <= 1, "above 0 and at most 1"),
        ("train.warmup_epochs", warmup, 0 <= warmup < train.epochs, "0 or more and below train.epochs"),
        ("train.min_lr", train.min_lr, 0 <= train.min_lr <= train.lr, "0 or more and at most train.lr"),
        ("train.cooldown_epochs", cooldown, 0 <= cooldown < train.epochs - warmup, before),
        ("train.checkpoint_seconds", train.checkpoint_seconds, train.checkpoint_seconds >= 0, "0 or more"),
        ("train.patience", train.patience, train.patience is None or train.patience >= 1, "1 or more"),
    ]
    for names, weight in (train.subset_weights or {}).items():
        key = f"train.subset_weights of {names}"
        limits.append((key, weight, isinstance(weight, int | float) and 0 < weight < math.inf, "above 0"))
    return limits


def check_values(recipe: Recipe) -> None:
    """Check types, choices and the limits of numbers.

    Raises:
        ConfigError: naming the key, its value and what is allowed.
    """
    _check_types(recipe, "")
    seed, outputs = recipe.seed, recipe.model.num_outputs
    others: list[Limit] = [
        ("seed", seed, seed >= 0, "0 or more"),
        # so that a slip of the keyboard is told before memory ends
        ("model.num_outputs", outputs, outputs is None or 1 <= outputs <= 10**6, "from 1 to 1,000,000"),
    ]
    for key, value, holds, allowed in (*_data_limits(recipe.data), *_train_limits(recipe.train), *others):
        if not holds:
            raise ConfigError(f"{key} is {value}, but it must be {allowed}")
    _check_percentiles(recipe.data)
    _check_combinations(recipe.train)
    _check_model(recipe.model, recipe.train)
    _check_sizes(recipe)
