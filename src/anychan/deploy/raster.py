"""TIFFs that GDAL reads: whether one may be opened, and what it says of itself."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.enums import MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from anychan.data.limits import check_size
from anychan.errors import DataError

__all__ = ["Place", "block_row_bytes", "check_fits", "has_mask", "open_raster", "place_of", "stored_bytes"]

_TIMES = 2000  # what no data at all becomes by LZW and deflate, so the least of a scene that is mostly that
_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@dataclass(frozen=True)
class Place:
    """Where a scene lies: its coordinate reference system and affine transform, as rasterio gives them."""

    crs: Any
    transform: Any


@contextmanager
def open_raster(path: Path) -> Iterator[Any]:
    """Open a TIFF by GDAL, which reads nothing else than this file and what lies beside it under its name.

    GDAL's other formats are kept out, also as the mask beside a TIFF: a VRT is a text that names any file or address.
    A TIFF can name any as its overviews, too; GDAL looks at them only where it is to read fewer pixels than there are,
    which `check_fits` keeps out.

    Raises:
        DataError: for an absent file, another format, several pages, a number type without a name, or a size that no
            file of so few bytes has.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    mask = path.with_name(f"{path.name}.msk")
    if mask.is_file() and not _is_tiff(mask):
        raise DataError(f"{mask}: the mask is no TIFF; delete it, or write it as one")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # `Place` is then None, which is said
            # in full, as names that begin with GTIFF_DIR: mean another file
            dataset = rasterio.open(path.absolute(), driver="GTiff")
    except RasterioError as error:
        raise DataError(f"{path}: the file is no TIFF that GDAL can read ({' '.join(str(error).split())})") from None
    with dataset:
        if dataset.subdatasets:
            pages = len(dataset.subdatasets)
            raise DataError(f"{path}: the TIFF holds {pages} pages; write a scene's channels as bands of one page")
        try:
            pixel = max(np.dtype(name).itemsize for name in dataset.dtypes)
            _ = dataset.descriptions, dataset.crs
        except (RasterioError, TypeError, ValueError) as error:  # types that NumPy lacks, names that are no text
            raise DataError(f"{path}: the TIFF cannot be read ({error})") from None
        size = dataset.height * dataset.width * dataset.count * pixel
        check_size(size, stored_bytes(dataset), str(path), times=_TIMES)
        yield dataset


def _is_tiff(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in _MAGIC


def stored_bytes(dataset: Any) -> int:
    """The size of its file."""
    return Path(dataset.name).stat().st_size


def place_of(dataset: Any) -> Place | None:
    """Where it lies; `None` where it does not say."""
    return None if dataset.crs is None and dataset.transform.is_identity else Place(dataset.crs, dataset.transform)


def has_mask(dataset: Any, number: int) -> bool:
    """Whether the file holds a mask; alpha is none, as GDAL takes the fourth band of any 8-bit file for alpha."""
    flags = dataset.mask_flag_enums[number - 1]
    return MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags


def block_row_bytes(dataset: Any) -> int:
    """What one row of blocks takes when it is decoded, of all bands: interleaved ones are decoded together."""
    height, width = dataset.block_shapes[0]
    blocks = -(-dataset.width // width)
    size: int = blocks * width * height * np.dtype(dataset.dtypes[0]).itemsize * dataset.count
    return size


def check_fits(dataset: Any, finest: Any) -> None:
    """See that a dataset covers the same ground, to half a pixel of its own, in the same number type.

    Raises:
        DataError: when it does not, or has pixels that are finer than the finest's in one direction.
    """
    types = {*dataset.dtypes, *finest.dtypes}
    if len(types) > 1:
        found = " and ".join(sorted(types))
        raise DataError(f"{dataset.name}: bands of unlike number types, {found}; write all as one")
    if dataset.crs != finest.crs:
        raise DataError(f"{dataset.name}: its CRS, {dataset.crs}, is not that of {finest.name}, {finest.crs}")
    if dataset.width > finest.width or dataset.height > finest.height:
        size, finer = (f"{each.height}x{each.width}" for each in (dataset, finest))
        raise DataError(f"{dataset.name}: its {size} pixels are finer in one direction than {finer} of {finest.name}")
    half = max(map(abs, dataset.res)) / 2
    if not np.allclose(dataset.bounds, finest.bounds, rtol=0, atol=half):
        raise DataError(
            f"{dataset.name}: it covers {tuple(dataset.bounds)}, but {finest.name} covers {tuple(finest.bounds)}; "
            "a scene's bands must cover the same ground"
        )
