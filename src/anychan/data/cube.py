"""One scene of many bands with a label map, in a MATLAB file, cut into patches no two splits of which share a pixel."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.io

from anychan.data.array_file import class_names, file_fingerprint, named_by_recipe
from anychan.data.channels_file import ChannelsFile, find_channels_file
from anychan.data.collection import Array, Collection
from anychan.data.index import DataIndex, build_index, checked_index
from anychan.data.mat_elements import check_elements
from anychan.data.readers import channel_axis, plain_dtype
from anychan.data.splits import SPLITS, draw_by_group
from anychan.errors import DataError
from anychan.recipe import DataConfig

__all__ = ["CubeCollection", "find_cube", "open_cube", "read_mat"]

_BLOCK_PATCHES = 3  # sides of a block in patches: fewer lose most patches at its edges, more leave few blocks to draw
_CLASS_KEYS = ("classes", "cood")  # "cood" is that of the unmixing scenes (Samson, Jasper Ridge, Urban)


class CubeCollection(Collection):
    """Square patches of a scene, which lies in memory; a sample's name is its first row and column.

    Args:
        path: the file.
        index: as `Collection`.
        file: the channels, and what their numbers mean.
        cube: (H, W, C) of them.
        key: what the file calls the scene, of which it may hold several.
        patch: side of a patch in pixels.
    """

    def __init__(self, path: Path, index: DataIndex, file: ChannelsFile, cube: Array, key: str, patch: int) -> None:
        super().__init__(path, index, file.channels, file.encodings, named_sensor=file.named_sensor)
        self.cube, self.patch = cube, patch
        self._print = f"{file_fingerprint(path)} {key} {patch}"

    def window(self, name: str) -> tuple[slice, slice]:
        """A sample's rows and columns."""
        top, left = (int(part) for part in name.split(","))
        return slice(top, top + self.patch), slice(left, left + self.patch)

    def read_stored(self, name: str) -> Array:
        """As `Collection.read_stored`."""
        return self.cube[self.window(name)]

    def _fingerprint(self, name: str) -> str:
        return f"{self._print} {name}"


def open_cube(path: Path, config: DataConfig, *, seed: int) -> CubeCollection:
    """Open a `.mat` (up to version 7.2) and cut its scene into patches.

    The scene is (H, W, C) or (C, H, W), or (C, H·W) or (H·W, C) with its pixels column by column, as MATLAB stores
    them; then the file holds `nRow` and `nCol`, or the scene is square. A patch has the label of its centre; centres
    lie on a grid of `data.patch_stride` pixels. For the splits the scene is cut into blocks of about three patches a
    side, which are drawn whole, stratified by class; patches that reach into another split's block are dropped.

    Args:
        path: the file.
        config: the recipe's data section.
        seed: for the blocks' splits.

    Raises:
        DataError: when the file is damaged, a key is missing, an array has another shape, or the scene is too small.
        ChannelError: when nobody names the channels.
    """
    if config.group_by is not None:
        raise DataError(f"{path}: data.group_by needs a samples.csv; a scene's splits are drawn by blocks of pixels")
    values = read_mat(path)
    file = find_channels_file(path) or named_by_recipe(path, config)
    cube, key = find_cube(values, path, config.cube, len(file.channels))
    numbers = _label_map(values, path, config.labels, cube.shape[:2])
    names = next((_texts(values[key]) for key in _CLASS_KEYS if key in values), None)
    labelled = numbers > 0
    (labels,), classes = class_names([numbers[labelled]], names, str(path), first=1)
    label_map = np.full(numbers.shape, -1)
    label_map[labelled] = labels
    rows = list(_patches(label_map, config, seed, f"{path}/{key}"))
    index = checked_index(build_index(str(path), rows, classes), str(path), config.num_classes)
    return CubeCollection(path, index, file, cube, key, config.patch)


def read_mat(path: Path) -> dict[str, Array]:
    """All arrays of a `.mat` (up to version 7.2) by key.

    Raises:
        DataError: when the file is damaged, or of version 7.3.
    """
    try:
        check_elements(path)
        found = scipy.io.loadmat(path)
    except DataError:
        raise
    except NotImplementedError:
        raise DataError(
            f"{path}: MATLAB files of version 7.3 (HDF5) are not read; save it in MATLAB with '-v7'"
        ) from None
    except Exception as error:  # the decoder raises anything at all on damaged bytes
        raise DataError(f"{path}: the file cannot be read as a MATLAB file ({error})") from None
    return {key: value for key, value in found.items() if isinstance(value, np.ndarray)}


def _value(values: Mapping[str, Array], path: Path, key: str | None, option: str) -> Array:
    if key is None or key not in values:
        there = ", ".join(f"{name} {value.shape}" for name, value in values.items())
        asked = f"there is no key {key!r}" if key is not None else "which array is meant is not said"
        raise DataError(f"{path}: {asked}; there are {there}; name one by {option}")
    return values[key]


