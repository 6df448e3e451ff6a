"""The files of a class map: two GeoTIFFs, labels and confidence, written a row of tiles at a time."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
import rasterio
from rasterio import Affine
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from anychan.deploy.raster import Place
from anychan.deploy.scene_map import Grid, MapRow

__all__ = ["MapWriter", "class_colours", "label_dtype", "map_writer"]

_TILE = 256
_GOLDEN = 0.618033988749895
Array = npt.NDArray[Any]


def class_colours(count: int) -> npt.NDArray[np.uint8]:
    """(count, 3) colours that differ as much as may be; neighbours in the list most of all."""
    if count <= 20:
        named = matplotlib.colormaps["tab10" if count <= 10 else "tab20"]
        return np.array([[round(255 * part) for part in named(number)[:3]] for number in range(count)], np.uint8)
    hues = matplotlib.colormaps["hsv"]((np.arange(count) * _GOLDEN) % 1)[:, :3]
    shades = np.array([1.0, 0.7, 0.45])[np.arange(count) % 3]
    return np.asarray(np.rint(255 * hues * shades[:, None]), np.uint8)


def label_dtype(num_classes: int) -> np.dtype[Any]:
    """The number type of the labels; its largest value stands for no data."""
    return np.dtype(np.uint8 if num_classes <= 255 else np.uint16)


class MapWriter:
    """Takes rows of cells, and writes as many at once as a tile is high, so that no tile is compressed twice.

    Args:
        labels: the opened dataset of labels.
        confidence: the opened dataset of confidences.
    """

    def __init__(self, labels: Any, confidence: Any) -> None:
        self._labels, self._confidence = labels, confidence
        self._waiting: list[MapRow] = []
        self._written = 0
        self.checksums: list[tuple[Window, int, int]] = []  # of labels and of confidence

    def write(self, row: MapRow) -> None:
        """Add the next row."""
        self._waiting.append(row)
        if len(self._waiting) == _TILE:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if not self._waiting:
            return
        labels = np.stack([row.labels for row in self._waiting])
        labels = np.where(labels < 0, self._labels.nodata, labels).astype(self._labels.dtypes[0])
        window = Window(0, self._written, self._labels.width, len(labels))
        confidence = np.stack([row.confidence for row in self._waiting]).astype(np.float32)
        self._labels.write(labels, 1, window=window)
        self._confidence.write(confidence, 1, window=window)
        self.checksums.append((window, zlib.crc32(labels.data), zlib.crc32(confidence.data)))
        self._written += len(labels)
        self._waiting = []


def _scaled(transform: Affine, factor: int) -> Affine:
    """With pixels so many times as large; by hand, as affine 2 and 3 write the product in two ways."""
    a, b, c, d, e, f = transform[:6]
    return Affine(factor * a, factor * b, c, factor * d, factor * e, f)


@contextmanager
def map_writer(
    labels_path: Path, confidence_path: Path, *, grid: Grid, place: Place | None, classes: Sequence[str]
) -> Iterator[MapWriter]:
    """Open both files: tiled, deflated, one pixel a cell, in the scene's coordinates.

    Args:
        labels_path: the file of labels: colours and no-data in the file, names of the classes in the tags `CLASS_0`, …
        confidence_path: the file of float32 confidences, no-data NaN.
        grid: the cells.
        place: where the scene lies.
        classes: names by label.

    Raises:
        OSError: when a file does not hold in the end what was written to it, as on a full disk.
    """
    dtype = label_dtype(len(classes))
    options = {
        "driver": "GTiff",
        "height": grid.rows,
        "width": grid.columns,
        "count": 1,
        "tiled": True,
        "blockxsize": _TILE,
        "blockysize": _TILE,
        "compress": "deflate",
        "bigtiff": "if_safer",
    }
    if place is not None:
        options |= {"crs": place.crs, "transform": _scaled(place.transform, grid.stride)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        labels = rasterio.open(labels_path, "w", **options, dtype=dtype, nodata=int(np.iinfo(dtype).max))
        confidence = rasterio.open(confidence_path, "w", **options, dtype="float32", nodata=np.nan, predictor=3)
    with labels, confidence:
        labels.set_band_description(1, "class")
        labels.update_tags(**{f"CLASS_{number}": name for number, name in enumerate(classes)})
        labels.write_colormap(1, {n: (*map(int, colour), 255) for n, colour in enumerate(class_colours(len(classes)))})
        confidence.set_band_description(1, "confidence: mean softmax of the class")
        writer = MapWriter(labels, confidence)
        yield writer
        writer.flush()
    for window, *written in writer.checksums:
        for path, checksum in zip((labels_path, confidence_path), written, strict=True):
            if _checksum(path, window) != checksum:
                raise OSError("the disk did not take all of it; is it full?")


def _checksum(path: Path, window: Window) -> int | None:
    """Of what a file holds: GDAL closes one without an error when the disk refuses its last tiles."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            file = rasterio.open(path)
        with file:
            return zlib.crc32(file.read(1, window=window))
    except RasterioError:
        return None
