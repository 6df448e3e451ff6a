"""`Predictor`: a saved model for scripts, which takes files, Pillow images and arrays."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from anychan.channels import ChannelSet
from anychan.data.readers import photograph
from anychan.deploy.classification import Classification, Explanation, SampleClassifier
from anychan.deploy.classifier import Prediction, best_device
from anychan.deploy.predict_samples import Part, open_parts
from anychan.deploy.sample_readers import SampleReader, without_channels
from anychan.deploy.scene_channels import named_channels
from anychan.encoding import Encoding
from anychan.errors import ChannelError, DataError, InputShapeError
from anychan.models.base import AnyChannelModel
from anychan.models.pretrained import load
from anychan.presets import RGB

__all__ = ["Predictor"]

Array = npt.NDArray[Any]
Given = str | os.PathLike[str] | Image.Image | Array


class Predictor:
    """Classifies files, Pillow images and arrays by a saved model, as `anychan predict` does.

    Args:
        model: a run's or saved model's folder; `"demo"`, the model inside the package; or a model, which is brought to
            eval mode and to the device.
        batch_size: images at once.
        flip: average each image's probabilities with those of its mirror image.
        allow_unknown_channels: leave out channels that the model does not know.
        device: where it computes; default: a GPU if there is one.

    Raises:
        ContractError: for a folder without a model that can be read.

    Example:
        >>> from anychan.models.catalog import create_model
        >>> predictor = Predictor(create_model("resnet8", num_classes=2))
        >>> found = predictor(np.zeros((16, 16, 2), np.uint8), channels=["R", "B"])
        >>> found.channels, found.absent, len(found.top(2))
        (('R', 'B'), ('G',), 2)
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | AnyChannelModel,
        *,
        batch_size: int = 64,
        flip: bool = False,
        allow_unknown_channels: bool = False,
        device: str | torch.device | None = None,
    ) -> None:
        found = model if isinstance(model, AnyChannelModel) else load(Path(model))
        self.model = found.to(device or best_device()).eval()
        self._asked = Prediction(batch_size=batch_size, flip=flip, allow_unknown_channels=allow_unknown_channels)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names, by label."""
        return self.model.contract.classes

    @property
    def channels(self) -> ChannelSet:
        """The channels that the model knows."""
        return self.model.channels

    def __call__(
        self, image: Given, *, channels: str | Sequence[str] | None = None, without: Iterable[str] = ()
    ) -> Classification:
        """What the model says of one image.

        Args:
            image: an image file, a Pillow image (of R, G and B), or raw sensor values (H, W, S).
            channels: all channels of the image in its order, or a sensor's name; default: as the file says; an array
                says nothing.
            without: channels to switch off, as if the image did not have them.

        Raises:
            DataError: for a file that cannot be read, or a folder.
            ChannelError: when nobody says which channels there are, or the model does not know them, or none is left.
            ContractError: for pixels whose raw values mean something else than in training.
            InputShapeError: for an array without three axes, or of a size that the model cannot take.
        """
        part = self._one(image, channels, without)
        ((name, found),) = part
        return replace(found, sample=name)

    def explain(
        self,
        image: Given,
        *,
        channels: str | Sequence[str] | None = None,
        without: Iterable[str] = (),
        label: str | None = None,
    ) -> Explanation:
        """Which pixels of which channel speak for a class: integrated gradients from an image of training means.

        Args:
            image: as for a call.
            channels: as for a call.
            without: as for a call.
            label: the class; default: the one that the model says.

        Raises:
            AnychanError: as for a call; a DataError for an image more than half of whose pixels hold no data, and a
                ConfigError for a class that the model does not have.
        """
        return self._one(image, channels, without).images.explain(0, label)

    def _one(self, image: Given, channels: str | Sequence[str] | None, without: Iterable[str]) -> Part:
        """A single image, ready to be read."""
        if isinstance(image, str | os.PathLike):
            path = Path(image)
            if path.is_dir():
                raise DataError(f"{path}: it is a folder; for its images, call many()")
            parts = self._parts([path], channels, without)
            if (count := sum(len(part.images) for part in parts)) != 1:
                raise DataError(f"{path}: it holds {count} images; for all of them, call many()")
            return parts[0]
        if isinstance(image, Image.Image):
            name = str(getattr(image, "filename", "") or "image")
            array, channels = photograph(image, name, expected=3, grey=self.model.contract.grey), channels or "rgb"
        else:
            name, array = "array", image
        if array.ndim != 3:
            raise InputShapeError(f"{name}: an image has three axes (H, W, S), not {array.shape}")
        return Part(self._of_arrays(array[None], name, channels, without), None)

    def many(
        self,
        images: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | Array,
        *,
        channels: str | Sequence[str] | None = None,
        without: Iterable[str] = (),
    ) -> Iterator[Classification]:
        """What the model says of many images, one by one and in order, a batch at a time in memory.

        Args:
            images: a file, folder, zip or `.npz`, several of them, or raw sensor values (N, H, W, S).
            channels: as for one image.
            without: as for one image.

        Raises:
            AnychanError: as for one image.
        """
        if isinstance(images, np.ndarray):
            if images.ndim != 4:
                raise InputShapeError(f"array: images have four axes (N, H, W, S), not {images.shape}")
            return iter(self._of_arrays(images, "array", channels, without))
        single = isinstance(images, str | os.PathLike)
        paths = [Path(images)] if single else [Path(path) for path in images]  # type: ignore[arg-type, union-attr]
        return self._of_paths(paths, channels, without)

    def _parts(self, paths: list[Path], channels: str | Sequence[str] | None, without: Iterable[str]) -> list[Part]:
        return open_parts(self.model, paths, replace(self._asked, channels=_spec(channels)), without=without)

    def _of_paths(
        self, paths: list[Path], channels: str | Sequence[str] | None, without: Iterable[str]
    ) -> Iterator[Classification]:
        for part in self._parts(paths, channels, without):
            for name, found in part:
                yield replace(found, sample=name)

    def _of_arrays(
        self, images: Array, name: str, channels: str | Sequence[str] | None, without: Iterable[str]
    ) -> SampleClassifier:
        spec = _spec(channels)
        if spec is None:
            raise ChannelError(f"{name}: nobody says which channels it holds; give channels, in the array's order")
        held = RGB if spec == "rgb" else ChannelSet(named_channels(spec, self.channels))
        if images.shape[3] != len(held):
            raise ChannelError(f"{name}: it has {images.shape[3]} channels, but {len(held)} are named: {spec}")
        names = tuple(map(str, range(len(images))))
        reader = SampleReader(names, held, None, lambda number: (images[int(number)], Encoding()))
        return SampleClassifier(self.model, without_channels(reader, without), Path(name), self._asked)


def _spec(channels: str | Sequence[str] | None) -> str | None:
    return channels if channels is None or isinstance(channels, str) else ",".join(channels)
