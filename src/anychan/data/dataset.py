"""From a recipe's data section to images in memory maps: the one way in for training and evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from anychan.channels import ChannelSet
from anychan.contract import ChannelStatistics, Contract, ResizeRule
from anychan.data.cache import cached_images
from anychan.data.on_demand import images_on_demand
from anychan.data.percentiles import image_percentiles
from anychan.data.prior import with_wavelength_prior
from anychan.data.statistics import image_statistics
from anychan.data.union import check_number_types, open_collections, unite, united_classes
from anychan.encoding import Encoding
from anychan.errors import ChannelError, ContractError, DataError
from anychan.presets import RGB
from anychan.recipe import DataConfig

__all__ = ["ImageData", "Split", "load_data", "normalization"]

# torchvision's constants for images in [0, 1]
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Split:
    """Images and labels of one split of one source.

    Args:
        images: (N, H, W, C) in the files' number type: a memory map, or `ImagesOnDemand`, which look like one.
        labels: (N,) int64.
        names: the samples, in order.
        index: positions of its channels among the data's; `None` where it has them all.
    """

    images: npt.NDArray[Any]
    labels: Tensor
    names: tuple[str, ...]
    index: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: slice | Tensor) -> Tensor:
        """Some images as a tensor (n, H, W, C), in the order asked for."""
        if isinstance(self.images, np.ndarray):
            return self.tensor[rows]
        return torch.from_numpy(self.images[rows])

    @cached_property
    def tensor(self) -> Tensor:
        """All images as a tensor (N, H, W, C), over the same memory map where they are one."""
        return torch.from_numpy(self.images[:])


@dataclass(frozen=True)
class ImageData:
    """Everything that a recipe's data section means.

    Args:
        sources: a source's name → split → images; the splits are `"train"`, `"val"` and `"test"`, or those that were
            asked for.
        channels: the channels of all sources together, in order.
        encodings: what each channel's raw values mean.
        classes: class names by label.
        resize: how images reached their size.
        grey: what grey photographs were taken for.
        unseen_pairs: see `DataConfig`.
    """

    sources: dict[str, dict[str, Split]]
    channels: ChannelSet
    encodings: tuple[Encoding, ...]
    classes: tuple[str, ...]
    resize: ResizeRule
    grey: str
    unseen_pairs: str = "refuse"

    @property
    def splits(self) -> dict[str, Split]:
        """The splits of the only source.

        Raises:
            DataError: when there are several.
        """
        if len(self.sources) > 1:
            raise DataError(
                f"the data has {len(self.sources)} sources, {', '.join(self.sources)}; take one by source()"
            )
        return next(iter(self.sources.values()))

    def parts(self, split: str) -> tuple[Split, ...]:
        """One split of every source."""
        return tuple(splits[split] for splits in self.sources.values())

    def count(self, split: str) -> int:
        """Number of images of one split, over all sources."""
        return sum(map(len, self.parts(split)))

    def labels(self, split: str) -> Tensor:
        """(N,) labels of one split, over all sources."""
        return torch.cat([part.labels for part in self.parts(split)])

    def source(self, name: str) -> ImageData:
        """One source by itself, with its own channels alone.

        Raises:
            DataError: when there is no such source.
        """
        if name not in self.sources:
            raise DataError(f"no source is called {name!r}; there are {', '.join(self.sources)}")
        splits = self.sources[name]
        index = next(iter(splits.values())).index or tuple(range(len(self.channels)))
        return replace(
            self,
            sources={name: {split: replace(part, index=None) for split, part in splits.items()}},
            channels=ChannelSet((self.channels[i] for i in index), source=self.channels.source),
            encodings=tuple(self.encodings[i] for i in index),
        )

    def only(self, name: str | None) -> ImageData:
        """The source of this name; `None`: the only one.

        Raises:
            DataError: when there is no such source, or several and no name.
        """
        if name is not None:
            return self.source(name)
        if len(self.sources) > 1:
            raise DataError(f"there are {len(self.sources)} sources; choose by --source: {', '.join(self.sources)}")
        return self

    @property
    def dtype(self) -> str:
        """The images' number type, such as `"uint16"`."""
        return str(next(part.images.dtype for splits in self.sources.values() for part in splits.values()))

    @cached_property
    def source_statistics(self) -> dict[str, tuple[ChannelSet, ChannelStatistics]]:
        """The channels and statistics of each source's own training images; a channel may be constant there."""
        found = {}
        for name in self.sources:
            own = self.source(name)
            no_data = [encoding.no_data for encoding in own.encodings]
            images = own.splits["train"].images
            found[name] = own.channels, image_statistics([(images, None)], len(own.channels), no_data)
        return found

    @cached_property
    def statistics(self) -> ChannelStatistics:
        """Of the training images of all sources; pixels without data count nowhere.

        Raises:
            DataError: when a channel is constant there, naming it.
            ChannelError: when two channels lack what a prior for them needs.
        """
        statistics = image_statistics(
            ((part.images, part.index) for part in self.parts("train")),
            len(self.channels),
            [encoding.no_data for encoding in self.encodings],
        )
        for channel, mean, std in zip(self.channels, statistics.mean, statistics.std, strict=True):
            if not std > 0:
                raise DataError(
                    f"channel {channel.name!r} has the same value, {mean:g}, in every pixel of the training images; "
                    "leave it out"
                )
        if self.unseen_pairs == "wavelength":
            return with_wavelength_prior(statistics, self.channels)
        return statistics

    def percentiles(self, low_high: Sequence[float]) -> npt.NDArray[np.float64]:
        """(2, C) a low and a high percentile of the training images of all sources; no data counts nowhere.

        Raises:
            DataError: when both are one value, naming the channel.
        """
        found = image_percentiles(
            ((part.images, part.index) for part in self.parts("train")),
            len(self.channels),
            low_high,
            [encoding.no_data for encoding in self.encodings],
        )
        for channel, low, high in zip(self.channels, *found, strict=True):
            if not high > low:
                raise DataError(
                    f"channel {channel.name!r} is {low:g} at both data.percentiles {list(low_high)} of the training "
                    "images; put them further apart, leave the channel out, or use data.normalize dataset"
                )
        return found


