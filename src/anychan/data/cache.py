"""Images decoded once into a memory map in the source's number type, and used from there ever after.

A cache's name is a hash of everything that decides its content (files, channels, resize rule, reader version), so a
cache is never stale, only unused. It lies in the user's cache folder (`ANYCHAN_CACHE` moves it), never beside the
sources, and has a temporary name until it is complete. It is a `.npy` file with a CRC-32 behind it, which is seen to
whenever a cache is opened: one that a disk or a copy damaged is built anew.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sys
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import platformdirs
from filelock import FileLock
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from anychan.contract import ResizeRule
from anychan.data.collection import Collection
from anychan.data.decoding import decoding_threads, in_order
from anychan.data.readers import READER_VERSION, resize
from anychan.errors import DataError
from anychan.files import replacing

__all__ = ["cache_folder", "cached_images", "check_space", "sample_decoder"]

_ANNOUNCE_BYTES = 256 * 2**20
_FORMAT = 2  # of the file: raise it when another version would not read it
_CHECKSUM_BYTES, _BLOCK_BYTES = 4, 2**20


def cache_folder() -> Path:
    """Where caches lie: `ANYCHAN_CACHE`, or the user's cache folder."""
    chosen = os.environ.get("ANYCHAN_CACHE")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("anychan"))


def cached_images(collection: Collection, names: Sequence[str], rule: ResizeRule) -> npt.NDArray[Any]:
    """The images as one array, from the cache or by decoding them now.

    Args:
        collection: reads them.
        names: the samples, in order.
        rule: how images reach one size.

    Returns:
        (N, size, size, C) memory map in the samples' number type; writing to it changes memory only.

    Raises:
        DataError: naming the sample, when one is absent, damaged or of another number type; or when the disk is full.
    """
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{_key(collection, names, rule)}.npy"
        images = _opened(path)
        if images is None:
            with FileLock(path.with_suffix(".lock")):
                images = _opened(path)  # another process may have built it
                if images is None:
                    if path.exists():
                        print(f"warning: {path}: the cache is damaged, so the images are decoded anew", file=sys.stderr)
                    _build(path, collection, names, rule)
                    images = _opened(path)
    except OSError as error:
        raise DataError(f"{folder}: the cache cannot be written ({error.strerror}); move it by ANYCHAN_CACHE") from None
    if images is None:
        raise DataError(f"{path}: the cache is damaged as soon as it is written; move it by ANYCHAN_CACHE")
    return images


def _opened(path: Path) -> npt.NDArray[Any] | None:
    """The cache; `None` where there is none, or a damaged one."""
    try:
        # read as a file: a memory map ends the process where the disk cannot read, and counts as its memory
        with path.open("rb") as file:
            whole = _is_whole(file)
    except FileNotFoundError:
        return None
    return np.load(path, mmap_mode="c", allow_pickle=False) if whole else None


def _is_whole(file: BinaryIO) -> bool:
    size = left = os.fstat(file.fileno()).st_size - _CHECKSUM_BYTES
    found = 0
    while left > 0 and (block := file.read(min(left, _BLOCK_BYTES))):
        found, left = zlib.crc32(block, found), left - len(block)
    return size > 0 == left and file.read() == _checksum_bytes(found)


def _checksum_bytes(checksum: int) -> bytes:
    return checksum.to_bytes(_CHECKSUM_BYTES, "little")


def _key(collection: Collection, names: Sequence[str], rule: ResizeRule) -> str:
    facts = [_FORMAT, READER_VERSION, vars(rule), collection.facts(names)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _build(path: Path, collection: Collection, names: Sequence[str], rule: ResizeRule) -> None:
    sizes: set[int] = set()
    decode = sample_decoder(collection, names, rule, sizes)
    first = decode(0)
    check_space(path.parent, first.nbytes * len(names))
    # written as a file: what is written to a memory map counts as this process's memory
    with replacing(path) as partial, partial.open("wb") as file, _progress() as progress:
        header = _header(first.dtype, (len(names), *first.shape))
        file.write(header)
        checksum = zlib.crc32(header)
        decoded = in_order(decode, len(names), threads=decoding_threads(max(sizes)))
        for position, image in enumerate(progress.track(decoded, len(names))):
            if image.dtype != first.dtype:
                other = f"{first.dtype} in {names[0]} and {image.dtype} in {names[position]}"
                raise DataError(f"{collection.path}: images of two number types, {other}; use one")
            content = np.ascontiguousarray(image).data
            file.write(content)
            checksum = zlib.crc32(content, checksum)
        file.write(_checksum_bytes(checksum))


def _header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """What a `.npy` file begins with."""
    file = io.BytesIO()
    form = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, form)
    return file.getvalue()


def sample_decoder(
    collection: Collection, names: Sequence[str], rule: ResizeRule, sizes: set[int]
) -> Callable[[int], npt.NDArray[Any]]:
    """Position of a sample → (size, size, C) in its number type; the bytes it had before go into `sizes`.

    It raises a DataError that names the sample and where it lies.
    """
    no_data = [encoding.no_data for encoding in collection.encodings]

    def decode(position: int) -> npt.NDArray[Any]:
        try:
            image = collection.read(names[position])
            sizes.add(image.nbytes)
            return resize(image, rule, no_data)
        except DataError as error:
            text = str(error)
            raise DataError(text if str(collection.path) in text else f"{collection.path}/{text}") from error.__cause__

    return decode


def check_space(folder: Path, needed: int) -> None:
    """See that so many bytes fit into a cache folder, and announce them where they are many.

    Raises:
        DataError: when they do not fit.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(f"{folder}: the cache needs {needed / 2**20:.0f} MiB, but {free / 2**20:.0f} MiB are free")
    if needed > _ANNOUNCE_BYTES:
        Console(stderr=True).print(f"writing a cache of {needed / 2**20:.0f} MiB to {folder}")


def _progress() -> Progress:
    columns = (TextColumn("decoding images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
