"""From a recipe's data section to images in memory maps: the one way in for training and evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import yaml
from torch import Tensor

from anychan.channels import ChannelSet, parse_channels
from anychan.contract import ChannelStatistics, Contract, ResizeRule
from anychan.data.cache import cached_images
from anychan.data.index import Sample, index_images
from anychan.data.source import Source, open_source
from anychan.data.statistics import image_statistics
from anychan.errors import ChannelError, ContractError, DataError
from anychan.presets import PRESETS, RGB
from anychan.recipe import DataConfig

__all__ = ["ImageData", "Split", "load_data", "normalization"]

CHANNELS_FILE = "channels.yaml"
# torchvision's constants for images in [0, 1]
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Split:
    """Images and labels of one split.

    Args:
        images: (N, H, W, C) memory map in the files' number type.
        labels: (N,) int64.
        names: the files, in order.
    """

    images: npt.NDArray[Any]
    labels: Tensor
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def tensor(self) -> Tensor:
        """The images as a tensor (N, H, W, C) over the same memory map."""
        return torch.from_numpy(self.images)


@dataclass(frozen=True)
class ImageData:
    """Everything that a recipe's data section means.

    Args:
        splits: `"train"`, `"val"` and `"test"`, or those that were asked for.
        channels: the channels of every image, in order.
        classes: class names by label.
        resize: how images reached their size.
        grey: what grey photographs were taken for.
    """

    splits: dict[str, Split]
    channels: ChannelSet
    classes: tuple[str, ...]
    resize: ResizeRule
    grey: str

    @property
    def dtype(self) -> str:
        """The images' number type, such as `"uint16"`."""
        return str(next(iter(self.splits.values())).images.dtype)

    @cached_property
    def statistics(self) -> ChannelStatistics:
        """Of the training images.

        Raises:
            DataError: when a channel is constant there, naming it.
        """
        statistics = image_statistics(self.splits["train"].images)
        for channel, mean, std in zip(self.channels, statistics.mean, statistics.std, strict=True):
            if not std > 0:
                raise DataError(
                    f"channel {channel.name!r} has the same value, {mean:g}, in every pixel of the training images; "
                    "leave it out"
                )
        return statistics


def load_data(config: DataConfig, *, seed: int, splits: tuple[str, ...] = ("train", "val", "test")) -> ImageData:
    """Index, decode (or find in the cache) and label the images that a recipe names.

    Args:
        config: the recipe's data section.
        seed: for splits that the data does not bring along.
        splits: the splits to load.

    Raises:
        DataError: naming file and line, when something cannot be used.
        ChannelError: for an unknown channel or sensor.
    """
    source = open_source(config.path)
    index = index_images(
        source,
        num_classes=config.num_classes,
        val_fraction=config.val_fraction,
        test_fraction=config.test_fraction,
        seed=seed,
    )
    channels = find_channels(source, config, index.splits["train"][0])
    rule = ResizeRule(config.size, config.fit, config.filter)
    loaded = {}
    for split in splits:
        names = tuple(sample.name for sample in index.splits[split])
        images = cached_images(source, names, channels, rule, grey=config.grey)
        loaded[split] = Split(images, torch.tensor([sample.label for sample in index.splits[split]]), names)
    return ImageData(loaded, channels, index.classes, rule, config.grey)


def find_channels(source: Source, config: DataConfig, first: Sample) -> ChannelSet:
    """The channels of the images: named in the recipe, in `channels.yaml` beside the data, or R, G, B for photographs.

    Raises:
        ChannelError: for an unknown channel, or TIFFs whose channels nobody names.
        DataError: for a `channels.yaml` that is not one.
    """
    if config.channels is not None:
        return parse_channels(config.channels, PRESETS)
    if CHANNELS_FILE in source.names():
        where = f"{source.path}/{CHANNELS_FILE}"
        try:
            values = yaml.safe_load(source.read_text(CHANNELS_FILE))
        except yaml.YAMLError as error:
            raise DataError(f"{where}: the file is not YAML ({getattr(error, 'problem', None)})") from None
        spec = values.get("channels") if isinstance(values, dict) and len(values) == 1 else None
        if not isinstance(spec, str | list):
            raise DataError(f"{where}: the file must have one key, 'channels', with a sensor or a list of channels")
        try:
            return parse_channels(spec, PRESETS)
        except (ChannelError, TypeError) as error:
            raise ChannelError(f"{where}: {error}") from None
    if first.name.lower().endswith((".tif", ".tiff")):
        raise ChannelError(
            f"{source.path}: nobody says which channels its TIFFs hold; write a {CHANNELS_FILE} beside them, or give "
            "--data.channels, a sensor or a list"
        )
    return RGB


def normalization(
    kind: str, channels: ChannelSet, statistics: ChannelStatistics, dtype: np.dtype[Any]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Offset and scale of the contract, in raw values.

    Args:
        kind: `"dataset"`, `"unit"` or `"imagenet"`.
        channels: the channels, in order.
        statistics: of the training images.
        dtype: the images' number type: its largest value is 1 for `"unit"`.

    Raises:
        ChannelError: for ImageNet's constants on channels other than R, G, B.
        DataError: for `"unit"` or `"imagenet"` on floating-point images, whose largest value nobody knows.
    """
    if kind == "dataset":
        return tuple(statistics.mean.tolist()), tuple(statistics.std.tolist())
    if not np.issubdtype(dtype, np.integer):
        raise DataError(f"data.normalize {kind!r} needs integer images, not {dtype}; use 'dataset'")
    largest = float(np.iinfo(dtype).max)
    if kind == "unit":
        return (0.0,) * len(channels), (largest,) * len(channels)
    if not channels <= RGB:
        raise ChannelError(f"data.normalize 'imagenet' is for R, G, B, not for {channels.label}; use 'dataset'")
    where = [RGB.index(channel) for channel in channels]
    return tuple(largest * _IMAGENET_MEAN[i] for i in where), tuple(largest * _IMAGENET_STD[i] for i in where)


def check_against_contract(data: ImageData, contract: Contract) -> None:
    """Data that a saved model is to be tested on must mean the same as the data it was trained on.

    Raises:
        ContractError: naming what differs.
    """
    data.channels | contract.channels  # same name, other wavelength: an error
    pairs = (
        ("channels", data.channels.identities, contract.channels.identities),
        ("classes", data.classes, contract.classes),
        ("resize rule", data.resize, contract.resize),
        ("number type", data.dtype, contract.dtype),
    )
    for what, here, there in pairs:
        if here != there:
            raise ContractError(f"the data's {what} {here} are not the model's {there}")
