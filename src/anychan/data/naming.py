"""Which channels images hold: what files say, what was asked for, and what it could be where nobody says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from anychan.channels import Channel, ChannelSet, parse_channels
from anychan.data.channels_file import evenly_spaced
from anychan.errors import ChannelError
from anychan.presets import PRESETS

__all__ = ["Naming", "known_count", "name_channels"]

_NOBODYS = "custom"  # the sensor of channels that name none


@dataclass(frozen=True)
class Naming:
    """The channels of images, in the files' order.

    Args:
        channels: `None` where nobody says.
        order: for each channel, its place in the files.
        named_sensor: whether somebody says whose the channels are.
        how: who says so, or what it could be.
        by_names: whether each was found by what the files call it.
    """

    channels: ChannelSet | None
    order: tuple[int, ...]
    named_sensor: bool
    how: str
    by_names: bool = False


def name_channels(
    names: Sequence[str | None],
    count: int,
    where: str,
    *,
    asked: str | None = None,
    sensor: str | None = None,
    wavelengths: tuple[float, float] | None = None,
    choose: bool = False,
) -> Naming:
    """Match the names that files bring along with the sensors that anychan knows, and with what was asked for.

    Args:
        names: what the files call their channels; empty where they do not.
        count: the number of channels.
        where: the data, for messages.
        asked: the channels by `--channels`.
        sensor: the sensor by `--sensor`.
        wavelengths: the first and the last centre of evenly spaced bands in nm by `--wavelengths`.
        choose: whether channels may be left out, as those with a file each may.

    Raises:
        ChannelError: for an unknown name, another number of channels, or an order that contradicts the names.
    """
    known = [] if any(name is None for name in names) else [str(name) for name in names]
    if wavelengths is not None:
        return _evenly_spaced(known, count, where, asked, sensor, wavelengths)
    if asked is not None:
        return _as_asked(known, count, where, asked, sensor, choose)
    if sensor is not None:
        return _of_sensor(known, count, where, sensor)
    whole = tuple(range(count))
    if not known:
        return Naming(None, whole, False, _how_unnamed(count))
    fits = [name for name, preset in PRESETS.items() if all(_find(text, preset) is not None for text in known)]
    if len(fits) == 1:
        return _of_sensor(known, count, where, fits[0])
    if fits:
        how = f"channels {', '.join(known)} could be those of {', '.join(fits)}; say --sensor with one of them"
        return Naming(None, whole, False, how)
    if all(":" in name for name in known):
        with suppress(ChannelError):  # channels of several sensors
            return Naming(parse_channels(known, PRESETS), whole, True, "names from the files", True)
    bare = ChannelSet(Channel(_plain(name), _NOBODYS) for name in known)
    return Naming(bare, whole, False, "names from the files; no sensor that anychan knows has them: --sensor names one")


def known_count(names: Sequence[str], asked: str | None, sensor: str | None) -> int | None:
    """How many channels there must be, by their names in the file or by what was asked for; `None`: nobody says.

    Raises:
        ChannelError: for an unknown channel.
    """
    if names:
        return len(names)
    if asked is not None:
        return len(parse_channels(asked, PRESETS, sensor=sensor or _NOBODYS))
    preset = PRESETS.get((sensor or "").casefold())
    return None if preset is None else len(preset)


def _how_unnamed(count: int) -> str:
    channels = "1 channel" if count == 1 else f"{count} channels"
    fits = [name for name, preset in PRESETS.items() if len(preset) == count]
    if not fits:
        spaced = ", or say --sensor NAME --wavelengths FIRST,LAST (nm) for evenly spaced bands" if count > 1 else ""
        return f"{channels} without names: nobody says what they are; list them by --channels{spaced}"
    could = f"{' and '.join(fits)} {'has' if len(fits) == 1 else 'have'} {count}, but the order isn't in the files"
    return f"{channels} without names: {could}; say --sensor {fits[0]}, or --channels with a list in the files' order"


def _evenly_spaced(
    known: Sequence[str], count: int, where: str, asked: str | None, sensor: str | None, ends: tuple[float, float]
) -> Naming:
    if asked is not None:
        raise ChannelError(f"{where}: --channels and --wavelengths both say what the channels are; leave one out")
    if known:
        raise ChannelError(
            f"{where}: the files name their channels, {known[0]!r} the first; --wavelengths is for bands without names"
        )
    if sensor is None or sensor.casefold() in PRESETS:
        known_one = "" if sensor is None else f", and {sensor} is one whose bands anychan knows"
        raise ChannelError(
            f"{where}: --wavelengths is for a sensor that anychan does not know{known_one}; name yours by --sensor"
        )
    channels = evenly_spaced({"sensor": sensor, "count": count, "wavelengths_nm": list(ends)})
    return Naming(channels, tuple(range(count)), True, "evenly spaced, as --wavelengths says")


def _plain(text: str) -> str:
    return re.sub(r"[:,]", " ", text).strip()


def _find(text: str, preset: ChannelSet) -> int | None:
    """The channel of a sensor that a file's name for it means: a name or alias, not a common name such as nir."""
    for form in (text.strip(), re.split(r"[\s,;(]", text.strip())[0]):  # "B4, central wavelength 665 nm"
        found = [place for place, channel in enumerate(preset) if channel.answers_to(form) >= 2]
        if len(found) == 1:
            return found[0]
    return None


