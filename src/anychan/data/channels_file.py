"""`channels.yaml`, the file beside the data that says what its images hold.

    channels:                       # a sensor's name, or a list
      - sentinel2:B02               # a channel that anychan knows, or
      - {name: DNA, sensor: my-microscope, unit: counts}
    files: "{sample}_{channel}.tif" # where each channel lies in a file of its own
    unit: reflectance               # of all channels; a channel's own entry wins
    scale: 0.0001                   # value = scale × stored number + offset
    offset: -0.1
    no_data: 0                      # the stored number that means "no data"

Many evenly spaced bands need no list: `channels: {sensor: samson, count: 156, wavelengths_nm: [401, 889]}` are b001 to
b156. Where a file's name calls a channel otherwise, its entry says how: `{name: DNA, sensor: hci, file: ch5}`.

Beside a zip, `.npz` or `.mat` it is called like that file: `tiles.channels.yaml` for `tiles.zip`. A zip may hold it
too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from anychan.channels import Channel, ChannelSet, parse_channels
from anychan.data.source import Source
from anychan.encoding import Encoding
from anychan.errors import ChannelError, DataError
from anychan.files import replacing
from anychan.plain_yaml import parse_plain, read_plain
from anychan.presets import PRESETS

__all__ = ["CHANNELS_FILE", "ChannelsFile", "evenly_spaced", "find_channels_file", "sidecar"]

CHANNELS_FILE = "channels.yaml"
_ENCODING = tuple(Encoding.__dataclass_fields__)
_KEYS = ("channels", "files", *_ENCODING)
_WILD = 4  # each more makes a search a hundred times longer
_MOST_CHANNELS = 65_535  # as in a TIFF


@dataclass(frozen=True)
class ChannelsFile:
    """What a `channels.yaml` says.

    Args:
        channels: the channels, in the files' order.
        encodings: what each channel's stored numbers mean.
        files: pattern of the files' names where each channel has one of its own; it holds `{channel}`, and may hold
            `{sample}` and `*`.
        named_sensor: whether the file says whose every channel is; a bare name is nobody's.
        file_texts: what stands for `{channel}` in each channel's file names; `None` for its name or an alias. Empty
            where no channel says.
    """

    channels: ChannelSet
    encodings: tuple[Encoding, ...]
    files: str | None = None
    named_sensor: bool = True
    file_texts: tuple[str | None, ...] = ()

    @property
    def file_names(self) -> tuple[tuple[str, ...], ...]:
        """What may stand for `{channel}` in the names of each channel's files."""
        texts = self.file_texts or (None,) * len(self.channels)
        return tuple(
            (channel.name, *channel.aliases) if text is None else (text,)
            for channel, text in zip(self.channels, texts, strict=True)
        )

    @classmethod
    def of(cls, spec: str | Sequence[str]) -> ChannelsFile:
        """Channels by name, of whose numbers nobody says what they mean; see `parse_channels`."""
        channels = parse_channels(spec, PRESETS)
        items = spec.split(",") if isinstance(spec, str) else spec
        is_sensor = isinstance(spec, str) and spec.casefold() in PRESETS
        named = is_sensor or all(":" in item for item in items)
        return cls(channels, (Encoding(),) * len(channels), named_sensor=named)

    @classmethod
    def parse(cls, text: str, where: str) -> ChannelsFile:
        """Read the file's text.

        Raises:
            DataError: when it is not YAML, or not of this form.
            ChannelError: for an unknown channel, or a field that cannot be.
        """
        try:
            values = parse_plain(text)
        except yaml.MarkedYAMLError as error:
            raise DataError(f"{where}: the file is not YAML ({error.problem})") from None
        if not isinstance(values, dict) or not isinstance(values.get("channels"), str | list | dict):
            raise DataError(f"{where}: the file must have the key 'channels', with a sensor or a list of channels")
        for key in values:
            if key not in _KEYS:
                raise DataError(f"{where}: no key is called {key!r}; there are {', '.join(_KEYS)}")
        files = values.get("files")
        if files is not None and not (isinstance(files, str) and files.count("{channel}") == 1):
            raise DataError(
                f"{where}: files is {files!r}, but it must be a pattern with {{channel}}, as '*_{{channel}}.tif'"
            )
        if files is not None and (files.count("{sample}") > 1 or files.count("*") + files.count("{sample}") > _WILD):
            raise DataError(f"{where}: files is {files!r}, but it may hold {{sample}} once, and {_WILD} * with it")
        shared = {key: values[key] for key in _ENCODING if key in values}
        try:
            return cls._from_list(values["channels"], shared, files)
        except (ChannelError, TypeError) as error:
            raise ChannelError(f"{where}: {error}") from None

    @classmethod
    def _from_list(
        cls, spec: str | list[Any] | dict[str, Any], shared: dict[str, Any], files: str | None
    ) -> ChannelsFile:
        if not isinstance(spec, list):
            channels = parse_channels(spec, PRESETS) if isinstance(spec, str) else evenly_spaced(spec)
            return cls(channels, (Encoding.from_dict(shared),) * len(channels), files)
        plain, encodings, texts = [], [], []
        for entry in spec:
            fields = dict(entry) if isinstance(entry, Mapping) else {"channel": entry}
            texts.append(_file_text(fields.pop("file", None)))
            encodings.append(Encoding.from_dict({**shared, **{k: fields.pop(k) for k in _ENCODING if k in fields}}))
            # {channel: …} is one that anychan knows, with an encoding or file names of its own
            plain.append(fields["channel"] if set(fields) == {"channel"} else fields)
        named = all("sensor" in entry if isinstance(entry, dict) else ":" in str(entry) for entry in plain)
        return cls(parse_channels(plain, PRESETS), tuple(encodings), files, named, tuple(texts) if any(texts) else ())

    def save(self, path: Path, *, header: str = "") -> None:
        """Write the file, whole or not at all; `parse` reads the same from it.

        Args:
            path: the file.
            header: comments to begin with, each line with its `#`.
        """
        values: dict[str, Any] = {"channels": self._compact() or self._entries()}
        if self.files is not None:
            values["files"] = self.files
        if isinstance(values["channels"], dict):
            values |= self.encodings[0].to_dict()
        with replacing(path) as partial:
            text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
            partial.write_text(header + text, encoding="utf-8")

    def _entries(self) -> list[Any]:
        known = {channel.identity: channel for preset in PRESETS.values() for channel in preset}
        entries: list[Any] = []
        texts = self.file_texts or (None,) * len(self.channels)
        rows = zip(self.channels, self.channels.to_list(), self.encodings, texts, strict=True)
        for channel, fields, encoding, text in rows:
            own = encoding.to_dict() | ({} if text is None else {"file": text})
            if known.get(channel.identity) == channel:
                entries.append({"channel": channel.identity, **own} if own else channel.identity)
            elif not self.named_sensor and set(fields) == {"name", "sensor"}:  # nobody's
                entries.append({"name": channel.name, **own} if own else channel.name)
            else:
                entries.append({**{k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}, **own})
        return entries

    def _compact(self) -> dict[str, Any] | None:
        """The short form of evenly spaced bands, where that is what they are."""
        first, last = self.channels[0], self.channels[-1]
        ends = [first.wavelength_nm, last.wavelength_nm]
        if len(self.channels) < 2 or None in ends or len(set(self.encodings)) > 1 or self.file_texts:
            return None
        short = {"sensor": first.sensor, "count": len(self.channels), "wavelengths_nm": ends}
        return short if evenly_spaced(short) == self.channels else None


