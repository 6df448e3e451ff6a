"""Tar shards: files that are read in long pieces, for storage that is slow at many small ones.

Each sample's files lie side by side, as WebDataset (https://github.com/webdataset/webdataset) reads them:

    000000042.tif     or a file a channel, 000000042.B02.tif, 000000042.B03.tif, …
    000000042.cls     the label
    000000042.json    the sample's own name, and its class

`shards.csv` says where each file lies, so that anychan reads a sample alone, in any order: the same recipe and seed
meet the same images in the same steps as in the folder or zip that the shards were made from. Split files, tables and
`channels.yaml` are copied beside the tars.
"""

from __future__ import annotations

import csv
import io
import json
import random
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath

from rich.console import Console
from rich.progress import track

from anychan.data.band_files import BandFileCollection
from anychan.data.channels_file import CHANNELS_FILE, sidecar
from anychan.data.collection import FileCollection
from anychan.data.index import SPLITS
from anychan.data.opening import open_collection
from anychan.data.samples_file import SAMPLES_FILE
from anychan.data.source import SHARDS_FILE, Place
from anychan.errors import ConfigError, DataError, RunError
from anychan.recipe import DataConfig

__all__ = ["write_shards"]

_TABLES = (*(f"{split}.txt" for split in SPLITS), "classes.txt", SAMPLES_FILE, CHANNELS_FILE)


def write_shards(path: Path, out: Path, *, channels: str | None = None, shard_mib: int = 256, seed: int = 0) -> int:
    """Write the labelled samples of a folder or zip into tars, in a random order.

    Args:
        path: the folder or zip.
        out: the folder to make; it is there whole or not at all.
        channels: what the images hold, as in a recipe; default: the data says.
        shard_mib: begin another tar when one holds so many MiB.
        seed: for the order.

    Returns:
        How many tars were written.

    Raises:
        ConfigError: for a size below 1 MiB.
        DataError: for data that cannot be used, or that is no folder or zip of image files.
        ChannelError: when nobody says which channels the images hold.
        RunError: when the folder is there already, or cannot be written.
    """
    if shard_mib < 1:
        raise ConfigError(f"--shard-mib is {shard_mib}, but it must be 1 or more")
    if out.exists():
        raise RunError(f"{out}: this is there already; give another folder with --out, or delete it")
    collection = open_collection(path, DataConfig(path=str(path), channels=channels), seed=0)
    if not isinstance(collection, FileCollection | BandFileCollection):
        raise DataError(f"{path}: it is one file of arrays; shards are made from a folder or zip of image files")
    partial = out.with_name(f"{out.name}.partial")
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        reason = f"{error.strerror}; delete it if nobody is writing it" if partial.exists() else error.strerror
        raise RunError(f"{partial}: the folder cannot be made ({reason})") from None
    try:
        count = _write(collection, partial, shard_mib * 2**20, seed)
        partial.replace(out)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, OSError):
            raise RunError(f"{out}: the shards cannot be written ({error.strerror})") from None
        if isinstance(error, UnicodeError):
            raise DataError(f"{path}: a file's name is not text ({error})") from None
        raise
    return count


def _write(collection: FileCollection | BandFileCollection, folder: Path, shard_bytes: int, seed: int) -> int:
    samples = sorted({sample for part in collection.index.splits.values() for sample in part}, key=lambda s: s.name)
    random.Random(seed).shuffle(samples)
    console = Console(stderr=True)
    shown = track(samples, "writing shards", console=console, transient=True, disable=not console.is_terminal)
    shards = _Shards(folder, shard_bytes)
    with (folder / SHARDS_FILE).open("w", newline="", encoding="utf-8") as table, closing(shards):
        lines = csv.writer(table, lineterminator="\n")
        lines.writerow(["file", "shard", "offset", "size", "crc32"])
        for number, sample in enumerate(shown):
            key = f"{number:09d}"
            for name, suffix in _files(collection, sample.name):
                place = shards.add(f"{key}{suffix}", collection.source.read(name))
                lines.writerow([name, *place[:3], f"{place.checksum:08x}"])
            words = {"name": sample.name, "class": collection.index.classes[sample.label]}
            shards.add(f"{key}.cls", str(sample.label).encode())
            shards.add(f"{key}.json", json.dumps(words, ensure_ascii=False).encode())
            shards.end_sample()
    _copy_tables(collection, folder)
    return shards.count


def _files(collection: FileCollection | BandFileCollection, sample: str) -> Iterator[tuple[str, str]]:
    """A sample's files, and what follows its key in their names in the tar."""
    if isinstance(collection, FileCollection):
        yield sample, PurePosixPath(sample).suffix.lower()
        return
    for channel in collection.held:
        name = collection.files[sample][channel.identity]
        yield name, f".{channel.name.replace('.', '_')}{PurePosixPath(name).suffix.lower()}"


def _copy_tables(collection: FileCollection | BandFileCollection, folder: Path) -> None:
    """Those inside the data; and those beside it, which win."""
    inside = set(collection.source.names())
    for name in _TABLES:
        beside = sidecar(collection.path, name)
        if beside.is_file():
            shutil.copyfile(beside, folder / name)
        elif name in inside:
            (folder / name).write_bytes(collection.source.read(name))


class _Shards:
    """Writes tars of about the same size, and says where in them a file came to lie."""

    def __init__(self, folder: Path, shard_bytes: int) -> None:
        self.count = 0
        self._folder, self._limit = folder, shard_bytes
        self._tar: tarfile.TarFile | None = None

    def add(self, name: str, data: bytes) -> Place:
        if self._tar is None:
            self._tar = tarfile.TarFile(self._folder / f"shard-{self.count:06d}.tar", "w", format=tarfile.PAX_FORMAT)
            self.count += 1
        facts = tarfile.TarInfo(name)  # no time or owner: the same data makes the same shards
        facts.size = len(data)
        self._tar.addfile(facts, io.BytesIO(data))
        whole = -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        return Place(f"shard-{self.count - 1:06d}.tar", self._tar.offset - whole, len(data), zlib.crc32(data))

    def end_sample(self) -> None:
        """A sample lies in one tar."""
        if self._tar is not None and self._tar.offset >= self._limit:
            self.close()

    def close(self) -> None:
        if self._tar is not None:
            self._tar.close()
            self._tar = None
