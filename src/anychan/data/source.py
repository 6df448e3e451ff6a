"""Where files lie: a folder, a zip or tar shards, read the same way."""

from __future__ import annotations

import csv
import io
import stat
import zipfile
import zlib
from abc import ABC, abstractmethod
from functools import lru_cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

from anychan.data.limits import check_packing, check_size
from anychan.errors import DataError

__all__ = ["SHARDS_FILE", "FolderSource", "Place", "ShardSource", "Source", "ZipSource", "open_source"]

SHARDS_FILE = "shards.csv"
_TEXT_BYTES, _TEXT_TIMES = 16 * 2**20, 32  # lists of files shrink a lot, and become large as objects
_MOST_PARTS = 64  # of a name in a zip: endings of a deep one take memory by the square of its depth


class Source(ABC):
    """A tree of files whose names use forward slashes.

    Args:
        path: the folder or zip, for messages.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def names(self) -> list[str]:
        """All files, sorted."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """A file's bytes.

        Raises:
            DataError: when the file is absent or cannot be read.
        """

    @abstractmethod
    def fingerprint(self, name: str) -> str:
        """Changes when the file's content does, without reading it.

        Raises:
            DataError: when the file is absent.
        """

    def read_text(self, name: str) -> str:
        """A file's text.

        Raises:
            DataError: when the file is absent or not UTF-8.
        """
        try:
            return self._read_text(name).decode("utf-8")
        except UnicodeDecodeError:
            raise DataError(f"{self.path}/{name}: the file is not UTF-8 text") from None

    def _read_text(self, name: str) -> bytes:
        return self.read(name)


class FolderSource(Source):
    """Files below a folder; nothing outside it is ever read."""

    def names(self) -> list[str]:
        """All files, sorted; hidden ones are left out."""
        found = (file.relative_to(self.path) for file in self.path.rglob("*") if file.is_file())
        return sorted(name.as_posix() for name in found if not any(part.startswith(".") for part in name.parts))

    def _inside(self, name: str) -> Path:
        """The path of a file below the folder; no pipe, which would be read forever.

        Raises:
            DataError: when it lies elsewhere, is absent, or no plain file.
        """
        file = self.path / name
        try:
            inside = file.resolve().is_relative_to(self.path.resolve())
            if inside and not stat.S_ISREG(file.stat().st_mode):
                raise DataError(f"{self.path}/{name}: the file cannot be read (it is no plain file)")
        except OSError as error:
            raise DataError(f"{self.path}/{name}: the file cannot be read ({error.strerror})") from None
        except (ValueError, RuntimeError) as error:  # a null character; links that lead to each other
            if isinstance(error, DataError):
                raise
            raise DataError(f"{self.path}: {name!r} cannot be the name of a file ({error})") from None
        if not inside:
            raise DataError(f"{self.path}: {name!r} lies outside the data's folder, so it is not read")
        return file

    def read(self, name: str) -> bytes:
        """A file's bytes."""
        try:
            return self._inside(name).read_bytes()
        except OSError as error:
            raise DataError(f"{self.path}/{name}: the file cannot be read ({error.strerror})") from None

    def fingerprint(self, name: str) -> str:
        """Path, size and time of the last change."""
        try:
            status = self._inside(name).stat()
        except OSError as error:
            raise DataError(f"{self.path}/{name}: the file cannot be read ({error.strerror})") from None
        return f"{self.path.resolve()}/{name} {status.st_size} {status.st_mtime_ns}"


