"""Samples whose channels lie in a file each: `a_B02.tif`, `a_B03.tif`, …"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from anychan.channels import ChannelSet
from anychan.data.channels_file import ChannelsFile
from anychan.data.collection import Array, Collection, reader_version
from anychan.data.file_claims import read_as_declared, with_no_data_of
from anychan.data.index import DataIndex, index_images
from anychan.data.readers import scale
from anychan.data.source import Source
from anychan.encoding import Encoding
from anychan.errors import DataError
from anychan.recipe import DataConfig

__all__ = ["BandFileCollection", "group_files", "open_band_files", "unlabelled_band_files"]


class BandFileCollection(Collection):
    """One image file a channel, in a folder or zip.

    Bands of a sample may differ in resolution, as Sentinel-2's do with 10, 20 and 60 m: all are brought to the grid of
    the finest by Pillow's bilinear filter, which takes pixels as areas, so that the bands' corners coincide. Pixels
    without data are not mixed with values (see `resize`).

    Args:
        source: the folder or zip.
        index: as `Collection`.
        file: the channels, and what their numbers mean.
        files: sample → channel's identity → file.
    """

    def __init__(
        self, source: Source, index: DataIndex, file: ChannelsFile, files: Mapping[str, Mapping[str, str]]
    ) -> None:
        super().__init__(source.path, index, file.channels, file.encodings, named_sensor=file.named_sensor)
        self.source, self.file, self.files = source, file, files

    def read_stored(self, name: str) -> Array:
        """As `Collection.read_stored`, all bands on the grid of the finest."""
        planes: list[Array] = []
        for channel, encoding in zip(self.held, self._stored, strict=True):
            file = self.files[name][channel.identity]
            data, alone = self.source.read(file), ChannelSet([channel])
            planes.append(read_as_declared(data, file, alone, [encoding], among=self.held))
            if planes[-1].dtype != planes[0].dtype:
                found = f"{planes[-1].dtype}, but the sample's first is {planes[0].dtype}"
                raise DataError(f"{file}: the band is {found}; use one number type")
        height, width, _ = max((plane.shape for plane in planes), key=lambda shape: shape[0] * shape[1])
        for plane, channel in zip(planes, self.held, strict=True):
            if plane.shape[0] * width != plane.shape[1] * height:
                raise DataError(
                    f"{self.files[name][channel.identity]}: the band has {plane.shape[0]}×{plane.shape[1]} pixels, but "
                    f"the sample's finest has {height}×{width}; bands must cover the same area"
                )
        finest = [
            scale(plane, height, width, "bilinear", [encoding.no_data])
            for plane, encoding in zip(planes, self._stored, strict=True)
        ]
        return np.concatenate(finest, -1)

    def only(self, samples: Iterable[str]) -> BandFileCollection:
        """The same with the files of these samples alone, and an empty index."""
        files = {sample: self.files[sample] for sample in samples}
        return BandFileCollection(self.source, DataIndex({}, ()), self.file, files)

    def _fingerprint(self, name: str) -> str:
        files = [self.files[name][identity] for identity in self.held.identities]
        return " ".join(self.source.fingerprint(file) + reader_version(file) for file in files)


def group_files(names: Iterable[str], file: ChannelsFile) -> dict[str, dict[str, str]]:
    """Sample → channel's identity → file, for all files that the pattern fits.

    `{channel}` is a channel's name or an alias (case is ignored), or what its entry says; `*` is anything but `/`. The
    pattern is for the end of the path. A sample's name is its folder and what `{sample}` stands for; without
    `{sample}`, the whole path with `*` for the channel.

    Args:
        names: the files.
        file: whose pattern and channels.

    Raises:
        DataError: for two files of one channel of a sample, or two channels that are called the same in files.
    """
    texts = _texts(file)
    pattern = _pattern(str(file.files), texts)
    found: dict[str, dict[str, str]] = {}
    for name in names:
        match = pattern.fullmatch(name)
        if match is None:
            continue
        named = match.groupdict()
        start, end = match.span("channel")
        sample = f"{named['folder'] or ''}{named['sample']}" if "sample" in named else f"{name[:start]}*{name[end:]}"
        files = found.setdefault(sample, {})
        other = files.setdefault(texts[named["channel"].casefold()], name)
        if other != name:
            raise DataError(
                f"{name}: {other} is the same channel of sample {sample!r}; make the pattern tell them apart"
            )
    return found


def _texts(file: ChannelsFile) -> dict[str, str]:
    """What stands for channels in the files' names, without case → identity."""
    found: dict[str, str] = {}
    for channel, names in zip(file.channels, file.file_names, strict=True):
        for name in names:
            other = found.setdefault(name.casefold(), channel.identity)
            if other != channel.identity:
                raise DataError(
                    f"files that are called {name!r} could be of {other} or {channel.identity}; give each channel's "
                    "entry a `file:` with what stands for {channel} in its names"
                )
    return found


