"""Samples channel by channel, as `describe` looks at them: pixels, and what the file says of each channel."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from anychan.channels import Channel, ChannelSet
from anychan.data.readers import PHOTOGRAPH_FORMATS, channel_axis, own_reader, read_image
from anychan.data.source import Source
from anychan.data.tiff import is_tiff, tiff_facts
from anychan.encoding import Encoding
from anychan.errors import DataError
from anychan.presets import RGB

__all__ = ["Plane", "check_alike", "read_file", "read_sample"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Plane:
    """One channel of one sample.

    Args:
        file: where it is from.
        pixels: (H, W) uint8, uint16 or float32, as training would read them.
        dtype: the file's own number type.
        name: what the file calls it.
        encoding: what the file says of its numbers.
    """

    file: str
    pixels: Array
    dtype: str
    name: str | None
    encoding: Encoding

    def small(self, side: int) -> Array:
        """At most `side` pixels high and wide, float32, NaN where there is no data."""
        step = max(1, -(-max(self.pixels.shape) // side))
        thin = self.pixels[::step, ::step]
        return np.where(self.encoding.missing(thin), np.nan, thin.astype(np.float32))


def read_sample(source: Source, files: Sequence[str], count: int | None = None) -> list[Plane]:
    """All channels of a sample, from one file or from one for each; see `read_file`.

    Raises:
        DataError: naming the file, when it cannot be read, or holds several channels where one was expected.
    """
    planes = []
    for file in files:
        found = read_file(source, file, count)
        if len(files) > 1 and len(found) > 1:
            raise DataError(
                f"{source.path}/{file}: the file holds {len(found)} channels, but its name says that it is one of "
                f"{len(files)} with a channel each"
            )
        planes += found
    return planes


def read_file(source: Source, file: str, channels: int | None = None) -> list[Plane]:
    """All channels of a file.

    Args:
        source: where it lies.
        file: its name.
        channels: the number of channels, if known: it tells where a `.npy` holds them.

    Raises:
        DataError: naming the file, when it cannot be read.
    """
    data = source.read(file)
    try:
        names: Sequence[str | None]
        if (own := own_reader(file)) is not None:
            count, dtype = own[0](data, file).shape[-1], ""
            names, encodings = [None] * count, (Encoding(),) * count
        elif is_tiff(file):
            said = tiff_facts(data, file)
            count, dtype, encodings = said.shape[2], str(said.dtype), said.encodings
            names = said.channel_names or [None] * count
        elif file.lower().endswith(".npy"):
            count, dtype = _npy_channels(data, file, channels)
            names, encodings = [None] * count, (Encoding(),) * count
        else:
            count, dtype = _photo_channels(data, file), ""
            names, encodings = RGB.names if count == 3 else [None], (Encoding(),) * count
        pixels = read_image(data, file, ChannelSet(Channel(str(i), "any") for i in range(count)))
    except DataError as error:
        raise DataError(f"{source.path}/{error}") from error.__cause__
    rows = zip(np.moveaxis(pixels, -1, 0), names, encodings, strict=True)
    return [Plane(file, plane, dtype or str(pixels.dtype), name, encoding) for plane, name, encoding in rows]


def _npy_channels(data: bytes, file: str, channels: int | None) -> tuple[int, str]:
    """How many there are, and the file's number type; `read_image` sees to the rest."""
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # NumPy raises several kinds on damaged bytes
        raise DataError(f"{file}: the file cannot be read as an array ({error})") from error
    count = array.shape[channel_axis(array.shape, (0, 2), channels, file)] if array.ndim == 3 else 1
    return count, str(array.dtype)


def _photo_channels(data: bytes, file: str) -> int:
    try:
        with Image.open(io.BytesIO(data), formats=PHOTOGRAPH_FORMATS) as image:
            return 1 if image.mode in ("1", "L", "LA", "I", "F") or image.mode.startswith("I;") else 3
    except Exception as error:  # Pillow raises anything at all on damaged bytes
        raise DataError(f"{file}: the image is damaged or no image ({error})") from error


def check_alike(path: Path, first: Sequence[Plane], planes: Sequence[Plane]) -> None:
    """See that two samples hold the same channels in the same number type.

    Raises:
        DataError: naming both files and what differs.
    """
    if len(planes) != len(first):
        raise DataError(
            f"{path}: {planes[0].file} holds {len(planes)} channels, but {first[0].file} holds {len(first)}; describe "
            "each kind on its own"
        )
    for one, other in zip(planes, [first[0]] * len(planes), strict=True):
        if one.dtype != other.dtype:
            raise DataError(
                f"{path}: {one.file} is {one.dtype}, but {other.file} is {other.dtype}; write both in one number type"
            )
    for number, (one, other) in enumerate(zip(planes, first, strict=True), 1):
        for what, mine, others in (("", one.name, other.name), ("stored as ", one.encoding, other.encoding)):
            if mine != others:
                raise DataError(
                    f"{path}: channel {number} is {what}{_text(mine)} in {one.file}, but {_text(others)} in "
                    f"{other.file}; describe each kind on its own"
                )


def _text(fact: str | Encoding | None) -> str:
    return str(fact.to_dict()) if isinstance(fact, Encoding) else repr(fact)
