"""Labelled images in one `.npz` file."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from anychan.data.channels_file import ChannelsFile, find_channels_file, sidecar
from anychan.data.collection import Array, Collection
from anychan.data.index import DataIndex, build_index, checked_index
from anychan.data.limits import check_packing, check_size
from anychan.data.readers import channel_axis, plain_dtype
from anychan.data.splits import SPLITS, draw_by_class
from anychan.errors import ChannelError, DataError
from anychan.recipe import DataConfig

__all__ = [
    "ArrayCollection",
    "channel_names",
    "class_names",
    "file_fingerprint",
    "image_arrays",
    "image_pairs",
    "load_arrays",
    "named_by_arrays",
    "named_by_recipe",
    "open_arrays",
    "row_names",
]


class ArrayCollection(Collection):
    """Images that lie in arrays, all of them in memory; a sample's name is its array's and its place there.

    Args:
        path: the file.
        index: as `Collection`.
        file: the channels, and what their numbers mean.
        arrays: key → (N, C, H, W) or (N, H, W, C), told apart by the number of channels.

    Raises:
        DataError: for an array of another shape.
    """

    def __init__(self, path: Path, index: DataIndex, file: ChannelsFile, arrays: Mapping[str, Array]) -> None:
        super().__init__(path, index, file.channels, file.encodings, named_sensor=file.named_sensor)
        count = len(file.channels)
        self.arrays = {
            key: np.moveaxis(array, channel_axis(array.shape, (1, 3), count, f"{path}/{key}"), -1)
            for key, array in arrays.items()
        }
        self._print = file_fingerprint(path)

    def read_stored(self, name: str) -> Array:
        """As `Collection.read_stored`."""
        key, _, row = name.rpartition("/")
        return plain_dtype(self.arrays[key][int(row)], name)

    def _fingerprint(self, name: str) -> str:
        return f"{self._print} {name}"


def file_fingerprint(path: Path) -> str:
    """Path, size and time of the last change."""
    status = path.stat()
    return f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"


def open_arrays(path: Path, config: DataConfig, *, seed: int) -> ArrayCollection:
    """Open an `.npz`: images `x` or `images`, labels `y` or `labels`, and perhaps the names, `classes` and `channels`.

    Instead of one pair there may be `x_train`, `x_test`, `y_train` and `y_test`, and the same for val; without val it
    is drawn from the training images. Splits that the file does not bring along are drawn class by class. Without
    `classes`, a class is called by its label. Nothing pickled is ever loaded.

    Args:
        path: the file.
        config: the recipe's data section.
        seed: for the splits.

    Raises:
        DataError: when the file is damaged, or an array is missing or of another shape.
        ChannelError: when nobody names the channels.
    """
    if config.group_by is not None:
        raise DataError(f"{path}: data.group_by needs a samples.csv, which an .npz cannot have")
    values = load_arrays(path)
    pairs = image_pairs(values, path)
    labels, classes = class_names([values[y] for _, y in pairs.values()], values.get("classes"), str(path))
    file = find_channels_file(path) or named_by_arrays(values, path) or named_by_recipe(path, config)
    rows: list[tuple[str, int, str]] = []
    for (split, (x, _)), own in zip(pairs.items(), labels, strict=True):
        rows += zip(row_names(x, len(own)), own, _splits(own, split, set(pairs), config, seed), strict=True)
    index = checked_index(build_index(str(path), rows, classes), str(path), config.num_classes)
    return ArrayCollection(path, index, file, {x: values[x] for x, _ in pairs.values()})


def load_arrays(path: Path) -> dict[str, Array]:
    """All arrays of an `.npz` by key; nothing pickled.

    Raises:
        DataError: when the file is damaged, or an array holds nothing.
    """
    try:
        # opened here, as numpy leaves a damaged file open
        with path.open("rb") as file, zipfile.ZipFile(file) as entries:
            check_packing(entries.infolist(), str(path))
            check_size(sum(entry.file_size for entry in entries.infolist()), path.stat().st_size, str(path))
            file.seek(0)
            with np.load(file, allow_pickle=False) as opened:
                found = {key: opened[key] for key in opened.files}
    except DataError:
        raise
    except Exception as error:  # damaged bytes raise anything at all
        raise DataError(f"{path}: the file cannot be read as arrays ({error})") from None
    for key, array in found.items():
        if not isinstance(array, np.ndarray) or not array.nbytes:  # nothing may be there a billion times
            raise DataError(f"{path}/{key}: it is no array, or one that holds nothing; leave it out")
        if array.dtype.kind == "U" and not _is_text(array):
            raise DataError(f"{path}/{key}: the texts hold characters that do not exist")
    return found


def _is_text(array: Array) -> bool:
    """Whether each 4 bytes are a character of Unicode; Python's own errors at others are unlike any."""
    codes = np.ascontiguousarray(array).ravel().view(f"{array.dtype.byteorder}u4")
    return not ((codes > 0x10FFFF) | ((codes >= 0xD800) & (codes < 0xE000))).any()