def find_cube(
    values: Mapping[str, Array], path: Path, key: str | None, count: int | None, *, option: str = "--data.cube"
) -> tuple[Array, str]:
    """The scene (H, W, C) among the arrays of a file, in one of the layouts that `open_cube` knows, and its key.

    Args:
        values: all arrays by key.
        path: the file, for messages.
        key: the scene's key; default: that of the only array of three axes.
        count: the number of channels, if known.
        option: how the user names the key, for messages.

    Raises:
        DataError: for a missing key, or an array of another shape or number type.
    """
    if key is None:
        solid = [name for name, value in values.items() if value.ndim == 3 and value.dtype.kind in "iuf"]
        key = solid[0] if len(solid) == 1 else None
    value = _value(values, path, key, option)
    where = f"{path}/{key}"
    if value.ndim == 3:
        cube = np.moveaxis(value, channel_axis(value.shape, (0, 2), count, where), -1)
    elif value.ndim == 2:
        pixels = np.moveaxis(value, channel_axis(value.shape, (0, 1), count, where), -1)
        cube = _from_columns(pixels, *_size(values, len(pixels), where))
    else:
        raise DataError(f"{where}: an array of {value.shape} is no scene; name one of two or three axes by {option}")
    return np.ascontiguousarray(plain_dtype(cube, where)), str(key)


def _size(values: Mapping[str, Array], pixels: int, where: str) -> tuple[int, int]:
    if "nRow" in values and "nCol" in values:
        height, width = int(values["nRow"].item()), int(values["nCol"].item())
    else:
        height = width = math.isqrt(pixels)
    if height * width != pixels:
        raise DataError(
            f"{where}: {pixels} pixels are not {height}×{width}; say the scene's size by nRow and nCol in the file"
        )
    return height, width


def _from_columns(pixels: Array, height: int, width: int) -> Array:
    """(H·W, …) column by column → (H, W, …)."""
    return np.swapaxes(pixels.reshape(width, height, *pixels.shape[1:]), 0, 1)


def _label_map(values: Mapping[str, Array], path: Path, key: str | None, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """(H, W) numbers from 1; 0 is no label."""
    value = _value(values, path, key, "--data.labels")
    if value.shape == shape and value.dtype.kind in "iuf":
        return value
    if value.ndim == 2 and value.shape[1] == math.prod(shape):
        return _from_columns(value.argmax(0) + 1, *shape)
    raise DataError(
        f"{path}/{key}: an array of {value.shape} labels no scene of {shape[0]}×{shape[1]} pixels; it must be a map of "
        f"them, or abundances (classes, {math.prod(shape)})"
    )


def _texts(names: Array) -> Array:
    """MATLAB's cells of texts, or an array of them, as texts; Samson's are called "#1 Soil"."""
    return np.array([str(np.asarray(name).item() if np.asarray(name).size == 1 else name) for name in names.ravel()])


def _patches(label_map: npt.NDArray[Any], config: DataConfig, seed: int, where: str) -> Iterator[tuple[str, int, str]]:
    """Name, label and split of each patch that lies in its split's blocks alone."""
    height, width = label_map.shape
    patch, stride = config.patch, config.patch_stride
    block = _blocks(height, width, patch)
    tops, lefts = (range(0, side - patch + 1, stride) for side in (height, width))
    middle = patch // 2
    corners = [(top, left) for top in tops for left in lefts if label_map[top + middle, left + middle] >= 0]
    centres = [(top + middle, left + middle) for top, left in corners]
    labels = [int(label_map[centre]) for centre in centres]
    try:
        drawn = draw_by_group(
            labels, [int(block[centre]) for centre in centres], config.val_fraction, config.test_fraction, seed
        )
    except DataError as error:
        raise DataError(
            f"{where}: a scene of {height}×{width} pixels is too small for splits of patches of {patch}: {error}"
        ) from None
    split_map = np.full(block.max() + 1, -1)  # a block without a labelled centre is in no split
    for centre, split in zip(centres, drawn, strict=True):
        split_map[block[centre]] = SPLITS.index(split)
    pixels = split_map[block]
    for (top, left), label, split in zip(corners, labels, drawn, strict=True):
        if (pixels[top : top + patch, left : left + patch] == SPLITS.index(split)).all():
            yield f"{top:05},{left:05}", label, split


def _blocks(height: int, width: int, patch: int) -> npt.NDArray[Any]:
    """(H, W) number of each pixel's block, all of about the same size."""
    rows, columns = (max(1, round(side / (_BLOCK_PATCHES * patch))) for side in (height, width))
    down, right = np.arange(height) * rows // height, np.arange(width) * columns // width
    return np.asarray(down[:, None] * columns + right[None, :])
