"""What image files say of themselves, held against what is said of the whole collection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy.typing as npt

from anychan.channels import Channel, ChannelSet
from anychan.data.channels_file import CHANNELS_FILE, ChannelsFile
from anychan.data.readers import read_image
from anychan.data.tiff import is_tiff, tiff_facts
from anychan.encoding import Encoding, fits_type
from anychan.errors import ChannelError, DataError
from anychan.presets import PRESETS

__all__ = ["named_by_file", "read_as_declared", "read_with_gaps", "with_no_data_of"]

Array = npt.NDArray[Any]


def read_with_gaps(
    data: bytes, name: str, channels: ChannelSet, *, among: ChannelSet | None = None, grey: str = "refuse"
) -> tuple[Array, Encoding]:
    """An image (H, W, C), as `read_image`, and the encoding that says which of its numbers stands for no data.

    Args:
        data: the file's bytes.
        name: the file's name.
        channels: the channels expected, in the file's order.
        among: the sample's channels, where they lie in several files.
        grey: see `read_image`.

    Raises:
        DataError: as `read_image`, or when the file calls a channel by another's name.
    """
    image = read_image(data, name, channels, grey=grey)
    if not is_tiff(name):
        return image, Encoding()
    facts = tiff_facts(data, name)
    if facts.channel_names:
        _check_names(facts.channel_names, channels, among or channels, name)
    return image, Encoding(no_data=facts.no_data)


def read_as_declared(
    data: bytes,
    name: str,
    channels: ChannelSet,
    encodings: Sequence[Encoding],
    *,
    among: ChannelSet | None = None,
    grey: str = "refuse",
) -> Array:
    """An image as `read_with_gaps`, whose own no-data number becomes that of its channel's encoding.

    Args:
        data: the file's bytes.
        name: the file's name.
        channels: the channels expected, in the file's order.
        encodings: what their numbers mean.
        among: the sample's channels, where they lie in several files.
        grey: see `read_image`.

    Raises:
        DataError: as `read_with_gaps`, or for pixels without data in a channel for which no number says so.
    """
    image, tag = read_with_gaps(data, name, channels, among=among, grey=grey)
    if tag.no_data is None:
        return image
    for position, (channel, encoding) in enumerate(zip(channels, encodings, strict=True)):
        missing = tag.missing(image[:, :, position])
        if encoding.no_data == tag.no_data or encoding.no_data is tag.no_data or not missing.any():
            continue
        if not fits_type(encoding.no_data, image.dtype):
            raise DataError(
                f"{name}: its own tag says that {tag.no_data:g} stands for no data, as in channel {channel.name}, but "
                f"the first file and {CHANNELS_FILE} do not; write `no_data: {tag.no_data:g}` in {CHANNELS_FILE}"
            )
        image[:, :, position][missing] = encoding.no_data
    return image


def _check_names(names: Sequence[str | None], channels: ChannelSet, among: ChannelSet, name: str) -> None:
    """A name that answers to another channel than the one at its place is a contradiction; others are ignored."""
    for position, (said, channel) in enumerate(zip(names, channels, strict=True)):
        if said is None or channel.answers_to(said) >= 2:
            continue
        other = next((other for other in among if other.answers_to(said) >= 2), None)
        if other is not None:
            raise DataError(
                f"{name}: the file calls band {position + 1} {said!r}, but it is said to be {channel.name!r}; a band "
                "order that contradicts names is never guessed: correct the order, or the file's description"
            )


def with_no_data_of(data: bytes, name: str, encodings: Sequence[Encoding]) -> tuple[Encoding, ...]:
    """Encodings that have a file's own no-data number where they have none."""
    number = tiff_facts(data, name).no_data if is_tiff(name) else None
    return tuple(replace(e, no_data=number) if e.no_data is None else e for e in encodings)


def named_by_file(data: bytes, name: str) -> ChannelsFile | None:
    """The channels that a TIFF itself names; `None` where it leaves one without a name.

    Names that are all of one sensor that anychan knows are its channels; others are channels of nobody's. Either way
    the sensor was not named, so they are never united with another source's.

    Raises:
        ChannelError: for names that several sensors share, or that are there twice.
    """
    names = tiff_facts(data, name).channel_names if is_tiff(name) else ()
    given = [said for said in names if said is not None]
    if not given or len(given) < len(names):
        return None
    fits = [
        sensor
        for sensor, preset in PRESETS.items()
        if all(any(channel.answers_to(said) >= 2 for channel in preset) for said in given)
    ]
    if len(fits) > 1:
        raise ChannelError(
            f"{name}: the file's bands are called {', '.join(given)}, as {' and '.join(fits)} call theirs; say whose "
            f"they are in {CHANNELS_FILE}, or by --data.channels"
        )
    try:
        channels = PRESETS[fits[0]].select(given) if fits else ChannelSet(Channel(said, "custom") for said in given)
    except ChannelError as error:
        raise ChannelError(f"{name}: {error}") from None
    return ChannelsFile(channels, (Encoding(),) * len(channels), named_sensor=False)
