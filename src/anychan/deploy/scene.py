"""Scenes: images too large for memory, read a few rows at a time, with their place on the ground and their no-data."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import MaskFlags, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from anychan.data.channels_file import sidecar
from anychan.data.cube import find_cube, read_mat
from anychan.data.tiff import TIFF_SUFFIXES
from anychan.errors import ChannelError, DataError

__all__ = ["SCENE_SUFFIXES", "ArrayScene", "Place", "RasterScene", "Rows", "Scene", "open_scene"]


SCENE_SUFFIXES = (*TIFF_SUFFIXES, ".npy", ".mat")
_CACHE_BYTES = 64 * 2**20
_KEPT = {"uint8": "uint8", "uint16": "uint16", "int16": "float32", "float32": "float32", "float64": "float32"}
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Place:
    """Where a scene lies: its coordinate reference system and affine transform, as rasterio gives them."""

    crs: Any
    transform: Any


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
            _check_fits(dataset, finest)
        super().__init__(
            path,
            height=finest.height,
            width=finest.width,
            names=[dataset.descriptions[number - 1] for dataset, number in bands],
            dtype=np.dtype(finest.dtypes[0]),
            place=_place(finest),
            cache_bytes=2 * sum(_block_row_bytes(dataset) for dataset in datasets),
        )

    def _read(self, top: int, rows: int, bands: Sequence[int]) -> tuple[Array, npt.NDArray[np.bool_]]:
        chosen = [self._bands[band] for band in bands]
        values = np.empty((len(bands), rows, self.width), chosen[0][0].dtypes[0])
        missing = np.zeros(values.shape, np.bool_)
        for dataset in dict.fromkeys(dataset for dataset, _ in chosen):
            places = [place for place, (its, _) in enumerate(chosen) if its is dataset]
            numbers = [chosen[place][1] for place in places]
            factor = dataset.height / self.height
            window = Window(0, top * factor, dataset.width, rows * factor)
            shape = (len(numbers), rows, self.width)
            try:
                values[places] = dataset.read(numbers, window=window, out_shape=shape, resampling=Resampling.bilinear)
            except RasterioError as error:
                raise DataError(
                    f"{dataset.name}: rows {top} to {top + rows - 1} cannot be read; the file is damaged or truncated "
                    f"({' '.join(str(error.__cause__ or error).split())})"
                ) from None
            for place, number in zip(places, numbers, strict=True):
                no_data = dataset.nodatavals[number - 1]
                if no_data is not None:
                    missing[place] = values[place] == no_data
            masked = [place for place, number in zip(places, numbers, strict=True) if _has_mask(dataset, number)]
            if masked:  # one mask for all bands of a dataset
                missing[masked] |= dataset.dataset_mask(window=window, out_shape=shape[1:]) == 0
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
        except (OSError, ValueError, EOFError) as error:
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
            dataset = stack.enter_context(_opened(path))
            bands = [(dataset, number) for number in dataset.indexes]
        else:
            bands = [(stack.enter_context(_opened(file)), 1) for file in files.values()]
            for dataset, _ in bands:
                if dataset.count != 1:
                    raise DataError(f"{dataset.name}: the file holds {dataset.count} bands; a channel's file holds one")
        scene = RasterScene(path, bands)
        stack.enter_context(rasterio.Env(GDAL_CACHEMAX=scene.cache_bytes))
        yield scene


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # `Place` is then None, which is said
            dataset = rasterio.open(path, driver="GTiff")
    except RasterioError as error:
        raise DataError(f"{path}: the file is no TIFF that GDAL can read ({' '.join(str(error).split())})") from None
    with dataset:
        if dataset.subdatasets:
            pages = len(dataset.subdatasets)
            raise DataError(f"{path}: the TIFF holds {pages} pages; write a scene's channels as bands of one page")
        yield dataset


def _place(dataset: Any) -> Place | None:
    return None if dataset.crs is None and dataset.transform.is_identity else Place(dataset.crs, dataset.transform)


def _has_mask(dataset: Any, number: int) -> bool:
    """Whether the file holds a mask; alpha is none, as GDAL takes the fourth band of any 8-bit file for alpha."""
    flags = dataset.mask_flag_enums[number - 1]
    return MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags


def _block_row_bytes(dataset: Any) -> int:
    """What one row of blocks takes when it is decoded, of all bands: interleaved ones are decoded together."""
    height, width = dataset.block_shapes[0]
    blocks = -(-dataset.width // width)
    size: int = blocks * width * height * np.dtype(dataset.dtypes[0]).itemsize * dataset.count
    return size


def _check_fits(dataset: Any, finest: Any) -> None:
    """See that a dataset covers the same ground, to half a pixel of its own, in the same number type."""
    types = {*dataset.dtypes, *finest.dtypes}
    if len(types) > 1:
        found = " and ".join(sorted(types))
        raise DataError(f"{dataset.name}: bands of unlike number types, {found}; write all as one")
    if dataset.crs != finest.crs:
        raise DataError(f"{dataset.name}: its CRS, {dataset.crs}, is not that of {finest.name}, {finest.crs}")
    half = max(map(abs, dataset.res)) / 2
    if not np.allclose(dataset.bounds, finest.bounds, rtol=0, atol=half):
        raise DataError(
            f"{dataset.name}: it covers {tuple(dataset.bounds)}, but {finest.name} covers {tuple(finest.bounds)}; "
            "a scene's bands must cover the same ground"
        )