class ZipSource(Source):
    """Files inside a zip, which is never unpacked.

    Raises:
        DataError: when the file is no zip, or an entry's name leads out of it or is there twice.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            self._zip = zipfile.ZipFile(path)
        except Exception as error:  # damaged bytes raise anything at all
            raise DataError(f"{path}: the zip cannot be read ({error})") from None
        check_packing(self._zip.infolist(), str(path))
        self._entries: dict[str, zipfile.ZipInfo] = {}
        for info in self._zip.infolist():
            parts = PureWindowsPath(info.filename)  # it knows both kinds of slashes
            if not parts.parts or parts.anchor or ".." in parts.parts or len(parts.parts) > _MOST_PARTS:
                raise DataError(f"{path}: the zip's entry {info.filename[:80]!r} leads out of it, or too deep")
            if not info.is_dir() and self._entries.setdefault(info.filename, info) is not info:
                raise DataError(f"{path}: the zip's entry {info.filename[:80]!r} is there twice; zip the files anew")

    def __reduce__(self) -> tuple[object, ...]:
        """Sent to another process, it opens the file there, once."""
        return _opened_elsewhere, (self.path,)

    def names(self) -> list[str]:
        """All files, sorted; hidden ones are left out."""
        hidden = (any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(n).parts) for n in self._entries)
        return sorted(name for name, hide in zip(self._entries, hidden, strict=True) if not hide)

    def read(self, name: str) -> bytes:
        """A file's bytes, checked against the zip's checksum."""
        if name not in self._entries:
            raise DataError(f"{self.path}/{name}: there is no such file in the zip")
        entry = self._entries[name]
        check_size(entry.file_size, entry.compress_size, f"{self.path}/{name}")
        try:
            # no more than it says: `ZipFile.read` unpacks all of it first
            with self._zip.open(entry) as file:
                return file.read(entry.file_size)
        except Exception as error:  # damaged bytes raise anything at all
            raise DataError(f"{self.path}/{name}: the zip's entry cannot be read ({error})") from None

    def _read_text(self, name: str) -> bytes:
        if (entry := self._entries.get(name)) is not None:
            where = f"{self.path}/{name}"
            check_size(entry.file_size, entry.compress_size, where, small=_TEXT_BYTES, times=_TEXT_TIMES)
        return self.read(name)

    def fingerprint(self, name: str) -> str:
        """Name, size and checksum."""
        if name not in self._entries:
            raise DataError(f"{self.path}/{name}: there is no such file in the zip")
        entry = self._entries[name]
        return f"{name} {entry.file_size} {entry.CRC:08x}"


class Place(NamedTuple):
    """Where a file lies inside a tar: the tar's name, its first byte, how many there are, and their CRC-32."""

    shard: str
    offset: int
    size: int
    checksum: int


class ShardSource(FolderSource):
    """Files inside tars, each read alone at its place, and the plain files beside the tars.

    Which file lies where is said by `shards.csv`; `anychan data shard` writes both.

    Raises:
        DataError: naming the line, for a `shards.csv` that is damaged.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._places: dict[str, Place] = {}
        lines, number = csv.reader(io.StringIO(self.read_text(SHARDS_FILE), newline="")), 0
        while True:
            number += 1
            try:
                name, shard, offset, size, checksum = next(lines)
                place = Place(shard, int(offset), int(size), int(checksum, 16))
            except StopIteration:
                break
            except (ValueError, csv.Error):
                if number == 1:  # the columns' names
                    continue
                raise DataError(f"{path}/{SHARDS_FILE} line {number}: it is no place of a file") from None
            if place.offset < 0 or place.size < 0 or name in self._places:
                raise DataError(f"{path}/{SHARDS_FILE} line {number}: it is no place of a file, or one more of {name}")
            self._places[name] = place

    def __reduce__(self) -> tuple[object, ...]:
        """Sent to another process, it reads its table there, once."""
        return _opened_elsewhere, (self.path,)

    def names(self) -> list[str]:
        """All files, sorted; the tars themselves are left out."""
        tars = {place.shard for place in self._places.values()} | {SHARDS_FILE}
        return sorted([*self._places, *(name for name in super().names() if name not in tars)])

    def read(self, name: str) -> bytes:
        """A file's bytes, checked against its checksum."""
        place = self._places.get(name)
        if place is None:
            return super().read(name)
        try:
            with self._inside(place.shard).open("rb") as file:
                if place.offset + place.size > file.seek(0, io.SEEK_END):
                    raise DataError(f"{self.path}/{place.shard}: {name} is damaged there; write the shards anew")
                file.seek(place.offset)
                data = file.read(place.size)
        except OSError as error:
            raise DataError(f"{self.path}/{place.shard}: the shard cannot be read ({error.strerror})") from None
        if zlib.crc32(data) != place.checksum:
            raise DataError(f"{self.path}/{place.shard}: {name} is damaged there; write the shards anew")
        return data

    def fingerprint(self, name: str) -> str:
        """Name, size and checksum, as a zip's, so that both find the same cache."""
        place = self._places.get(name)
        return super().fingerprint(name) if place is None else f"{name} {place.size} {place.checksum:08x}"


@lru_cache(maxsize=8)
def _opened_elsewhere(path: Path) -> Source:
    return open_source(path)


def open_source(path: str | Path) -> Source:
    """Open a folder, which may hold shards, or a zip.

    Raises:
        DataError: when the path is empty, absent, or neither a folder nor a zip.
    """
    if not str(path):
        raise DataError("no data was named; give a folder or zip with --data.path")
    path = Path(path)
    if path.is_dir():
        return ShardSource(path) if (path / SHARDS_FILE).is_file() else FolderSource(path)
    if path.is_file():
        return ZipSource(path)
    raise DataError(f"{path}: there is no such folder or zip; give --data.path")