def evenly_spaced(spec: Mapping[str, Any]) -> ChannelSet:
    """Bands b001, b002, … whose centres lie evenly between the first's and the last's, to 0.01 nm.

    Args:
        spec: the short form of channels.yaml: `sensor`, `count` and `wavelengths_nm`.

    Raises:
        ChannelError: for another form.
    """
    form = "{sensor: NAME, count: 156, wavelengths_nm: [401, 889]}"
    if set(spec) != {"sensor", "count", "wavelengths_nm"}:
        raise ChannelError(f"channels has the keys {', '.join(map(str, spec))}, but the short form is {form}")
    sensor, count, ends = spec["sensor"], spec["count"], spec["wavelengths_nm"]
    if not (isinstance(count, int) and not isinstance(count, bool) and 2 <= count <= _MOST_CHANNELS):
        raise ChannelError(f"channels has the count {count!r}, but {form} needs one of 2 to {_MOST_CHANNELS:,}")
    if not (isinstance(ends, list) and len(ends) == 2 and all(isinstance(end, int | float) for end in ends)):
        raise ChannelError(f"wavelengths_nm is {ends!r}, but {form} needs the first centre and the last")
    digits = max(3, len(str(count)))
    step = (ends[1] - ends[0]) / (count - 1)
    return ChannelSet(
        Channel(f"b{number + 1:0{digits}}", sensor, wavelength_nm=round(ends[0] + step * number, 2))
        for number in range(count)
    )


def _file_text(text: Any) -> str | None:
    if text is not None and not (isinstance(text, str) and text):
        raise ChannelError(f"file is {text!r}, but it must be the text that stands for {{channel}} in the file's name")
    return text


def sidecar(path: Path, file: str = CHANNELS_FILE) -> Path:
    """Where a file about a folder or file of data lies: in the folder, or beside the file."""
    return path / file if path.is_dir() else path.with_suffix(f".{file}")


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
            return ChannelsFile.parse(read_plain(beside), str(beside))
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{beside}: the file cannot be read as text ({error})") from None
    if source is not None and CHANNELS_FILE in source.names():
        return ChannelsFile.parse(source.read_text(CHANNELS_FILE), f"{source.path}/{CHANNELS_FILE}")
    return None