def _of_sensor(known: Sequence[str], count: int, where: str, sensor: str) -> Naming:
    whole = tuple(range(count))
    preset = PRESETS.get(sensor.casefold())
    if preset is None:
        if not known:
            raise ChannelError(
                f"{where}: the files do not name their {count} channels; list them by --channels, or say "
                "--wavelengths FIRST,LAST (nm) for evenly spaced bands"
            )
        return Naming(ChannelSet(Channel(_plain(name), sensor) for name in known), whole, True, "names from the files")
    if not known:
        if len(preset) != count:
            raise ChannelError(
                f"{where}: there are {count} channels, but {sensor} has {len(preset)}; list them by --channels"
            )
        return Naming(preset, whole, True, f"as --sensor {sensor} says; the files name no channel")
    places = [_find(name, preset) for name in known]
    for name, place in zip(known, places, strict=True):
        if place is None:
            raise ChannelError(
                f"{where}: the files call a channel {name!r}, which is none of {sensor}'s {', '.join(preset.names)}; "
                "list all by --channels"
            )
    channels = ChannelSet((preset[place] for place in places if place is not None), source=preset.source)
    return Naming(channels, whole, True, f"names from the files, those of {sensor}", True)


def _as_asked(known: Sequence[str], count: int, where: str, asked: str, sensor: str | None, choose: bool) -> Naming:
    channels = parse_channels(asked, PRESETS, sensor=sensor or _NOBODYS)
    named = all(channel.sensor != _NOBODYS for channel in channels)
    places = [_place(channel, known) for channel in channels]
    matched = [place for place in places if place is not None]
    if choose and len(matched) == len(channels):
        return Naming(channels, tuple(matched), named, "as --channels says, by the files' names", True)
    if choose and matched:
        missing = channels[places.index(None)]
        raise ChannelError(f"{where}: no file is of channel {missing.name!r}; the files are of {', '.join(known)}")
    if len(channels) != count:
        raise ChannelError(f"{where}: there are {count} channels, but --channels names {len(channels)}")
    for position, place in enumerate(places):
        if place is not None and place != position:
            raise ChannelError(
                f"{where}: --channels puts {channels[position].name!r} at place {position + 1}, but the files call "
                f"that one {known[position]!r}, and it is at place {place + 1}"
            )
    return Naming(channels, tuple(range(count)), named, "as --channels says")


def _place(channel: Channel, known: Sequence[str]) -> int | None:
    places = [place for place, name in enumerate(known) if _find(name, ChannelSet([channel])) is not None]
    return places[0] if len(places) == 1 else None