def image_pairs(values: Mapping[str, Array], path: Path) -> dict[str, tuple[str, str]]:
    """Split → keys of its images and labels; the only one, where there is one, is called "all".

    Raises:
        DataError: when they are missing, or no images with a label each.
    """
    pairs = _pairs(values, path)
    for x, y in pairs.values():
        if values[x].ndim != 4 or values[x].shape[:1] != values[y].shape[:1]:
            raise DataError(
                f"{path}: {x} of {values[x].shape} and {y} of {values[y].shape} are no images (N, C, H, W) or "
                "(N, H, W, C) with a label each"
            )
    return pairs


def row_names(key: str, count: int) -> list[str]:
    """The samples' names of an array of so many."""
    digits = len(str(count))
    return [f"{key}/{row:0{digits}}" for row in range(count)]


def image_arrays(values: Mapping[str, Array], path: Path) -> dict[str, Array]:
    """The arrays of images, whether they have labels or not.

    Args:
        values: all arrays by key.
        path: the file, for messages.

    Raises:
        DataError: when there are none, or one has other than four axes.
    """
    keys = [key for key in ("x", "images") if key in values][:1] or [f"x_{s}" for s in SPLITS if f"x_{s}" in values]
    if not keys:
        raise DataError(f"{path}: there are neither x nor x_train, x_val or x_test; there are {', '.join(values)}")
    for key in keys:
        if values[key].ndim != 4 or not len(values[key]):
            raise DataError(f"{path}: {key} of {values[key].shape} are no images (N, C, H, W) or (N, H, W, C)")
    return {key: values[key] for key in keys}


def channel_names(values: Mapping[str, Array]) -> list[str]:
    """What an `.npz` calls its channels; empty where it does not."""
    return [str(name) for name in values["channels"].ravel()] if "channels" in values else []


def _pairs(values: Mapping[str, Array], path: Path) -> dict[str, tuple[str, str]]:
    singles = [(x, y) for x in ("x", "images") for y in ("y", "labels") if x in values and y in values]
    if singles:
        return {"all": singles[0]}
    found = {split: (f"x_{split}", f"y_{split}") for split in SPLITS if f"x_{split}" in values}
    if {"train", "test"} <= set(found) and all(y in values for _, y in found.values()):
        return found
    there = ", ".join(values)
    raise DataError(f"{path}: there are neither x and y nor x_train, y_train, x_test and y_test; there are {there}")


def _splits(labels: list[int], split: str, given: set[str], config: DataConfig, seed: int) -> list[str]:
    if split == "all":
        return draw_by_class(labels, config.val_fraction, config.test_fraction, seed)
    if split == "train" and "val" not in given:
        return draw_by_class(labels, config.val_fraction, 0, seed)
    return [split] * len(labels)


def class_names(
    parts: list[Array], names: Array | None, where: str, *, first: int = 0
) -> tuple[list[list[int]], tuple[str, ...]]:
    """Labels from 0 of each part, and the classes' names.

    Args:
        parts: (N,) or (N, 1) whole numbers or texts each.
        names: what the numbers stand for; without them, a class is called by its number or text.
        where: the file, for messages.
        first: the number of the first name.

    Raises:
        DataError: for labels that are neither, without a name, or all of one class.
    """
    names = None if names is None else names.ravel()
    flat = [part[:, 0] if part.ndim == 2 and part.shape[1] == 1 else part for part in parts]
    for part in flat:
        whole = part.dtype.kind in "iu" or (
            part.dtype.kind == "f" and bool((np.isfinite(part) & (part == np.rint(part))).all())
        )
        if part.ndim != 1 or not (whole or part.dtype.kind == "U"):
            raise DataError(
                f"{where}: labels of type {part.dtype} and shape {part.shape} are no whole numbers or texts (N,)"
            )
    found: list[Any] = sorted({value for part in flat for value in part.tolist()})
    if len(found) < 2:
        raise DataError(f"{where}: all labels are {found[0] if found else 'absent'}; two classes are the least")
    texts = tuple(str(value) if isinstance(value, str) else str(int(value)) for value in found)
    if names is None or isinstance(found[0], str):
        return [[found.index(value) for value in part.tolist()] for part in flat], texts
    if found[0] < first or found[-1] >= first + len(names):
        wrong = found[0] if found[0] < first else found[-1]
        raise DataError(f"{where}: label {int(wrong)} is out of range for the {len(names)} classes that are named")
    return [[int(value) - first for value in part.tolist()] for part in flat], tuple(
        str(name).strip() for name in names
    )


def named_by_arrays(values: Mapping[str, Array], path: Path) -> ChannelsFile | None:
    """The channels that the file itself names; `None` where it names none.

    Args:
        values: all arrays by key.
        path: the file, for messages.

    Raises:
        ChannelError: for an unknown sensor, or a channel that is there twice.
    """
    names = channel_names(values)
    if not names:
        return None
    try:
        return ChannelsFile.of(names)
    except ChannelError as error:
        raise ChannelError(f"{path}: {error}") from None


def named_by_recipe(path: Path, config: DataConfig) -> ChannelsFile:
    """The channels that `data.channels` names, for a file that names none.

    Raises:
        ChannelError: when the recipe names none either.
    """
    if config.channels is None:
        raise ChannelError(
            f"{path}: nobody says which channels it holds; write a {sidecar(path).name} beside it "
            "(`anychan data describe` does), or give --data.channels, a sensor or a list"
        )
    return ChannelsFile.of(config.channels)
