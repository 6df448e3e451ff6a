"""A recipe: everything that one run needs to be repeated, as plain dataclasses that mirror the YAML file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_type_hints

import yaml

from anychan.errors import ConfigError
from anychan.files import replacing
from anychan.plain_yaml import parse_plain, read_plain

__all__ = ["DataConfig", "ModelConfig", "Recipe", "TrainConfig", "check_recipe_file"]


@dataclass
class DataConfig:
    """Which images, and what they are to the model.

    Args:
        path: a folder or zip with train.txt, val.txt and test.txt (`path label` lines), with samples.csv (`sample` and
            `label` columns), or with one folder a class; an `.npz` with `x` and `y`; or a `.mat` with a scene. A list
            of several sources trains on all of them, whatever channels each has.
        channels: a sensor (`rgb`, `sentinel2`, ...) or a list of channels: those of channels.yaml to use, or, without
            such a file, all that the images hold; default: all of channels.yaml, or R, G, B for photographs.
        num_classes: keep only the first so many classes, by label.
        size: height and width in pixels that images are resized to.
        fit: `squash` ignores the aspect ratio, `crop` keeps the centre.
        filter: the resize filter.
        grey: what to do with grey photographs where R, G, B are expected: refuse them, or repeat the grey as R, G, B.
        normalize: `dataset` by the training images' mean and std, `unit` to [0, 1], `imagenet` by ImageNet's constants,
            `percentile` so that `percentiles` become 0 and 1 (values outside are kept). Stem `mean` fills in 0 of it.
        percentiles: a low and a high percentile of each channel's training pixels, for `percentile`.
        val_fraction: share of each class for validation, where the data has no splits of its own.
        test_fraction: share of each class for testing, where the data has no splits of its own.
        group_by: a column of samples.csv, such as plate, tile or patient; all samples of a group go to one split.
        cube: the key of a `.mat` file's scene; default: its only array of three axes.
        labels: the key of its label map (0: no label), or of its classes' abundances, the largest of which counts.
        patch: height and width in pixels of the patches that a scene is cut into; each is labelled by its centre.
        patch_stride: pixels from one patch to the next. No two splits share a pixel, whatever it is.
        unseen_pairs: what stem completion makes of channels that no source has together: `refuse`, or guess their
            covariance from their wavelengths.
        cache: keep decoded images in the cache folder; else each is decoded whenever it is needed, which takes no disk
            and more time.
    """

    path: str | list[str] = ""
    channels: str | list[str] | None = None
    num_classes: int | None = None
    size: int = 32
    fit: Literal["squash", "crop"] = "squash"
    filter: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    grey: Literal["refuse", "repeat"] = "refuse"
    normalize: Literal["dataset", "unit", "imagenet", "percentile"] = "dataset"
    percentiles: list[float] = field(default_factory=lambda: [0.1, 99.9])
    val_fraction: float = 0.15
    test_fraction: float = 0.15
    group_by: str | None = None
    cube: str | None = None
    labels: str | None = None
    patch: int = 9
    patch_stride: int = 4
    unseen_pairs: Literal["refuse", "wavelength"] = "refuse"
    cache: bool = True


@dataclass
class ModelConfig:
    """Which network.

    Args:
        name: its name in the catalogue (see `anychan models`), or `timm:NAME` or `torchvision:NAME`; default: that of
            `init_from`, or else resnet8.
        stem: what stands in for absent channels; default: that of `init_from`, or else the network's own choice.
        options: the network's own options, which are added to those of `init_from`.
        num_outputs: number of logits, at least the number of classes, which is the default; report 2's networks have
            100 for 50 classes.
        pretrained: a safetensors file with a timm or torchvision network's weights for R, G, B, in its own layout.
        init_from: a saved model's or run's folder, whose weights training begins with. A channel that it was trained on
            keeps its part of the first layer, and its offset and scale, where the number type is the same; the last
            layer is drawn anew unless the classes are the same in the same order.
        new_channels: whose first kernel a channel takes that the weights to begin with are not for (R, G, B of
            `pretrained`), and that is not between two of theirs by wavelength: `error`, `nearest` by wavelength,
            `zero`, or `random`.
        whiten_stem: let the first layer begin with whitened patches of training images (see `whiten_stem`).
    """

    name: str = ""
    stem: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    num_outputs: int | None = None
    pretrained: str | None = None
    init_from: str | None = None
    new_channels: Literal["error", "nearest", "zero", "random"] = "error"
    whiten_stem: bool = False


@dataclass
class TrainConfig:
    """How it is trained.

    Args:
        epochs: passes over the training images, at most.
        batch_size: images a step.
        optimizer: `adam`, `adamw` or `sgd`.
        lr: learning rate; the peak where there is a schedule.
        momentum: of sgd.
        weight_decay: of the optimizer.
        schedule: `none`, or `cosine` over all steps.
        warmup_epochs: epochs of linear warm-up before a cosine.
        min_lr: where a cosine ends.
        cooldown_epochs: last epochs, which stay at `min_lr`: what they still gain tells whether longer training would.
        label_smoothing: share of the target spread over all classes.
        class_weights: `none`, or `balanced`: weights inverse to a class's training images.
        channel_sampling: `none`: all channels each step; `uniform`: one subset a step, uniform over subsets;
            `uniform_size`: uniform over the number of channels first (ChannelViT's hierarchical channel sampling);
            `weighted`: by `subset_weights`.
        subset_weights: how often each subset is drawn, as `{"R,G": 2, B: 1}`; those not named are never drawn.
        sandwich: each step sees its images with all channels, and with so many random subsets that lack some; every
            one costs a pass forward and backward. From two on, one of them is a single channel.
        distill: share of the prediction from all channels in the targets of a sandwich's subsets.
        teacher: a run's or saved model's folder, or several: what they say of each step's very images, with all
            channels, is a soft label, on average; it is cached for runs that see the same images.
        teacher_weight: share of the soft labels in the targets; of a sandwich, in those of the pass with all channels.
        temperature: by which the logits of teacher and student are divided where they are compared.
        never_hurt: weight of a loss on images that a sandwich's subset classifies better than all channels do.
        channels: train, choose the epoch and test on these of the data's channels only; default: all.
        channel_drop: report 1's RandomChannelDrop: with this probability, one random channel of an image is set to 0.
        crop_padding: random crops after padding by so many pixels of stored 0 (black; no data, where 0 means that).
        crop_scale: random resized crops: rectangles of from this share of an image's area to all of it, enlarged to the
            image's size; 1 for none.
        flip: random horizontal flips.
        cutmix: probability that a step pastes boxes of other images into its images, and mixes their labels.
        mixup: probability that a step mixes its images and labels with those of other images by MixUp; a step does at
            most one of the two.
        progressive_sizes: heights and widths in pixels, at most `data.size`: equal shares of the epochs train at each
            of them in turn; validation and testing are at `data.size`.
        ema: decay a step of an exponential moving average of weights and batch-norm statistics; validation, the best
            epoch and the saved model are the average's. 0 for none.
        monitor: what chooses the best epoch and stops early: `val_accuracy` or `val_loss`; `last` keeps the last epoch.
        patience: stop after so many epochs without a better one; default: never.
        freeze: `none`; `body`: train stem and head only; or a list of modules by name, such as `body.backbone.layer1`.
            Frozen batch norms keep their statistics; where channels are sampled, each subset still gets its own.
        layer_lr_decay: the learning rate of each layer is this times that of the next one, from the head back.
        checkpoint_seconds: in the middle of an epoch, a checkpoint is written about every so many seconds; each epoch's
            end has one anyway. 0: after every step.
        deterministic: use only operations that give the same bits in every run, on GPUs too; end where there is none.
        precision: `float32`, `bf16` for bfloat16 autocast, or `auto`: bf16 where the hardware computes in it.
    """

    epochs: int = 20
    batch_size: int = 128
    optimizer: Literal["adam", "adamw", "sgd"] = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: Literal["none", "cosine"] = "cosine"
    warmup_epochs: float = 0.0
    min_lr: float = 0.0
    cooldown_epochs: int = 0
    label_smoothing: float = 0.0
    class_weights: Literal["none", "balanced"] = "none"
    channel_sampling: Literal["none", "uniform", "uniform_size", "weighted"] = "none"
    subset_weights: dict[str, float] | None = None
    sandwich: int = 0
    distill: float = 0.0
    teacher: str | list[str] | None = None
    teacher_weight: float = 1.0
    temperature: float = 1.0
    never_hurt: float = 0.0
    channels: list[str] | None = None
    channel_drop: float = 0.0
    crop_padding: int = 0
    crop_scale: float = 1.0
    flip: bool = False
    cutmix: float = 0.0
    mixup: float = 0.0
    progressive_sizes: list[int] | None = None
    ema: float = 0.0
    monitor: Literal["val_accuracy", "val_loss", "last"] = "val_accuracy"
    patience: int | None = None
    freeze: Literal["none", "body"] | list[str] = "none"
    layer_lr_decay: float = 1.0
    checkpoint_seconds: float = 60.0
    deterministic: bool = False
    precision: Literal["auto", "float32", "bf16"] = "auto"


@dataclass
class Recipe:
    """One run.

    Args:
        data: which images.
        model: which network.
        train: how it is trained.
        seed: from which every random number of the run derives.
    """

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    seed: int = 0

    def map_paths(self, change: Callable[[str], str]) -> Recipe:
        """The recipe with every path of a file or folder changed."""

        def changed(value: Any) -> Any:
            return [change(each) for each in value] if isinstance(value, list) else change(value) if value else value

        data = dataclasses.replace(self.data, path=changed(self.data.path))
        begun = {key: changed(getattr(self.model, key)) for key in ("pretrained", "init_from")}
        train = dataclasses.replace(self.train, teacher=changed(self.train.teacher))
        return dataclasses.replace(self, data=data, model=dataclasses.replace(self.model, **begun), train=train)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for YAML."""
        return dataclasses.asdict(self)

    def changes(self) -> dict[str, Any]:
        """The values that are not the defaults, section by section, for YAML."""
        own, usual = self.to_dict(), Recipe().to_dict()
        sections = {name: own.pop(name) for name in ("data", "model", "train")}
        changed = {
            name: {key: value for key, value in values.items() if value != usual[name][key]}
            for name, values in sections.items()
        }
        return changed | {key: value for key, value in own.items() if value != usual[key]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Build a recipe from plain values, as `to_dict` gives them."""
        return cls(
            data=DataConfig(**values.get("data", {})),
            model=ModelConfig(**values.get("model", {})),
            train=TrainConfig(**values.get("train", {})),
            seed=values.get("seed", 0),
        )

    @classmethod
    def load(cls, path: Path) -> Recipe:
        """Read a recipe file.

        Raises:
            ConfigError: when the file is absent, is not YAML, or has a key that does not exist.
        """
        return cls.from_dict(check_recipe_file(path))

    def save(self, path: Path) -> None:
        """Write the recipe as YAML."""
        with replacing(path) as partial:
            partial.write_text(yaml.safe_dump(self.to_dict(), sort_keys=False), encoding="utf-8")


def check_recipe_file(path: Path) -> dict[str, Any]:
    """Read a recipe file and check its keys, so that a typo is named with its file and nearest neighbour.

    Raises:
        ConfigError: when the file is absent, is not YAML, or has a key that does not exist.
    """
    try:
        values = parse_plain(read_plain(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise ConfigError(f"{path}: the recipe cannot be read ({reason})") from None
    except yaml.MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}" if error.problem_mark else "the recipe"
        raise ConfigError(f"{path}: {where} is not YAML ({error.problem})") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: a recipe is a mapping with the keys data, model, train and seed")
    values.pop("out", None)  # `anychan train --print_config` writes it; the command line reads it
    _check_keys(values, Recipe, str(path), "")
    return values


def _check_keys(values: Mapping[str, Any], kind: type, where: str, prefix: str) -> None:
    hints = get_type_hints(kind)
    for key, value in values.items():
        if key not in hints:
            near = get_close_matches(str(key), hints, n=1)
            advice = f"did you mean {prefix}{near[0]}" if near else f"there are {', '.join(hints)}"
            raise ConfigError(f"{where}: no key is called {prefix}{key!s:.80}; {advice}")
        if dataclasses.is_dataclass(hints[key]):
            if not isinstance(value, dict):
                raise ConfigError(f"{where}: {prefix}{key} must be a mapping of keys, not {value!r:.80}")
            _check_keys(value, hints[key], where, f"{prefix}{key}.")
