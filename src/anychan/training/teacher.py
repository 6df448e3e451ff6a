"""A trained model that teaches another: whether it can, and what it says of images."""

from __future__ import annotations

from functools import cached_property
from itertools import zip_longest
from pathlib import Path

import torch
from torch import Tensor

from anychan.channels import ChannelSet
from anychan.contract import Contract
from anychan.data.dataset import ImageData
from anychan.errors import AnychanError, ChannelError, ConfigError, ContractError
from anychan.models.base import AnyChannelModel, Selection
from anychan.models.channel_status import channel_status
from anychan.models.pretrained import CONTRACT_FILE, load, model_digest
from anychan.training.sampling import Subset

__all__ = ["Teacher"]


class Teacher:
    """A saved model that says what it makes of a run's images.

    The images may have another size than those that it was trained on; it sees them at the run's.

    Args:
        folder: of a finished run, or of a saved model.
        data: the images that are to be taught.

    Raises:
        ContractError: when a file is absent, or raw values mean something else than in the data.
        ConfigError: when its classes are not the data's, in order.
        ChannelError: for a channel of the data that it was not trained on.
    """

    def __init__(self, folder: str | Path, data: ImageData) -> None:
        self.folder = Path(folder)
        self._channels, self._size = data.channels, data.resize.size
        self._contract = Contract.load(self.folder / CONTRACT_FILE)
        self._check_classes(data.classes)
        self._check_channels()
        self._check_values(data)
        self.digest = model_digest(self.folder)
        self._selections: dict[Subset | None, Selection] = {}

    @property
    def name(self) -> str:
        """The network's name in the catalogue."""
        return self._contract.model

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self._contract.classes)

    def load(self) -> None:
        """Read the weights now and not at the first images, so that an error comes before training.

        Raises:
            ContractError: when they are damaged.
            InputShapeError: for a network that cannot take images of this size.
        """
        try:
            self._model.check_size(self._size, self._size)
        except AnychanError as error:
            text = str(error)
            raise error if str(self.folder) in text else type(error)(f"train.teacher {self.folder}: {text}") from None

    @torch.no_grad()
    def __call__(self, images: Tensor, held: Subset | None = None) -> Tensor:
        """Logarithms (N, K) of its probabilities of the classes, in float32.

        Args:
            images: raw, (N, S, H, W).
            held: positions of their channels among the data's; `None` for all.
        """
        self._model.to(images.device)
        logits: Tensor = self._selection(held)(images)[:, : self.num_classes]  # those beyond the classes mean nothing
        return logits.float().log_softmax(1)

    @cached_property
    def _model(self) -> AnyChannelModel:
        model = load(self.folder).requires_grad_(False)
        return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def _selection(self, held: Subset | None) -> Selection:
        """With the batch-norm statistics that were saved for these channels, if any."""
        if held not in self._selections:
            index = range(len(self._channels)) if held is None else held
            self._selections[held] = self._model.select(self._channels[i] for i in index)
        return self._selections[held]

    def _check_classes(self, classes: tuple[str, ...]) -> None:
        own = self._contract.classes
        for label, (theirs, ours) in enumerate(zip_longest(own, classes)):
            if theirs != ours:
                there, here = ("none" if name is None else repr(name) for name in (theirs, ours))
                raise ConfigError(
                    f"train.teacher {self.folder}: of its {len(own)} classes number {label} is {there}, of the data's "
                    f"{len(classes)} it is {here}; a teacher needs the data's classes in their order"
                )

    def _check_channels(self) -> None:
        known: ChannelSet = self._contract.channels
        try:
            self._channels | known  # same name, other wavelength: an error
        except ChannelError as error:
            raise ChannelError(f"train.teacher {self.folder}: {error}") from None
        for channel in self._channels:
            if channel_status(self._contract, channel) != "trained":
                raise ChannelError(
                    f"train.teacher {self.folder}: it was never trained on the data's channel {channel.identity!r}, "
                    f"only on {', '.join(c.identity for c in known if channel_status(self._contract, c) == 'trained')};"
                    " choose among these by data.channels, or take another teacher"
                )

    def _check_values(self, data: ImageData) -> None:
        if self._contract.dtype not in (None, data.dtype):
            raise ContractError(
                f"train.teacher {self.folder}: its number type is {self._contract.dtype}, the data's is {data.dtype}"
            )
        known = dict(zip(self._contract.channels.identities, self._contract.encodings, strict=True))
        for identity, encoding in zip(data.channels.identities, data.encodings, strict=True):
            if known[identity] != encoding:
                raise ContractError(
                    f"train.teacher {self.folder}: channel {identity!r} is stored as {known[identity].to_dict()} in "
                    f"its training images, and as {encoding.to_dict()} in the data; train it on values stored alike"
                )
