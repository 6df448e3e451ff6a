"""Scenes: images too large for memory, read a few rows at a time, with their place on the ground and their no-data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.windows import Window

from anychan.data.channels_file import sidecar
from anychan.data.cube import find_cube, read_mat
from anychan.data.limits import check_size
from anychan.data.tiff import TIFF_SUFFIXES
from anychan.deploy.raster import Place, block_row_bytes, check_fits, has_mask, open_raster, place_of, stored_bytes
from anychan.errors import ChannelError, DataError

__all__ = ["SCENE_SUFFIXES", "ArrayScene", "RasterScene", "Rows", "Scene", "open_scene"]


SCENE_SUFFIXES = (*TIFF_SUFFIXES, ".npy", ".mat")
_CACHE_BYTES = 64 * 2**20
_ROWS_BYTES = 2**29  # of rows or blocks in memory at once; a scene that is mostly no data shrinks very much
_KEPT = {"uint8": "uint8", "uint16": "uint16", "int16": "float32", "float32": "float32", "float64": "float32"}
Array = npt.NDArray[Any]


class Rows(NamedTuple):
    """Some rows of a scene: values (h, W, S), and where there is no data (h, W, S)."""

    values: Array
    missing: npt.NDArray[np.bool_]


class Scene(ABC):
    """One large image of C bands.

    Reading takes the memory of the rows asked for and of one row of the file's blocks (tiles or strips). A file that is
    one compressed strip is decoded as a whole, and a `.mat` file is read as a whole.

    Args:
        path: its file or folder.
        height: in pixels.
        width: in pixels.
        names: what the file calls its bands, `None` for one that has no name.
        dtype: number type of its pixels as they are read: uint8, uint16 or float32.
        place: where it lies, if the file says so.
        cache_bytes: that GDAL needs in order to decode no block twice.
    """

    def __init__(
        self,
        path: Path,
        *,
        height: int,
        width: int,
        names: Sequence[str | None],
        dtype: np.dtype[Any],
        place: Place | None = None,
        cache_bytes: int = 0,
    ) -> None:
        self.path, self.height, self.width, self.place = path, height, width, place
        self.names = tuple(names)
        if str(dtype) not in _KEPT:
            raise DataError(f"{path}: pixels of type {dtype} are not supported; use 8 or 16 bits, or float32")
        self.dtype = np.dtype(_KEPT[str(dtype)])
        self.cache_bytes = max(_CACHE_BYTES, cache_bytes)

    @abstractmethod
    def _read(self, top: int, rows: int, bands: Sequence[int]) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Values in the file's own number type, and which of them bear the no-data tag."""

    def read(self, top: int, rows: int, bands: Sequence[int]) -> Rows:
        """Some whole rows.

        Args:
            top: the first row.
            rows: how many.
            bands: positions of the bands, in the order wanted.

        Returns:
            Values; and where there are none: the file's no-data value, NaN or infinity.

        Raises:
            DataError: when the file is damaged.
        """
        values, missing = self._read(top, rows, bands)
        if not np.issubdtype(values.dtype, np.integer):
            with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinity, so no data
                values = values.astype(np.float32)
            missing |= ~np.isfinite(values)
        return Rows(values.astype(self.dtype, copy=False), missing)


