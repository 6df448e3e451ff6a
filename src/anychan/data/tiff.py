"""A TIFF's pixels as (H, W, C), and what it says of them: the channels' names, and what their numbers mean."""

from __future__ import annotations

import io
import itertools
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import unescape

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

from anychan.data.limits import check_photograph, check_size
from anychan.encoding import Encoding, fits_type
from anychan.errors import DataError

__all__ = ["TIFF_SUFFIXES", "TiffFacts", "is_tiff", "read_tiff", "tiff_facts"]

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # what it finds amiss is told once, by our errors
TIFF_SUFFIXES = (".tif", ".tiff")
_GDAL_METADATA, _GDAL_NODATA = 42112, 42113  # tags; https://gdal.org/drivers/raster/gtiff.html
# none, CCITT, LZW, deflate, PackBits, LZMA and zstd: they are decoded into as many bytes as the TIFF says
_BOUNDED = {1, 2, 3, 4, 5, 8, 32773, 32946, 34925, 50000}
# JPEG, JPEG 2000, WebP and PNG: images of a size of their own
_IMAGES = {6, 7, 33003, 33005, 33007, 34712, 34933, 34934, 50001}
_MOST_PLANES = 65_535


@dataclass(frozen=True)
class TiffFacts:
    """What a TIFF says of its pixels.

    Args:
        shape: (height, width, channels).
        dtype: the pixels' number type, in the machine's byte order.
        channel_names: GDAL's band descriptions or OME-TIFF's channel names, `None` for a channel without one; empty
            where the file names no channel.
        no_data: the number that stands for a pixel without a value (`GDAL_NODATA`), NaN where the number type that the
            pixels are read as cannot hold it; `None` where the file names none, or one that its pixels cannot have.
        encodings: what GDAL's tags say of each channel's numbers: no data, unit, scale and offset.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    channel_names: tuple[str | None, ...] = ()
    no_data: float | None = None
    encodings: tuple[Encoding, ...] = ()


def is_tiff(name: str) -> bool:
    """Whether a file's name is that of a TIFF."""
    return name.lower().endswith(TIFF_SUFFIXES)


def tiff_facts(data: bytes, name: str) -> TiffFacts:
    """What a TIFF says of its pixels, without decoding them.

    Args:
        data: the file's bytes.
        name: the file's name, for messages.

    Raises:
        DataError: naming the file, when it is damaged, holds several images, or says something that cannot be.
    """
    with _opened(data, name) as series:
        height, width = (series.shape[series.axes.index(axis)] for axis in "YX")
        channels = math.prod(series.shape) // max(1, height * width)
        dtype = np.dtype(series.dtype).newbyteorder("=")
        page = series.keyframe
        names = _gdal_names(page, name, channels) or _ome_names(page, name, channels)
        no_data = _no_data(page, name, dtype)
        encodings = _gdal_encodings(page, name, channels, no_data)
        return TiffFacts((height, width, channels), dtype, names, no_data, encodings)


def read_tiff(data: bytes, name: str) -> npt.NDArray[Any]:
    """A TIFF's pixels (H, W, C) in its own number type, however they are stored.

    Args:
        data: the file's bytes.
        name: the file's name, for messages.

    Raises:
        DataError: naming the file, when it is damaged or holds several images.
    """
    with _opened(data, name) as series:
        _check_segments(series, data, name)
        array, axes = series.asarray(), series.axes
        number = _number(series.keyframe, name)
    if array.dtype.kind == "f" and number is not None and not fits_type(number, np.dtype(np.float32)):
        array = np.where(array == number, np.nan, array)  # becomes float32, where the number would be infinity
    height, width = axes.index("Y"), axes.index("X")
    array = np.moveaxis(array, (height, width), (-2, -1))
    array = array.reshape(math.prod(array.shape[:-2]), *array.shape[-2:])  # (C, H, W)
    return np.moveaxis(array, 0, -1)


@contextmanager
def _opened(data: bytes, name: str) -> Iterator[Any]:
    """The only image of a TIFF; overviews are no images."""
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as tiff:
            if "<!DOCTYPE" in tiff.pages.first.description:  # tifffile would expand its entities
                raise DataError(f"{name}: the TIFF's description is XML with a document type, which is not read")
            _check_directories(tiff, len(data), name)
            if len(tiff.series) > 1:
                shapes = ", ".join(str(series.shape) for series in tiff.series)
                raise DataError(
                    f"{name}: the TIFF holds {len(tiff.series)} images of unlike shapes ({shapes}); write one"
                )
            series = tiff.series[0]
            if any(page is None for page in series.pages):  # tifffile would fill them with zeros
                raise DataError(f"{name}: the TIFF lacks planes that its description promises")
            size = math.prod(series.shape) * series.dtype.itemsize
            check_size(size, len(data), name)
            yield series
    except DataError:
        raise
    except Exception as error:  # decoders raise anything at all on damaged bytes
        raise DataError(f"{name}: the image is damaged or truncated ({error})") from error


