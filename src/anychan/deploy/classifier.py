"""A loaded model that takes raw images of some channels, of any size, and gives probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from anychan.channels import ChannelSet
from anychan.data.readers import resize
from anychan.errors import ConfigError, InputShapeError
from anychan.evaluation.attribution import integrated_gradients
from anychan.evaluation.flip import with_flips
from anychan.models.base import AnyChannelModel

__all__ = ["Classifier", "Prediction", "best_device"]

_ONE_AT_A_TIME = Lock()  # a selection's pass lends its batch-norm statistics to the model, which threads may share


@dataclass(frozen=True)
class Prediction:
    """What is asked of a model.

    Args:
        window: side of a scene's windows, in pixels.
        stride: pixels from one window to the next, and side of the map's cells.
        channels: names of all the channels of the input, in file order, or a sensor's name; `None`: the files say.
        batch_size: images or windows at once; more take more memory, and are no faster on a CPU.
        allow_unknown_channels: leave out channels that the model does not know.
        cube: the key of a `.mat` file's scene; `None`: its only array of three axes.
        flip: average each image's or window's probabilities with those of its mirror image.
        top_k: classes that a table tells of each image.
        probabilities: whether it tells those of all classes too.
        format: of a table, `"csv"` or `"jsonl"`; `None`: by the file's suffix, or CSV.
    """

    window: int = 64
    stride: int = 32
    channels: str | None = None
    batch_size: int = 64
    allow_unknown_channels: bool = False
    cube: str | None = None
    flip: bool = False
    top_k: int = 1
    probabilities: bool = False
    format: str | None = None


def best_device() -> str:
    """A GPU if there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


class Classifier:
    """Images → softmax over the classes, by the contract's resize rule, on the model's device.

    Args:
        model: in eval mode.
        channels: those that the images have, in their order.
        batch_size: images at once.
        flip: average probabilities over each image and its mirror image, at twice the work.

    Raises:
        ConfigError: for a batch size below 1.
        ChannelError: for a channel that the model does not know, or a subset that its stem refuses.
    """

    def __init__(self, model: AnyChannelModel, channels: ChannelSet, *, batch_size: int, flip: bool = False) -> None:
        if batch_size < 1:
            raise ConfigError(f"--batch-size is {batch_size}, but it must be 1 or more images")
        self._selection = model.select(channels).eval()
        self._classify = with_flips(self._logits) if flip else self._logits
        contract = model.contract
        means = torch.tensor(contract.training_mean, dtype=torch.float32)[list(contract.channels.indices(channels))]
        self._baseline = means.view(-1, 1, 1)
        self._rule = contract.resize
        self._num_classes = len(contract.classes)
        self._device = next(model.parameters()).device
        self._batch_size = batch_size

    @torch.no_grad()
    def __call__(self, images: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """(n, num_classes) float32.

        Args:
            images: n times (H, W, S), raw values of one number type.

        Raises:
            InputShapeError: for images of a size that the model cannot take.
        """
        found = []
        for start in range(0, len(images), self._batch_size):
            part = images[start : start + self._batch_size]
            resized = [self.resize(image) for image in part]
            if len({image.shape for image in resized}) > 1:
                raise InputShapeError(
                    "the images have unlike sizes, and the model, never trained on images, has no size to bring them to"
                )
            x = torch.from_numpy(np.stack(resized)).to(self._device).permute(0, 3, 1, 2)  # (n, S, H, W)
            with _ONE_AT_A_TIME:
                found.append(self._classify(x).softmax(1).cpu().numpy())
        return np.concatenate(found)

    def attribute(self, image: npt.NDArray[Any], label: int) -> npt.NDArray[np.float32]:
        """What each value of an image (H, W, S) adds to a class's log-probability: integrated gradients, in nats.

        The baseline is each channel's training mean, or the offset of a model that was never trained.
        """
        x = torch.from_numpy(image).permute(2, 0, 1).to(self._device)
        with _ONE_AT_A_TIME:
            found = integrated_gradients(self._classify, x, self._baseline.to(self._device), label)
        return found.permute(1, 2, 0).cpu().numpy()

    def resize(self, image: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """An image (H, W, S) by the contract's rule, if it has one; one that was resized before stays as it is."""
        return image if self._rule is None else resize(image, self._rule)

    def _logits(self, x: Tensor) -> Tensor:
        """Of the classes; those beyond mean nothing."""
        logits: Tensor = self._selection(x)[:, : self._num_classes]
        return logits.float()
