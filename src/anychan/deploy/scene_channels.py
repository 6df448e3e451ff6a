"""Which channels a scene's bands are, and which of them the model knows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from anychan.channels import Channel, ChannelSet, parse_channels
from anychan.contract import Contract
from anychan.data.band_files import group_files
from anychan.data.channels_file import CHANNELS_FILE, ChannelsFile, find_channels_file
from anychan.data.source import FolderSource
from anychan.errors import ChannelError, DataError
from anychan.presets import PRESETS

__all__ = [
    "BandChannels",
    "channel_notes",
    "described_channels",
    "find_band_files",
    "match_bands",
    "name_bands",
    "named_channels",
    "said_channels",
    "scene_channels_file",
]


@dataclass(frozen=True)
class BandChannels:
    """The bands that the model is to see.

    Args:
        bands: their positions in the scene.
        channels: the model's channels that they are, in the same order.
        unknown: names of the bands that are left out, because the model does not know them.
        missing: names of the model's channels that the scene does not have.
    """

    bands: tuple[int, ...]
    channels: ChannelSet
    unknown: tuple[str, ...]
    missing: tuple[str, ...]


def scene_channels_file(path: Path) -> ChannelsFile | None:
    """What is said of a scene by `<stem>.channels.yaml`, or else `channels.yaml`, beside its file; or in its folder.

    Raises:
        DataError: for a file that is not such a one.
        ChannelError: for an unknown sensor or channel.
    """
    found = find_channels_file(path)
    return found if found is not None or path.is_dir() else find_channels_file(path.parent)


def find_band_files(folder: Path, said: ChannelsFile | None) -> dict[str, Path]:
    """The file of each channel in a scene's folder.

    Args:
        folder: with one TIFF a channel.
        said: its `channels.yaml`.

    Raises:
        DataError: without a pattern, or when a channel's file is missing or there are several, or several samples.
    """
    if said is None or said.files is None:
        raise DataError(
            f"{folder}: a scene of one file a channel needs a {CHANNELS_FILE} in the folder, with the channels and "
            'the pattern of their files, such as files: "*_{channel}.tif"'
        )
    samples = group_files(FolderSource(folder).names(), said)
    if len(samples) != 1:
        there = f"{len(samples)} samples do: {', '.join(sorted(samples))}" if samples else "no file does"
        raise DataError(f"{folder}: one scene's files must fit the pattern {said.files!r}, but {there}")
    ((sample, files),) = samples.items()
    for channel in said.channels:
        if channel.identity not in files:
            raise DataError(f"{folder}: sample {sample!r} has no file for band {channel.name} ({said.files})")
    return {channel.name: folder / files[channel.identity] for channel in said.channels}


def named_channels(spec: str, model: ChannelSet) -> tuple[Channel, ...]:
    """The channels that `--channels` names: a sensor's; or a list of the model's, of other sensors', or of new ones.

    Raises:
        ChannelError: for a sensor or channel that does not exist, or one named twice.
    """
    if spec.casefold() in PRESETS:
        return tuple(PRESETS[spec.casefold()])
    items = [item.strip() for item in spec.split(",")]
    found = [model[model.index(item)] if item in model else parse_channels([item], PRESETS)[0] for item in items]
    return tuple(ChannelSet(found))


def said_channels(model: ChannelSet, *, spec: str | None, said: ChannelsFile | None) -> tuple[Channel, ...] | None:
    """The channels of an input by the first that says so: the user, or `channels.yaml`; `None` where neither does.

    Args:
        model: the model's channels.
        spec: by the user.
        said: by `channels.yaml`.

    Raises:
        ChannelError: as `named_channels`.
    """
    if spec is not None:
        return named_channels(spec, model)
    return None if said is None else tuple(said.channels)


def described_channels(names: Sequence[str | None], model: ChannelSet) -> ChannelSet | None:
    """The model's channels that a file's own band descriptions name; `None` unless each names one."""
    said = [name for name in names if name is not None and name in model]
    return model.select(said) if said and len(said) == len(names) else None


def name_bands(
    path: Path, names: Sequence[str | None], model: ChannelSet, *, spec: str | None, said: ChannelsFile | None
) -> tuple[Channel, ...]:
    """The channel of each band, by the first that says so: the user, `channels.yaml`, the file's own band descriptions.

    The order is never guessed: as many bands as the model has channels mean nothing.

    Args:
        path: the scene, for messages.
        names: the band descriptions.
        model: the model's channels.
        spec: by the user.
        said: by `channels.yaml`.

    Raises:
        ChannelError: when nobody says, or another number of channels is named than there are bands.
    """
    channels = said_channels(model, spec=spec, said=said)
    if channels is not None:
        if len(channels) != len(names):
            where = "--channels" if spec is not None else CHANNELS_FILE
            these = ", ".join(channel.name for channel in channels)
            raise ChannelError(f"{path}: the scene has {len(names)} bands, but {where} names {len(channels)}: {these}")
        return channels
    described = described_channels(names, model)
    if described is None:
        raise ChannelError(
            f"{path}: nobody says which channels its {len(names)} bands are; give --channels, a sensor or a list in "
            f"the file's order, or write a {CHANNELS_FILE} beside it"
        )
    return tuple(described)


def match_bands(path: Path, channels: Sequence[Channel], contract: Contract, *, allow_unknown: bool) -> BandChannels:
    """Which bands the model is to see.

    Args:
        path: the scene, for messages.
        channels: of its bands, in order.
        contract: the model's; channels that were never trained, whose weights mean nothing, count as unknown.
        allow_unknown: leave out those that it does not know.

    Raises:
        ChannelError: for channels that the model does not know, or none that it knows; or one identity of two
            wavelengths.
    """
    ChannelSet(channels) | contract.channels  # one identity, two wavelengths: an error
    known = [identity for identity in contract.channels.identities if identity not in contract.untrained]
    bands = tuple(band for band, channel in enumerate(channels) if channel.identity in known)
    unknown = tuple(channel.identity for channel in channels if channel.identity not in known)
    if not bands or (unknown and not allow_unknown):
        hint = ", or leave them out by --allow-unknown-channels" if bands else ""
        raise ChannelError(
            f"{path}: the model knows {', '.join(known)}, but not {', '.join(unknown)}; adapt or extend the model{hint}"
        )
    chosen = ChannelSet(channels[band] for band in bands)
    missing = [identity for identity in known if identity not in chosen.identities]
    names = contract.channels.select(missing).labels if missing else ()
    return BandChannels(bands, chosen, unknown, names)


def channel_notes(found: BandChannels, contract: Contract) -> Iterator[str]:
    """What the user must know of channels that are missing, were never trained, or are left out."""
    if found.missing:
        names = ", ".join(found.missing)
        yield (
            f"{len(found.missing)} of the model's {len(contract.channels)} channels are missing ({names}); the stem "
            f"that does without them: {contract.stem}"
        )
    guessed = [channel.name for channel in found.channels if channel.identity in contract.interpolated]
    if guessed:
        yield f"never trained, with weights from their wavelengths alone: {', '.join(guessed)}"
    if found.unknown:
        yield f"left out, because the model does not know them: {', '.join(found.unknown)}"