def _pattern(files: str, texts: Mapping[str, str]) -> re.Pattern[str]:
    """The pattern for whole paths; a channel's number never ends within a longer one (ch1 is not in ch10)."""
    longest = sorted(texts, key=len, reverse=True)
    numbered = [
        ("(?<![0-9])" if text[0].isdigit() else "") + re.escape(text) + ("(?![0-9])" if text[-1].isdigit() else "")
        for text in longest
    ]
    parts = {"{channel}": f"(?P<channel>(?i:{'|'.join(numbered)}))", "{sample}": "(?P<sample>[^/]+)", "*": "[^/]*"}
    tokens = re.split(r"(\{channel\}|\{sample\}|\*)", files)
    return re.compile("(?P<folder>.*/)?" + "".join(parts.get(token, re.escape(token)) for token in tokens))


def open_band_files(source: Source, file: ChannelsFile, config: DataConfig, *, seed: int) -> BandFileCollection:
    """Find the samples of a folder or zip in which each channel has a file of its own.

    Args:
        source: the folder or zip.
        file: its channels file, with a pattern.
        config: the recipe's data section.
        seed: for splits that the source does not bring along.

    Raises:
        DataError: naming file and line, when something cannot be used; or sample and channel, when a file is missing.
    """
    files = _found_files(source, file)
    index = index_images(source, config, seed=seed, samples=sorted(files))
    return _collect(source, index, file, files, [sample.name for split in index.splits.values() for sample in split])


def unlabelled_band_files(source: Source, file: ChannelsFile) -> BandFileCollection:
    """All samples of a folder or zip in which each channel has a file of its own; its index is empty.

    Args:
        source: the folder or zip.
        file: its channels file, with a pattern.

    Raises:
        DataError: when no file fits the pattern; or naming sample and channel, when a file is missing.
    """
    files = _found_files(source, file)
    return _collect(source, DataIndex({}, ()), file, files, sorted(files))


def _found_files(source: Source, file: ChannelsFile) -> dict[str, dict[str, str]]:
    files = group_files(source.names(), file)
    if not files:
        raise DataError(
            f"{source.path}: no file fits the pattern {file.files!r} with a channel of {file.channels.names}"
        )
    return files


def _collect(
    source: Source,
    index: DataIndex,
    file: ChannelsFile,
    files: Mapping[str, Mapping[str, str]],
    samples: Sequence[str],
) -> BandFileCollection:
    """See that these samples are complete, and take the no data of the first, which is a training sample, if any is."""
    for sample in samples:
        for channel in file.channels:
            if channel.identity not in files.get(sample, {}):
                raise DataError(f"{source.path}: sample {sample!r} has no file for band {channel.name} ({file.files})")
    first = files[samples[0]]
    encodings: list[Encoding] = []
    for channel, encoding in zip(file.channels, file.encodings, strict=True):
        band = first[channel.identity]
        encodings += with_no_data_of(source.read(band), f"{source.path}/{band}", [encoding])
    return BandFileCollection(source, index, replace(file, encodings=tuple(encodings)), files)
