"""Which kind of collection a path holds, and which channels its samples have."""

from __future__ import annotations

from pathlib import Path

from anychan.data.array_file import open_arrays
from anychan.data.band_files import open_band_files
from anychan.data.channels_file import CHANNELS_FILE, ChannelsFile, find_channels_file
from anychan.data.collection import Collection, FileCollection
from anychan.data.cube import open_cube
from anychan.data.file_claims import named_by_file, with_no_data_of
from anychan.data.index import index_images
from anychan.data.readers import PHOTOGRAPH_SUFFIXES
from anychan.data.source import Source, open_source
from anychan.errors import ChannelError
from anychan.recipe import DataConfig

__all__ = ["open_collection"]

_KINDS = {".npz": open_arrays, ".mat": open_cube}


def open_collection(path: str | Path, config: DataConfig, *, seed: int) -> Collection:
    """Find the samples of a source, and what they hold.

    What the samples hold is said by `channels.yaml`; without one by `data.channels`, or else by the files themselves;
    photographs hold R, G and B. Where there is a `channels.yaml`, `data.channels` chooses from its channels.

    Args:
        path: the folder or file.
        config: the recipe's data section.
        seed: for splits that the source does not bring along.

    Raises:
        DataError: naming file and line, when something cannot be used.
        ChannelError: for an unknown channel, or images whose channels nobody names.
    """
    kind = _KINDS.get(Path(path).suffix.lower()) if Path(path).is_file() else None
    collection = _open_tree(path, config, seed=seed) if kind is None else kind(Path(path), config, seed=seed)
    if config.channels is not None:
        collection.use(config.channels)
    return collection


def _open_tree(path: str | Path, config: DataConfig, *, seed: int) -> Collection:
    source = open_source(path)
    file = find_channels_file(source.path, source)
    if file is not None and file.files is not None:
        return open_band_files(source, file, config, seed=seed)
    return _open_files(source, file, config, seed)


def _open_files(source: Source, file: ChannelsFile | None, config: DataConfig, seed: int) -> Collection:
    index = index_images(source, config, seed=seed)
    name = index.splits["train"][0].name
    first = source.read(name)
    if file is None:
        file = _said_elsewhere(source, name, first, config)
    encodings = with_no_data_of(first, f"{source.path}/{name}", file.encodings)
    return FileCollection(source, index, file.channels, encodings, grey=config.grey, named_sensor=file.named_sensor)


def _said_elsewhere(source: Source, name: str, first: bytes, config: DataConfig) -> ChannelsFile:
    if config.channels is not None:
        return ChannelsFile.of(config.channels)
    if name.lower().endswith(PHOTOGRAPH_SUFFIXES):
        return ChannelsFile.of("rgb")
    if (named := named_by_file(first, f"{source.path}/{name}")) is not None:
        return named
    raise ChannelError(
        f"{source.path}: nobody says which channels its {Path(name).suffix} files hold; write a {CHANNELS_FILE} beside "
        "them (`anychan data describe` does), or give --data.channels, a sensor or a list"
    )
