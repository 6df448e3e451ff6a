"""Several sources in one run: their channels united by identity, their classes by name."""

from __future__ import annotations

from collections.abc import Collection as Items
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from anychan.channels import ChannelSet
from anychan.data.collection import Collection
from anychan.data.opening import open_collection
from anychan.encoding import Encoding
from anychan.errors import ChannelError, DataError
from anychan.presets import PRESETS
from anychan.recipe import DataConfig

if TYPE_CHECKING:
    from anychan.data.dataset import Split

__all__ = ["check_number_types", "open_collections", "unite", "united_classes"]


def open_collections(config: DataConfig, *, seed: int) -> dict[str, Collection]:
    """The recipe's sources by name, which is the last part of their path, a file's without suffix.

    Raises:
        DataError: as `open_collection`, or for two sources of one name, or a group in two splits.
        ChannelError: as `open_collection`, or for several sources one of which names channels without their sensor.
    """
    paths = [config.path] if isinstance(config.path, str) else list(config.path)
    found: dict[str, Collection] = {}
    for path in paths:
        name = Path(path).name if Path(path).is_dir() else Path(path).stem
        if name in found:
            raise DataError(f"{path}: another source is called {name!r} too; rename one of them")
        found[name] = open_collection(path, config, seed=seed)
        if len(paths) > 1 and not found[name].named_sensor:
            raise ChannelError(
                f"{path}: its channels {found[name].held.label} name no sensor, so nobody knows whether another "
                "source's are the same; write them as sensor:name, or as mappings with name and sensor"
            )
    _check_groups(found, str(config.group_by))
    return found


def _check_groups(collections: Mapping[str, Collection], group_by: str) -> None:
    """Each source draws its splits by itself: a group of two sources may have come into two splits."""
    place: dict[str, tuple[str, str]] = {}
    for name, collection in collections.items():
        for split, samples in collection.index.splits.items():
            for sample in samples:
                group = collection.index.groups.get(sample.name)
                if group is None:
                    continue
                there, other = place.setdefault(group, (name, split))
                if other != split:
                    raise DataError(
                        f"{group_by} {group!r} is in {split} of source {name}, but in {other} of source {there}; keep "
                        "it in one split by a column split in the sources' samples.csv"
                    )


def unite(collections: Items[Collection], encodings: Mapping[str, Encoding]) -> tuple[ChannelSet, tuple[Encoding, ...]]:
    """The channels of all sources and how their values are given; tells each source to give them so.

    Channels of one sensor that anychan knows come in its order, others as they are met.

    Args:
        collections: the sources.
        encodings: by identity, for channels whose values are to be given in a certain way.

    Raises:
        ChannelError: when two sources disagree about a channel's wavelength or unit, naming both.
    """
    first, *others = collections
    channels = first.channels
    for other in others:
        try:
            channels = channels | other.channels
        except ChannelError as error:
            raise ChannelError(f"{other.path}: {error}") from None
    if others and (preset := next((p for p in PRESETS.values() if channels <= p), None)) is not None:
        channels = preset.select(sorted(channels, key=preset.index))
    chosen = dict(encodings)
    for collection in collections:
        for channel, encoding in zip(collection.channels, collection.encodings, strict=True):
            kept = chosen.setdefault(channel.identity, encoding)
            if kept.unit != encoding.unit:
                here, there = (unit or "no stated unit" for unit in (encoding.unit, kept.unit))
                raise ChannelError(
                    f"{collection.path}: channel {channel.identity!r} is in {here}, but in {there} elsewhere; state "
                    "one unit, with scale and offset"
                )
            if kept.no_data is None and encoding.no_data is not None:
                kept = Encoding(kept.unit, kept.scale, kept.offset, encoding.no_data)
                chosen[channel.identity] = kept
    for collection in collections:
        collection.encode_as(chosen)
    return channels, tuple(chosen[identity] for identity in channels.identities)


def united_classes(collections: Items[Collection]) -> tuple[str, ...]:
    """The first source's classes if all have the same, else all classes by name."""
    first, *others = (collection.index.classes for collection in collections)
    if all(other == first for other in others):
        return first
    return tuple(sorted({name for classes in (first, *others) for name in classes}))


def check_number_types(sources: Mapping[str, Mapping[str, Split]]) -> None:
    """All images must be of one number type: raw values of 8 and 16 bits mean other things.

    Raises:
        DataError: naming two sources that differ.
    """
    parts = [(name, part) for name, splits in sources.items() for part in splits.values()]
    (first, there), *others = parts
    for name, part in others:
        if part.images.dtype != there.images.dtype:
            raise DataError(
                f"{name}/{part.names[0]} is {part.images.dtype}, but {first}/{there.names[0]} is {there.images.dtype}; "
                "use one number type"
            )