class RasterScene(Scene):
    """Bands of one or several TIFFs that cover the same ground, all brought to the grid of the finest.

    Coarser bands are resampled bilinearly as they are read. Pixels that their file marks, by tag or mask, take no part
    in that; numbers that only `channels.yaml` or the model calls no data are mixed with values at the edges of gaps.

    Args:
        path: the file or folder.
        bands: the opened dataset of each band, and its number there, from 1.

    Raises:
        DataError: for datasets that lie elsewhere or differ in number type, or pixels of an unsupported type.
    """

    def __init__(self, path: Path, bands: Sequence[tuple[Any, int]]) -> None:
        self._bands = tuple(bands)
        datasets = list(dict.fromkeys(dataset for dataset, _ in bands))
        finest = max(datasets, key=lambda dataset: dataset.width * dataset.height)
        for dataset in datasets:
            check_fits(dataset, finest)
        self._stored = sum(stored_bytes(dataset) for dataset in datasets)
        blocks = sum(block_row_bytes(dataset) for dataset in datasets)
        check_size(blocks, self._stored, f"{path}: a row of its blocks", small=_ROWS_BYTES)
        super().__init__(
            path,
            height=finest.height,
            width=finest.width,
            names=[dataset.descriptions[number - 1] for dataset, number in bands],
            dtype=np.dtype(finest.dtypes[0]),
            place=place_of(finest),
            cache_bytes=2 * blocks,
        )

    def _read(self, top: int, rows: int, bands: Sequence[int]) -> tuple[Array, npt.NDArray[np.bool_]]:
        chosen = [self._bands[band] for band in bands]
        size = len(bands) * rows * self.width * np.dtype(chosen[0][0].dtypes[0]).itemsize
        check_size(size, self._stored, f"{self.path}: {rows} of its rows", small=_ROWS_BYTES)
        values = np.empty((len(bands), rows, self.width), chosen[0][0].dtypes[0])
        missing = np.zeros(values.shape, np.bool_)
        for dataset in dict.fromkeys(dataset for dataset, _ in chosen):
            places = [place for place, (its, _) in enumerate(chosen) if its is dataset]
            numbers = [chosen[place][1] for place in places]
            factor = dataset.height / self.height
            window = Window(0, top * factor, dataset.width, rows * factor)
            shape = (len(numbers), rows, self.width)
            masked = [place for place, number in zip(places, numbers, strict=True) if has_mask(dataset, number)]
            try:
                values[places] = dataset.read(numbers, window=window, out_shape=shape, resampling=Resampling.bilinear)
                if masked:  # one mask for all bands of a dataset
                    missing[masked] = dataset.dataset_mask(window=window, out_shape=shape[1:]) == 0
            except RasterioError as error:
                raise DataError(
                    f"{dataset.name}: rows {top} to {top + rows - 1} cannot be read; the file is damaged or truncated "
                    f"({' '.join(str(error.__cause__ or error).split())})"
                ) from None
            for place, number in zip(places, numbers, strict=True):
                no_data = dataset.nodatavals[number - 1]
                if no_data is not None:
                    missing[place] |= values[place] == no_data
        return np.moveaxis(values, 0, -1), np.moveaxis(missing, 0, -1)


class ArrayScene(Scene):
    """An array (H, W, C): a `.npy` file, of which only the rows asked for are read, or one that is in memory.

    Args:
        path: the file.
        cube: the array, if it is in memory.

    Raises:
        DataError: when the file holds no such array.
    """

    def __init__(self, path: Path, cube: Array | None = None) -> None:
        self._cube = cube
        array = self._array(path)
        if array.ndim != 3:
            raise DataError(f"{path}: a scene is an array (height, width, channels), not one of shape {array.shape}")
        height, width, bands = array.shape
        super().__init__(path, height=height, width=width, names=(None,) * bands, dtype=array.dtype)

    def _array(self, path: Path) -> Array:
        """The cube in memory, or the file mapped anew, so that the pages that were read do not pile up."""
        if self._cube is not None:
            return self._cube
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
        except Exception as error:  # damaged bytes raise anything at all
            raise DataError(f"{path}: the array cannot be read ({error})") from None

    def _read(self, top: int, rows: int, bands: Sequence[int]) -> tuple[Array, npt.NDArray[np.bool_]]:
        values = self._array(self.path)[top : top + rows][:, :, list(bands)]
        return values, np.zeros(values.shape, np.bool_)


def _mat_scene(path: Path, key: str | None, channels_count: int | None) -> ArrayScene:
    if channels_count is None:  # their number tells the axis of the channels
        raise ChannelError(
            f"{path}: nobody says which channels its array holds; give --channels, a sensor or a list in the file's "
            f"order, or write a {sidecar(path).name} beside it"
        )
    cube, _ = find_cube(read_mat(path), path, key, channels_count, option="--cube")
    return ArrayScene(path, cube)


@contextmanager
def open_scene(
    path: Path,
    files: Mapping[str, Path] | None = None,
    *,
    cube: str | None = None,
    channels_count: int | None = None,
) -> Iterator[Scene]:
    """Open a scene.

    Args:
        path: a TIFF, `.npy` or `.mat` file; or a folder, for messages.
        files: of a folder, the file of each channel, with one band each.
        cube: of a `.mat` file, the key of the scene; default: the only array of three axes.
        channels_count: of a `.mat` file, the number of channels that its scene is said to have.

    Raises:
        DataError: naming the file, when one is absent, damaged, or no such thing.
        ChannelError: for a `.mat` file of which nobody says how many channels it has.
    """
    if files is None and path.suffix.lower() == ".mat":
        yield _mat_scene(path, cube, channels_count)
        return
    if files is None and path.suffix.lower() == ".npy":
        yield ArrayScene(path)
        return
    with ExitStack() as stack:
        if files is None:
            dataset = stack.enter_context(open_raster(path))
            bands = [(dataset, number) for number in dataset.indexes]
        else:
            bands = [(stack.enter_context(open_raster(file)), 1) for file in files.values()]
            for dataset, _ in bands:
                if dataset.count != 1:
                    raise DataError(f"{dataset.name}: the file holds {dataset.count} bands; a channel's file holds one")
        scene = RasterScene(path, bands)
        stack.enter_context(rasterio.Env(GDAL_CACHEMAX=scene.cache_bytes))
        yield scene
