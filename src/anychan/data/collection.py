"""A collection: labelled samples of one source, however they are stored, read the same way.

Where each kind of storage is read: one file a sample here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from anychan.channels import ChannelSet
from anychan.data.channels_file import CHANNELS_FILE
from anychan.data.file_claims import read_as_declared
from anychan.data.index import DataIndex
from anychan.data.readers import own_reader
from anychan.data.source import Source
from anychan.encoding import Encoding
from anychan.errors import ChannelError, DataError
from anychan.presets import PRESETS

__all__ = ["Array", "Collection", "FileCollection", "reader_version"]

Array = npt.NDArray[Any]


class Collection(ABC):
    """Labelled samples of one source.

    Args:
        path: the folder or file, for messages.
        index: which sample belongs to which split and class.
        held: the channels that every sample holds, in the order in which it does.
        encodings: what their stored numbers mean.
        named_sensor: see `ChannelsFile`.
    """

    def __init__(
        self,
        path: Path,
        index: DataIndex,
        held: ChannelSet,
        encodings: Sequence[Encoding],
        *,
        named_sensor: bool = True,
    ) -> None:
        self.path, self.index, self.held, self.named_sensor = path, index, held, named_sensor
        self._stored = tuple(encodings)
        self.encodings = self._stored  # of `channels`, as `read` gives them
        self.channels = held
        self._columns = tuple(range(len(held)))  # of `channels` among those held

    def use(self, queries: str | Sequence[str]) -> None:
        """Read only these channels, in this order.

        Raises:
            ChannelError: for a channel that the samples do not hold.
        """
        try:
            self.channels = self.held.select(_asked(queries))
        except ChannelError as error:
            raise ChannelError(f"{self.path}: {error}") from None
        self._columns = self.held.indices(self.channels)
        self.encodings = tuple(self._stored[column] for column in self._columns)

    def encode_as(self, encodings: Mapping[str, Encoding]) -> None:
        """Give channels of these identities as another source stores them."""
        own = zip(self.channels.identities, self.encodings, strict=True)
        self.encodings = tuple(encodings.get(identity, encoding) for identity, encoding in own)

    def read(self, name: str) -> Array:
        """A sample (H, W, C) of raw values: `channels` in order, stored as `encodings` say.

        Raises:
            DataError: naming the sample, when it is damaged, holds other channels, or holds NaN that nobody declared.
        """
        whole = self.read_stored(name)
        picked = whole if self.channels is self.held else whole[:, :, self._columns]
        for column, (stored, wanted) in enumerate(zip(self._columns, self.encodings, strict=True)):
            before = self._stored[stored]
            if before != wanted:
                try:
                    plane = before.convert(picked[:, :, column], wanted)
                except ChannelError as error:
                    raise DataError(f"{name}: channel {self.channels[column].name}: {error}") from None
                picked = picked.copy() if picked is whole else picked
                picked[:, :, column] = plane
        self._check(picked, name)
        return picked

    def _check(self, image: Array, name: str) -> None:
        missing = np.zeros(image.shape, np.bool_)
        for column, encoding in enumerate(self.encodings):
            if encoding.no_data is not None:
                missing[:, :, column] = encoding.missing(image[:, :, column])
        if missing.all():
            raise DataError(f"{name}: the image holds no data in any pixel; leave it out")
        if not (np.isfinite(image) | missing).all():
            raise DataError(
                f"{name}: the image holds NaN or infinity; if NaN stands for no data, say `no_data: nan` in "
                f"{CHANNELS_FILE}"
            )

    def facts(self, names: Sequence[str]) -> list[Any]:
        """What decides the samples' content, for the cache's key."""
        stored, given = ([encoding.to_dict() for encoding in some] for some in (self._stored, self.encodings))
        prints = [self._fingerprint(name) for name in names]
        return [self.held.identities, self.channels.identities, stored, given, prints]

    @abstractmethod
    def read_stored(self, name: str) -> Array:
        """A sample (H, W, C) of all the channels held, as stored, whatever it holds.

        Raises:
            DataError: naming the sample, when it is damaged or holds other channels.
        """

    @abstractmethod
    def _fingerprint(self, name: str) -> str:
        """Changes when the sample's content does, without reading it."""


def _asked(queries: str | Sequence[str]) -> Sequence[str]:
    """A sensor's name means its channels; everything else is names."""
    if isinstance(queries, str):
        return PRESETS[queries.casefold()].identities if queries.casefold() in PRESETS else queries.split(",")
    return queries


class FileCollection(Collection):
    """One image file a sample, in a folder or zip.

    Args:
        source: the folder or zip.
        index: as `Collection`.
        held: as `Collection`.
        encodings: as `Collection`.
        grey: see `read_image`.
        named_sensor: as `Collection`.
    """

    def __init__(
        self,
        source: Source,
        index: DataIndex,
        held: ChannelSet,
        encodings: Sequence[Encoding] = (),
        *,
        grey: str = "refuse",
        named_sensor: bool = True,
    ) -> None:
        super().__init__(source.path, index, held, encodings or (Encoding(),) * len(held), named_sensor=named_sensor)
        self.source, self.grey = source, grey

    def read_stored(self, name: str) -> Array:
        """As `Collection.read_stored`."""
        return read_as_declared(self.source.read(name), name, self.held, self._stored, grey=self.grey)

    def _fingerprint(self, name: str) -> str:
        return f"{self.source.fingerprint(name)} {self.grey}{reader_version(name)}"


def reader_version(name: str) -> str:
    """What a file's own reader adds to its fingerprint: its version; nothing where the reader is anychan's."""
    own = own_reader(name)
    return "" if own is None else f" {own[1]}"
