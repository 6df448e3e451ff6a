"""`channels.yaml`, the file beside the data that says what its images hold.

    channels:                       # a sensor's name, or a list
      - sentinel2:B02               # a channel that anychan knows, or
      - {name: DNA, sensor: my-microscope, unit: counts}
    files: "{sample}_{channel}.tif" # where each channel lies in a file of its own
    unit: reflectance               # of all channels; a channel's own entry wins
    scale: 0.0001                   # value = scale × stored number + offset
    offset: -0.1
    no_data: 0                      # the stored number that means "no data"

Beside a zip, `.npz` or `.mat` it is called like that file: `tiles.channels.yaml` for `tiles.zip`, or inside the zip.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from anychan.channels import ChannelSet, parse_channels
from anychan.data.source import Source
from anychan.encoding import Encoding
from anychan.errors import ChannelError, DataError
from anychan.files import replacing
from anychan.presets import PRESETS

__all__ = ["CHANNELS_FILE", "ChannelsFile", "find_channels_file", "sidecar"]

CHANNELS_FILE = "channels.yaml"
_ENCODING = tuple(Encoding.__dataclass_fields__)
_KEYS = ("channels", "files", *_ENCODING)


@dataclass(frozen=True)
class ChannelsFile:
    """What a `channels.yaml` says.

    Args:
        channels: the channels, in the files' order.
        encodings: what each channel's stored numbers mean.
        files: pattern of the files' names where each channel has one of its own; it holds `{channel}`, and may hold
            `{sample}` and `*`.
        named_sensor: whether the file says whose every channel is; a bare name is nobody's.
    """

    channels: ChannelSet
    encodings: tuple[Encoding, ...]
    files: str | None = None
    named_sensor: bool = True

    @classmethod
    def parse(cls, text: str, where: str) -> ChannelsFile:
        """Read the file's text.

        Raises:
            DataError: when it is not YAML, or not of this form.
            ChannelError: for an unknown channel, or a field that cannot be.
        """
        try:
            values = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise DataError(f"{where}: the file is not YAML ({getattr(error, 'problem', None)})") from None
        if not isinstance(values, dict) or not isinstance(values.get("channels"), str | list):
            raise DataError(f"{where}: the file must have the key 'channels', with a sensor or a list of channels")
        for key in values:
            if key not in _KEYS:
                raise DataError(f"{where}: no key is called {key!r}; there are {', '.join(_KEYS)}")
        files = values.get("files")
        if files is not None and not (isinstance(files, str) and "{channel}" in files):
            raise DataError(
                f"{where}: files is {files!r}, but it must be a pattern with {{channel}}, as '*_{{channel}}.tif'"
            )
        shared = {key: values[key] for key in _ENCODING if key in values}
        try:
            return cls._from_list(values["channels"], shared, files)
        except (ChannelError, TypeError) as error:
            raise ChannelError(f"{where}: {error}") from None

    @classmethod
    def _from_list(cls, spec: str | list[Any], shared: dict[str, Any], files: str | None) -> ChannelsFile:
        if isinstance(spec, str):
            channels = parse_channels(spec, PRESETS)
            return cls(channels, (Encoding.from_dict(shared),) * len(channels), files)
        plain, encodings = [], []
        for entry in spec:
            own = {key: entry[key] for key in _ENCODING if key in entry} if isinstance(entry, Mapping) else {}
            rest = {key: entry[key] for key in entry if key not in own} if isinstance(entry, Mapping) else entry
            # a channel that anychan knows, with an encoding of its own
            plain.append(rest["channel"] if isinstance(rest, dict) and set(rest) == {"channel"} else rest)
            encodings.append(Encoding.from_dict({**shared, **own}))
        named = all("sensor" in entry if isinstance(entry, dict) else ":" in str(entry) for entry in plain)
        return cls(parse_channels(plain, PRESETS), tuple(encodings), files, named)

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all; `parse` reads the same from it."""
        known = {channel.identity: channel for preset in PRESETS.values() for channel in preset}
        entries: list[Any] = []
        for channel, fields, encoding in zip(self.channels, self.channels.to_list(), self.encodings, strict=True):
            own = encoding.to_dict()
            if known.get(channel.identity) == channel:
                entries.append({"channel": channel.identity, **own} if own else channel.identity)
            else:
                entries.append({**{k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}, **own})
        values = {"channels": entries, **({} if self.files is None else {"files": self.files})}
        with replacing(path) as partial:
            partial.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), encoding="utf-8")


def sidecar(path: Path) -> Path:
    """Where the channels file of a folder or file lies: in the folder, or beside the file."""
    return path / CHANNELS_FILE if path.is_dir() else path.with_suffix(f".{CHANNELS_FILE}")


def find_channels_file(path: Path, source: Source | None = None) -> ChannelsFile | None:
    """The channels file of a folder, zip or other file of data; `None` where there is none.

    Args:
        path: the folder or file.
        source: the folder or zip, opened; a zip may hold the file itself, but one beside it wins.

    Raises:
        DataError: as `ChannelsFile.parse`, or when the file cannot be read.
        ChannelError: as `ChannelsFile.parse`.
    """
    beside = sidecar(path)
    if beside.is_file():
        try:
            return ChannelsFile.parse(beside.read_text(encoding="utf-8"), str(beside))
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{beside}: the file cannot be read as text ({error})") from None
    if source is not None and CHANNELS_FILE in source.names():
        return ChannelsFile.parse(source.read_text(CHANNELS_FILE), f"{source.path}/{CHANNELS_FILE}")
    return None
