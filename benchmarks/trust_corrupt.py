"""Corrupted files of every kind: they are refused, or give what they must, and leave nothing half-written.

python benchmarks/trust_corrupt.py KIND FILES FOLDER    # prints the kind's row

The changes walk through the whole file, so that each region of it is hit: bits flipped, runs overwritten, zeroed,
deleted, inserted, copied, or the file cut there.
"""

from __future__ import annotations

import io
import json
import random
import resource
import shutil
import sys
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
import torch
from PIL import Image

from anychan.contract import ResizeRule
from anychan.data.cache import cache_folder, cached_images
from anychan.data.collection import FileCollection
from anychan.data.index import DataIndex, index_images
from anychan.data.source import open_source
from anychan.errors import AnychanError
from anychan.presets import RGB
from anychan.recipe import DataConfig
from anychan.training.checkpoint_io import read_checkpoint, write_checkpoint

__all__ = ["KINDS", "corrupted", "measure"]

Array = npt.NDArray[Any]
SECONDS = 5  # of the processor, for one file at most
RULE = ResizeRule(16)
HEIGHT, WIDTH = 24, 20
READ_AS = {"bool": "uint8", "int16": "float32", "float16": "float32", "float64": "float32"}


def _flip(data: bytearray, at: int, draw: random.Random) -> None:
    data[at] ^= 1 << draw.randrange(8)


def _overwrite(data: bytearray, at: int, draw: random.Random) -> None:
    run = data[at : at + draw.randrange(1, 33)]
    data[at : at + len(run)] = draw.randbytes(len(run))


def _zero(data: bytearray, at: int, draw: random.Random) -> None:
    run = data[at : at + draw.randrange(1, 65)]
    data[at : at + len(run)] = bytes(len(run))


def _delete(data: bytearray, at: int, draw: random.Random) -> None:
    del data[at : at + draw.randrange(1, 17)]


def _insert(data: bytearray, at: int, draw: random.Random) -> None:
    data[at:at] = draw.randbytes(draw.randrange(1, 17))


def _copy(data: bytearray, at: int, draw: random.Random) -> None:
    start = draw.randrange(len(data))
    data[at : at + 32] = data[start : start + 32]


def _cut(data: bytearray, at: int, draw: random.Random) -> None:
    del data[at:]


CHANGES = (_flip, _overwrite, _zero, _delete, _insert, _copy, _cut)


