"""From a scene's rows to what a model takes: its raw units, and the training mean in place of pixels without data."""

from __future__ import annotations

from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from anychan.channels import ChannelSet
from anychan.contract import Contract
from anychan.data.channels_file import ChannelsFile
from anychan.data.drift import input_warnings
from anychan.data.pieces import pieces
from anychan.data.statistics import StatisticsAccumulator
from anychan.deploy.scene import Rows
from anychan.deploy.scene_map import Band
from anychan.errors import ChannelError, ContractError

__all__ = ["PixelRule"]

_CHUNK_VALUES = 2**16


class PixelRule:
    """Raw values as the model's contract means them, and the training mean where there is no data, as in training.

    Without a word on what a scene's stored numbers mean, they mean what the model's own do. Several threads may use it.

    Args:
        where: the scene, for messages.
        contract: the model's.
        channels: the channels of the rows, all known to the model.
        said: what the data's `channels.yaml` says.

    Raises:
        ChannelError: for a channel in another unit than the model's.
    """

    def __init__(self, where: str, contract: Contract, channels: ChannelSet, said: ChannelsFile | None) -> None:
        told = {} if said is None else dict(zip(said.channels.identities, said.encodings, strict=True))
        index = contract.channels.indices(channels)
        self._where, self._contract, self._channels, self._dtype = where, contract, channels, contract.dtype
        self._seen, self._lock = StatisticsAccumulator(len(channels)), Lock()
        self._filling = np.array(contract.training_mean)[list(index)]
        self._wanted = [contract.encodings[i] for i in index]
        self._stored = [told.get(channel.identity, own) for channel, own in zip(channels, self._wanted, strict=True)]
        pairs = list(zip(self._stored, self._wanted, strict=True))
        self._rescales = any(not stored.same_values(wanted) for stored, wanted in pairs)
        self._has_units = said is not None and all(stored.unit is not None for stored in self._stored)
        for channel, (stored, wanted) in zip(channels, pairs, strict=True):
            if stored.unit != wanted.unit:
                here, there = (encoding.unit or "not given" for encoding in (stored, wanted))
                raise ChannelError(f"{where}: channel {channel.name}: its unit is {here}, but the model's is {there}")

    def check_dtype(self, where: str, dtype: np.dtype[Any]) -> list[str]:
        """See that raw values can mean what they meant in training.

        Args:
            where: the scene or image, for messages.
            dtype: number type of the pixels, as read.

        Returns:
            What the user should know.

        Raises:
            ContractError: for integers of another type than in training, unless a unit says what they mean.
        """
        if self._dtype is None or str(dtype) == self._dtype or self._has_units:
            return []
        if dtype != np.float32:
            raise ContractError(
                f"{where}: its pixels are {dtype}, but the model was trained on {self._dtype}, whose raw values "
                "mean something else; convert them first"
            )
        return [f"pixels are float32 where the model was trained on {self._dtype}: values are taken as they are"]

    def mark(self, rows: Rows) -> Rows:
        """Rows in which that is missing too which stands for no data by the encodings."""
        told = [encoding.missing(rows.values[..., position]) for position, encoding in enumerate(self._stored)]
        return Rows(rows.values, rows.missing | np.stack(told, -1))

    def fill(self, rows: Rows, *, counted: bool = True) -> Band:
        """Values as training would have them, and where no channel has data.

        Values of another number type than in training become float32 where they have to be converted. What is
        not missing counts for `warnings`, unless these rows are counted elsewhere.

        Raises:
            ChannelError: as `Encoding.convert_data`.
        """
        values, missing = rows
        if self._rescales and self._dtype not in (None, str(values.dtype)):
            values = values.astype(np.float32)
        if self._stored != self._wanted:
            planes = [self._convert(values[..., i], missing[..., i], i) for i in range(len(self._channels))]
            values = np.stack(planes, -1)
        if counted and self._contract.statistics is not None:
            parts = zip(pieces(values, _CHUNK_VALUES), pieces(missing, _CHUNK_VALUES), strict=True)
            for pixels, gaps in parts:
                with self._lock:
                    self._seen.add(np.where(gaps, np.nan, pixels))
        if missing.any():
            filling = np.rint(self._filling) if np.issubdtype(values.dtype, np.integer) else self._filling
            values = np.where(missing, filling.astype(values.dtype), values)
        return Band(values, np.asarray(missing.all(-1)))

    def take(self) -> StatisticsAccumulator:
        """What was counted, to `add` it to another process's; the next rows are counted anew."""
        taken, self._seen = self._seen, StatisticsAccumulator(len(self._channels))
        return taken

    def add(self, seen: StatisticsAccumulator) -> None:
        """Count what another process has counted."""
        self._seen.merge(seen)

    def warnings(self) -> list[str]:
        """Where the mean of all rows so far, missing pixels left out, leaves the training's; see `input_warnings`."""
        return input_warnings(self._contract, self._seen.result(), channels=self._channels)

    def _convert(self, plane: npt.NDArray[Any], missing: npt.NDArray[np.bool_], position: int) -> npt.NDArray[Any]:
        stored, wanted = self._stored[position], self._wanted[position]
        if stored == wanted:
            return plane
        try:
            return stored.convert_data(plane, wanted, missing)
        except ChannelError as error:
            raise ChannelError(f"{self._where}: channel {self._channels[position].name}: {error}") from None