def load_data(
    config: DataConfig,
    *,
    seed: int,
    splits: tuple[str, ...] = ("train", "val", "test"),
    encodings: Mapping[str, Encoding] | None = None,
) -> ImageData:
    """Index, decode (or find in the cache) and label the images that a recipe names.

    Args:
        config: the recipe's data section.
        seed: for splits that the data does not bring along.
        splits: the splits to load.
        encodings: by a channel's identity, how its raw values are to be given, such as a model's contract says;
            default: as the first source with that channel stores them.

    Raises:
        DataError: naming file and line, when something cannot be used.
        ChannelError: for an unknown channel or sensor, or two sources that disagree about one.
    """
    collections = open_collections(config, seed=seed)
    channels, known = unite(collections.values(), encodings or {})
    rule = ResizeRule(config.size, config.fit, config.filter)
    classes = united_classes(collections.values())
    sources: dict[str, dict[str, Split]] = {}
    for name, collection in collections.items():
        index = None if collection.channels == channels else channels.indices(collection.channels)
        to_union = [classes.index(label) for label in collection.index.classes]
        sources[name] = {}
        for split in splits:
            samples = collection.index.splits[split]
            names = tuple(sample.name for sample in samples)
            labels = torch.tensor([to_union[sample.label] for sample in samples])
            images = (cached_images if config.cache else images_on_demand)(collection, names, rule)
            sources[name][split] = Split(images, labels, names, index)
    check_number_types(sources)
    return ImageData(sources, channels, known, classes, rule, config.grey, config.unseen_pairs)


def normalization(
    kind: str,
    channels: ChannelSet,
    statistics: ChannelStatistics,
    dtype: np.dtype[Any],
    *,
    limits: npt.NDArray[np.float64] | None = None,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Offset and scale of the contract, in raw values.

    Args:
        kind: `"dataset"`, `"unit"`, `"imagenet"` or `"percentile"`.
        channels: the channels, in order.
        statistics: of the training images.
        dtype: the images' number type: its largest value is 1 for `"unit"`.
        limits: (2, C) the raw values that become 0 and 1 for `"percentile"` (see `ImageData.percentiles`). Values
            outside are not cut: the brightest pixels of a stain may be what tells the classes apart.

    Raises:
        ChannelError: for ImageNet's constants on channels other than R, G, B.
        DataError: for `"unit"` or `"imagenet"` on floating-point images, whose largest value nobody knows.
    """
    if kind == "dataset":
        return tuple(statistics.mean.tolist()), tuple(statistics.std.tolist())
    if kind == "percentile":
        assert limits is not None
        low, high = limits
        return tuple(low.tolist()), tuple((high - low).tolist())
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

    Its channels may be others: `anychan.evaluation.match` says what the model knows of each.

    Raises:
        ContractError: naming what differs.
        ChannelError: for a channel of the same identity at another wavelength.
    """
    data.channels | contract.channels  # same name, other wavelength: an error
    pairs = (
        ("classes", data.classes, contract.classes),
        ("resize rule", data.resize, contract.resize),
        ("number type", data.dtype, contract.dtype),
    )
    for what, here, there in pairs:
        if here != there:
            raise ContractError(f"the data's {what} {here} are not the model's {there}")