def corrupted(whole: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """So many changed files, none of them equal to the whole one."""
    draw = random.Random(seed)
    for number in range(count):
        changed = bytearray(whole)
        at = min(int((number + draw.random()) * len(whole) / count), len(whole) - 1)
        CHANGES[number % len(CHANGES)](changed, at, draw)
        if changed == whole:  # zeros in place of zeros
            _flip(changed, at, draw)
        yield bytes(changed)


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Args:
        name: of the file.
        make: a whole one, written into a folder.
        read: what anychan makes of the one in a folder, and what must be whole afterwards.
        declared: the shape and number type that a file without a checksum declares; `None`: it has a checksum.
    """

    name: str
    make: Callable[[Path], None]
    read: Callable[[Path], Any]
    declared: Callable[[Path], tuple[tuple[int, ...], str]] | None = None


def _pixels(dtype: str = "uint8") -> Array:
    """Smooth, so that files are compressed."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([5 * rows, 7 * columns, rows + columns], -1).astype(dtype)


def _photograph(kind: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        Image.fromarray(_pixels()).save(path, kind)

    return write


def _tiff(path: Path) -> None:
    tifffile.imwrite(path, _pixels("uint16"))


def _image(path: Path) -> Array:
    """The image as it is stored; its cache is made too, and must be absent or whole."""
    collection = _collection(path.parent)
    with _cache_whole_or_absent():
        cached_images(collection, [path.name], RULE)
    return collection.read(path.name)


@contextmanager
def _cache_whole_or_absent() -> Iterator[None]:
    """An empty cache folder, in which an error leaves nothing, and success one cache."""
    shutil.rmtree(cache_folder(), ignore_errors=True)
    wanted = 0
    try:
        yield
        wanted = 1
    finally:
        left = [path.name for path in cache_folder().glob("*") if path.suffix != ".lock"]
        if [Path(name).suffix for name in left] != [".npy"] * wanted:
            raise AssertionError(f"the cache folder holds {left}")


def _zip_of_images(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for label in "ab":
            for number in range(3):
                file = io.BytesIO()
                Image.fromarray(_pixels() + number).save(file, "PNG")
                packed.writestr(f"{label}/{number}.png", file.getvalue())
        for split, numbers in (("train", "0"), ("val", "1"), ("test", "2")):
            lines = (f"{label}/{number}.png {ord(label) - 97}\n" for label in "ab" for number in numbers)
            packed.writestr(f"{split}.txt", "".join(lines))


def _zip(path: Path) -> Any:
    source = open_source(path)
    index = index_images(source, DataConfig(path=str(path)), seed=0)
    names = [sample.name for split in ("train", "val", "test") for sample in index.splits[split]]
    with _cache_whole_or_absent():
        images = cached_images(FileCollection(source, index, RGB), names, RULE)
    return names, list(index.classes), images.tolist()


def _collection(folder: Path) -> FileCollection:
    return FileCollection(open_source(folder), DataIndex({"train": (), "val": (), "test": ()}, ("one",)), RGB)


def _cache(path: Path) -> None:
    """A cache's file, of images that lie beside it."""
    _photograph("PNG")(path.parent / "image.png")
    with _cache_whole_or_absent():
        cached_images(_collection(path.parent), ["image.png"], RULE)
    (made,) = cache_folder().glob("*.npy")
    shutil.copy(made, path)


def _cached(path: Path) -> Any:
    """The images, when their cache is this file; it must be whole afterwards."""
    whole = path.parent / "whole.npy"
    if not whole.exists():
        _cache(whole)
    (made,) = cache_folder().glob("*.npy")
    shutil.copy(path, made)
    images = cached_images(_collection(path.parent), ["image.png"], RULE)
    if made.read_bytes() != whole.read_bytes():
        raise AssertionError("the cache is damaged still")
    return images.tolist()


def _checkpoint(path: Path) -> None:
    values = {"epoch": 3, "state": {"w": torch.arange(60.0).reshape(3, 20), 1: (None, [True, "x"])}, "path": Path("a")}
    write_checkpoint(values, path)


def _read_checkpoint(path: Path) -> Any:
    found = read_checkpoint(path)
    found["state"]["w"] = found["state"]["w"].tolist()
    return found


def _photograph_declared(path: Path) -> tuple[tuple[int, ...], str]:
    with Image.open(path) as opened:
        return (opened.height, opened.width, 3), "uint8"


def _tiff_declared(path: Path) -> tuple[tuple[int, ...], str]:
    with tifffile.TiffFile(path) as file:
        return file.pages.first.shape, str(file.pages.first.dtype)


def _npy_declared(path: Path) -> tuple[tuple[int, ...], str]:
    array = np.load(path, mmap_mode="r")
    return array.shape, str(array.dtype)


KINDS = {
    "png": Kind("image.png", _photograph("PNG"), _image),
    "jpeg": Kind("image.jpg", _photograph("JPEG"), _image, _photograph_declared),
    "tiff": Kind("image.tif", _tiff, _image, _tiff_declared),
    "npy": Kind("image.npy", lambda path: np.save(path, _pixels()), _image, _npy_declared),
    "zip": Kind("data.zip", _zip_of_images, _zip),
    "cache": Kind("cache.npy", _cache, _cached),
    "checkpoint": Kind("last.ckpt", _checkpoint, _read_checkpoint),
}


def _outcome(kind: Kind, path: Path, expected: Any) -> str:
    """What came of one file.

    Raises:
        AssertionError: for another result than is allowed.
    """
    try:
        found = kind.read(path)
    except AnychanError:
        return "refused"
    if np.array_equal(found, expected) if isinstance(found, np.ndarray) else found == expected:
        return "unchanged"
    if kind.declared is None:
        raise AssertionError("another result, although there is a checksum")
    shape, dtype = kind.declared(path)
    if (sorted(found.shape), found.dtype) != (sorted(shape), READ_AS.get(dtype, dtype)):
        raise AssertionError(f"{found.shape} {found.dtype}, but the file declares {shape} {dtype}")
    return "changed"


def measure(name: str, count: int, folder: Path, *, seed: int = 0) -> dict[str, Any]:
    """Read so many corrupted files of a kind.

    Args:
        name: of `KINDS`.
        count: how many.
        folder: an empty one.
        seed: for the changes.

    Returns:
        The row: how many were refused, gave what the whole file gives or, where the kind has no checksum, something
        else of what the file declares; failures, the first of them, the slowest file's seconds and the peak memory.
    """
    kind, path = KINDS[name], folder / KINDS[name].name
    kind.make(path)
    whole, expected = path.read_bytes(), kind.read(path)
    outcomes, failures, slowest = Counter[str](), [], 0.0
    for number, data in enumerate(corrupted(whole, count, seed)):
        path.write_bytes(data)
        began = time.process_time()
        try:
            with redirect_stderr(io.StringIO()):  # warnings
                outcomes[_outcome(kind, path, expected)] += 1
        except Exception as error:
            failures.append(f"file {number}: {type(error).__name__}: {error}")
            traceback.print_exc()
        slowest = max(slowest, time.process_time() - began)
    if slowest > SECONDS:
        failures.append(f"{slowest:.1f} seconds for one file")
    found = {name: outcomes[name] for name in ("refused", "unchanged", "changed")}
    row = {"kind": "corrupt", "format": name, "seed": seed, "files": count, **found, "failures": len(failures)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    row |= {"slowest_seconds": round(slowest, 2), "peak_mib": round(peak)}
    return {**row, "failure": failures[0]} if failures else row


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))))
