"""Images to predict, read as in training: one file a sample, one file a channel, or arrays; nobody labels them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy.typing as npt

from anychan.channels import ChannelSet
from anychan.data.array_file import ArrayCollection, image_arrays, load_arrays, named_by_arrays, row_names
from anychan.data.band_files import BandFileCollection, unlabelled_band_files
from anychan.data.channels_file import CHANNELS_FILE, ChannelsFile, find_channels_file, sidecar
from anychan.data.file_claims import read_with_gaps
from anychan.data.index import DataIndex
from anychan.data.readers import PHOTOGRAPH_SUFFIXES, image_suffixes
from anychan.data.source import FolderSource, Source, open_source
from anychan.data.tiff import is_tiff, tiff_facts
from anychan.deploy.scene_channels import described_channels, said_channels, scene_channels_file
from anychan.encoding import Encoding
from anychan.errors import ChannelError, ConfigError, DataError
from anychan.presets import RGB

__all__ = ["SampleReader", "open_files", "open_samples", "without_channels"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class SampleReader:
    """Images without labels.

    Args:
        names: of the images.
        held: the channels that every image holds, in order.
        said: what is said of the numbers that stand for them.
        read: name → the image (H, W, C), and the encoding by which its own file marks pixels without data.
    """

    names: tuple[str, ...]
    held: ChannelSet
    said: ChannelsFile | None
    read: Callable[[str], tuple[Array, Encoding]]

    def part(self, start: int, stop: int) -> SampleReader:
        """The images at some positions, to be sent to another process, which opens their folder or file itself."""
        names, read = self.names[start:stop], self.read
        return replace(self, names=names, read=read.only(names) if isinstance(read, _BandFiles) else read)


@dataclass(frozen=True)
class _Files:
    """Reads one file an image."""

    source: Source
    held: ChannelSet
    grey: str

    def __call__(self, name: str) -> tuple[Array, Encoding]:
        return read_with_gaps(self.source.read(name), f"{self.source.path}/{name}", self.held, grey=self.grey)


@dataclass(frozen=True)
class _BandFiles:
    """Reads one file a channel."""

    images: BandFileCollection

    def __call__(self, name: str) -> tuple[Array, Encoding]:
        return self.images.read_stored(name), Encoding()

    def only(self, names: Iterable[str]) -> _BandFiles:
        return _BandFiles(self.images.only(names))


class _Arrays:
    """Reads images of arrays; sent to another process, it loads the file there, once."""

    def __init__(self, path: Path, held: ChannelSet, values: Mapping[str, Array]) -> None:
        file = ChannelsFile(held, (Encoding(),) * len(held))
        self._path, self._held = path, held
        self.images = ArrayCollection(path, DataIndex({}, ()), file, image_arrays(values, path))

    def __call__(self, name: str) -> tuple[Array, Encoding]:
        return self.images.read_stored(name), Encoding()

    def __reduce__(self) -> tuple[object, ...]:
        return _arrays_elsewhere, (self._path, self._held)


@lru_cache(maxsize=2)
def _arrays_elsewhere(path: Path, held: ChannelSet) -> _Arrays:
    return _Arrays(path, held, load_arrays(path))


def without_channels(reader: SampleReader, names: Iterable[str]) -> SampleReader:
    """The same images as if they lacked some channels.

    Raises:
        ChannelError: for a channel that they do not hold, or when none is left.
    """
    off = {reader.held.index(name) for name in names}
    kept = [position for position in range(len(reader.held)) if position not in off]
    if not kept:
        raise ChannelError(f"all channels are switched off ({', '.join(reader.held.labels)}); leave one at least")

    def read(name: str) -> tuple[Array, Encoding]:
        image, tag = reader.read(name)
        return image[:, :, kept], tag

    held = ChannelSet(reader.held[position] for position in kept)
    return replace(reader, held=held, read=read) if off else reader


def open_samples(path: Path, model: ChannelSet, *, spec: str | None, grey: str) -> SampleReader:
    """Find all images of a folder, zip or `.npz`; folders and labels mean nothing.

    Args:
        path: the folder or file.
        model: the model's channels, which `spec` may name.
        spec: the channels that the user names; `None`: the files say.
        grey: see `read_image`.

    Raises:
        ConfigError: for channels named by the user where a pattern finds each channel's files.
        DataError: when the file is damaged, there is no image, or a channel's file is missing.
        ChannelError: when nobody says which channels there are.
    """
    if path.is_file() and path.suffix.lower() == ".npz":
        return _from_arrays(path, model, spec)
    source = open_source(path)
    said = find_channels_file(path, source)
    if said is not None and said.files is not None:
        if spec is not None:
            raise ConfigError(f"--channels: the {CHANNELS_FILE} of {path} names its channels; leave --channels out")
        return _from_band_files(source, said)
    return _from_files(source, said, model, spec, grey)


def _from_arrays(path: Path, model: ChannelSet, spec: str | None) -> SampleReader:
    values = load_arrays(path)
    said = find_channels_file(path) or named_by_arrays(values, path)
    channels = said_channels(model, spec=spec, said=said)
    if channels is None:
        raise ChannelError(
            f"{path}: nobody says which channels it holds; give --channels, a sensor or a list in the arrays' order, "
            f"or write a {sidecar(path).name} beside it"
        )
    held = ChannelSet(channels)
    arrays = _Arrays(path, held, values)
    names = [name for key, array in arrays.images.arrays.items() for name in row_names(key, len(array))]
    return SampleReader(tuple(names), held, said, arrays)


def _from_band_files(source: Source, said: ChannelsFile) -> SampleReader:
    images = unlabelled_band_files(source, said)
    return SampleReader(tuple(sorted(images.files)), images.held, images.file, _BandFiles(images))


def _from_files(
    source: Source, said: ChannelsFile | None, model: ChannelSet, spec: str | None, grey: str
) -> SampleReader:
    names = [name for name in source.names() if name.lower().endswith(image_suffixes())]
    if not names:
        raise DataError(f"{source.path}: there is no image ({', '.join(image_suffixes())}) here")
    channels = said_channels(model, spec=spec, said=said)
    held = _held_by_file(source, names[0], model) if channels is None else ChannelSet(channels)
    return SampleReader(tuple(names), held, said, _Files(source, held, grey))


def open_files(files: Sequence[Path], model: ChannelSet, *, spec: str | None, grey: str) -> Iterator[SampleReader]:
    """Readers of single image files, as many neighbours together as hold the same channels.

    Args:
        files: of one folder; what they hold is said by the user, `<stem>.channels.yaml` or `channels.yaml` beside them,
            or each file.
        model: as for `open_samples`.
        spec: as for `open_samples`.
        grey: as for `open_samples`.

    Raises:
        DataError: for a file that is no image, or holds one channel of a sample of several files.
        ChannelError: when nobody says which channels there are.
    """
    source = FolderSource(files[0].parent)

    def said_of(file: Path) -> tuple[ChannelSet, ChannelsFile | None]:
        if not file.name.lower().endswith(image_suffixes()):
            raise DataError(f"{file}: it is no image ({', '.join(image_suffixes())}), folder, zip or .npz")
        said = scene_channels_file(file)
        if said is not None and said.files is not None:
            raise DataError(f"{file}: by the {CHANNELS_FILE} beside it, it is one of a sample's files; name the folder")
        channels = said_channels(model, spec=spec, said=said)
        return (_held_by_file(source, file.name, model) if channels is None else ChannelSet(channels)), said

    for (held, said), group in groupby(files, key=said_of):
        yield SampleReader(tuple(file.name for file in group), held, said, _Files(source, held, grey))


def _held_by_file(source: Source, first: str, model: ChannelSet) -> ChannelSet:
    """What a file says, where nobody else does."""
    if first.lower().endswith(PHOTOGRAPH_SUFFIXES):
        return RGB
    names = tiff_facts(source.read(first), f"{source.path}/{first}").channel_names if is_tiff(first) else ()
    held = described_channels(names, model)
    if held is None:
        raise ChannelError(
            f"{source.path}: nobody says which channels its {Path(first).suffix} files hold; give --channels, a sensor "
            f"or a list in the files' order, or write a {CHANNELS_FILE} beside them"
        )
    return held