def _check_directories(tiff: Any, size: int, name: str) -> None:
    """Refuse a chain of directories that leads back into itself, or overlaps, and promises of too many planes."""
    offsets: set[int] = set()
    tags = 0
    for number in itertools.count():
        try:
            page = tiff.pages[number]
        except IndexError:
            break
        tags += len(page.tags)
        if page.offset in offsets or 8 * tags > size:
            raise DataError(f"{name}: the TIFF is damaged: its directories lead back into each other")
        offsets.add(page.offset)
    if not tiff.pages.first.is_ome:
        return
    for element in _elements(tiff.pages.first.description, name, "Pixels", "TiffData"):
        keys = ("SizeC", "SizeT", "SizeZ", "PlaneCount", "NumPlanes", "IFD")
        if math.prod(max(1, int(element.get(key, 1))) for key in keys) > _MOST_PLANES:
            raise DataError(f"{name}: the TIFF's description promises more than {_MOST_PLANES:,} planes")


def _check_segments(series: Any, data: bytes, name: str) -> None:
    """Refuse strips and tiles that are images of a size of their own, larger than the TIFF says."""
    for page in series.pages:
        if math.prod(page.keyframe.chunked) > max(_MOST_PLANES, len(page.dataoffsets)):
            raise DataError(f"{name}: the TIFF is damaged: it lacks most of its strips or tiles")
        if page.keyframe.compression in _BOUNDED:
            continue
        if page.keyframe.compression not in _IMAGES:
            kind = getattr(page.keyframe.compression, "name", page.keyframe.compression)
            raise DataError(f"{name}: TIFFs of compression {kind} are not read; write it with deflate, LZW or zstd")
        height, width = page.keyframe.chunks[:2] if page.keyframe.planarconfig == 1 else page.keyframe.chunks[-2:]
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            if not count:  # GDAL leaves tiles without data out
                continue
            part = data[offset : offset + count]
            with Image.open(io.BytesIO(part)) as segment:
                if segment.width * segment.height > 2 * width * height + 65536:
                    raise DataError(
                        f"{name}: the TIFF is damaged: a part of {height}×{width} pixels holds "
                        f"{segment.height}×{segment.width}"
                    )
                check_photograph(segment, part, name)


def _elements(text: str, name: str, *tags: str) -> list[ElementTree.Element]:
    """All elements of these tags, whatever their namespace."""
    if "<!DOCTYPE" in text:
        raise DataError(f"{name}: the TIFF's metadata is XML with a document type, which is not read")
    try:
        root = ElementTree.fromstring(text.strip("\0 \n"))
    except ElementTree.ParseError as error:
        raise DataError(f"{name}: the TIFF's metadata is not XML ({error})") from None
    return [element for element in root.iter() if element.tag.rpartition("}")[2] in tags]


def _gdal_items(page: Any, name: str, role: str) -> dict[int, str]:
    """What GDAL's metadata says of single channels in a role, such as `description`."""
    tag = page.tags.get(_GDAL_METADATA)
    found: dict[int, str] = {}
    for item in _elements(str(tag.value), name, "Item") if tag is not None else ():
        sample = item.get("sample", "")
        if item.get("role") == role and sample.isdecimal() and item.text and item.text.strip():
            found[int(sample)] = unescape(item.text.strip(), {"&quot;": '"'})  # GDAL escapes twice
    return found


def _gdal_names(page: Any, name: str, channels: int) -> tuple[str | None, ...]:
    found = _gdal_items(page, name, "description")
    return tuple(found.get(number) for number in range(channels)) if found else ()


def _gdal_encodings(page: Any, name: str, channels: int, no_data: float | None) -> tuple[Encoding, ...]:
    units, scales, offsets = (_gdal_items(page, name, role) for role in ("unittype", "scale", "offset"))
    if not (units or scales or offsets):
        return (Encoding(no_data=no_data),) * channels
    try:
        return tuple(
            Encoding(units.get(i), float(scales.get(i, 1)), float(offsets.get(i, 0)), no_data) for i in range(channels)
        )
    except ValueError as error:  # ChannelError is one of them
        raise DataError(f"{name}: the TIFF's scale or offset cannot be ({error})") from None


def _ome_names(page: Any, name: str, channels: int) -> tuple[str | None, ...]:
    if not page.is_ome:
        return ()
    found = [element.get("Name") for element in _elements(page.description, name, "Channel")]
    return tuple(found) if len(found) == channels and any(found) else ()  # a channel may be RGB, and so be three


def _number(page: Any, name: str) -> float | None:
    tag = page.tags.get(_GDAL_NODATA)
    text = "" if tag is None else str(tag.value).strip("\0 ")
    try:
        return float(text) if text else None
    except ValueError:
        raise DataError(f"{name}: the TIFF's no-data number is {text!r}, which is no number") from None


def _no_data(page: Any, name: str, dtype: np.dtype[Any]) -> float | None:
    number = _number(page, name)
    if number is not None and dtype.kind == "f":
        return number if fits_type(number, np.dtype(np.float32)) else math.nan
    return number if fits_type(number, dtype) else None
