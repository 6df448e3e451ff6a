"""An image file's bytes → an array (H, W, C) in the file's own number type, resized by a stated rule."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image, ImageOps, UnidentifiedImageError

from anychan.channels import ChannelSet
from anychan.contract import ResizeRule
from anychan.errors import DataError

__all__ = ["READER_VERSION", "read_image", "resize"]

READER_VERSION = 1  # part of every cache's key: raise it when the same file would give other values
_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
Array = npt.NDArray[Any]


def read_image(data: bytes, name: str, channels: ChannelSet, *, grey: str = "refuse") -> Array:
    """Decode JPEG, PNG or TIFF.

    Photographs are turned upright by their EXIF tag; palettes and CMYK become RGB; an alpha channel is dropped only
    where it is opaque throughout. TIFFs may hold their channels interleaved, planar or as pages.

    Args:
        data: the file's bytes.
        name: the file's name, whose suffix says what it is.
        channels: the channels expected, in the file's order.
        grey: `"repeat"` reads a grey photograph as R = G = B; `"refuse"` does not.

    Returns:
        (H, W, C) array of uint8, uint16 or float32.

    Raises:
        DataError: naming the file, when it is damaged or holds other channels.
    """
    is_tiff = name.lower().endswith((".tif", ".tiff"))
    try:
        array = _read_tiff(data, name) if is_tiff else _read_photo(data, name, len(channels), grey)
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError(f"{name}: the file is no image that Pillow knows") from None
    except Exception as error:  # decoders raise anything at all on damaged bytes
        raise DataError(f"{name}: the image is damaged or truncated ({error})") from error
    if array.ndim != 3 or array.shape[2] != len(channels):
        found = array.shape[2] if array.ndim == 3 else array.shape
        raise DataError(f"{name}: the image has {found} channels, but {len(channels)} are expected: {channels.names}")
    return _plain_dtype(array, name)


def _is_deep_colour_png(data: bytes) -> bool:
    """Whether a PNG has 16 bits a channel and colour (types 2 and 6), which Pillow would cut to 8 without a word."""
    return data[:8] == b"\x89PNG\r\n\x1a\n" and data[24:25] == b"\x10" and data[25:26] in (b"\x02", b"\x06")


def _read_photo(data: bytes, name: str, expected: int, grey: str) -> Array:
    if _is_deep_colour_png(data):
        raise DataError(f"{name}: colour PNGs of 16 bits are not supported; write the image as TIFF, or with 8 bits")
    with Image.open(io.BytesIO(data)) as opened:
        image: Image.Image = ImageOps.exif_transpose(opened)
    if image.mode in ("P", "CMYK", "YCbCr", "LAB", "HSV"):
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    elif image.mode in ("1", "L", "RGB") and "transparency" in image.info:  # one colour stands for "transparent"
        image = image.convert("RGBA" if image.mode == "RGB" else "LA")
    if image.mode in ("RGBA", "LA") and expected != len(image.getbands()):
        lowest = image.getchannel("A").getextrema()[0]
        if isinstance(lowest, int) and lowest < 255:
            raise DataError(f"{name}: the image is partly transparent, and transparency is not one of the channels")
        image = image.convert(image.mode[:-1])
    array = np.asarray(image)
    if array.ndim == 2:
        array = array[:, :, None]
        if expected == 3 and grey == "repeat":
            array = np.repeat(array, 3, axis=2)
        elif expected == 3:
            raise DataError(f"{name}: the image is grey; to read it as R = G = B, say --data.grey repeat")
    return array


def _read_tiff(data: bytes, name: str) -> Array:
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        if len(tiff.series) > 1:
            shapes = ", ".join(str(series.shape) for series in tiff.series)
            raise DataError(f"{name}: the TIFF holds {len(tiff.series)} images of unlike shapes ({shapes}); write one")
        series = tiff.series[0]
        array, axes = series.asarray(), series.axes
    height, width = axes.index("Y"), axes.index("X")
    array = np.moveaxis(array, (height, width), (-2, -1))
    array = array.reshape(math.prod(array.shape[:-2]), *array.shape[-2:])  # (C, H, W)
    return np.moveaxis(array, 0, -1)


def _plain_dtype(array: Array, name: str) -> Array:
    if array.dtype in (np.uint8, np.uint16, np.float32):
        return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype in (np.int16, np.float16, np.float64):
        return array.astype(np.float32)
    raise DataError(f"{name}: pixels of type {array.dtype} are not supported; use 8 or 16 bits, or float32")


def resize(array: Array, rule: ResizeRule) -> Array:
    """Bring an image (H, W, C) to (size, size, C) by Pillow's antialiased filters, in the same number type."""
    height, width, _ = array.shape
    if rule.fit == "crop":
        factor = rule.size / min(height, width)
        array = _scale(array, max(rule.size, round(height * factor)), max(rule.size, round(width * factor)), rule)
        top, left = (array.shape[0] - rule.size) // 2, (array.shape[1] - rule.size) // 2
        return array[top : top + rule.size, left : left + rule.size]
    return _scale(array, rule.size, rule.size, rule)


def _scale(array: Array, height: int, width: int, rule: ResizeRule) -> Array:
    if array.shape[:2] == (height, width):
        return array
    method = _FILTERS[rule.filter]
    if array.dtype == np.uint8 and array.shape[2] == 3:
        return np.asarray(Image.fromarray(array).resize((width, height), method))
    planes = []
    for plane in np.moveaxis(array, -1, 0):
        kept = plane if plane.dtype == np.uint8 else plane.astype(np.float32)
        planes.append(np.asarray(Image.fromarray(np.ascontiguousarray(kept)).resize((width, height), method)))
    scaled = np.stack(planes, -1)
    if array.dtype == np.uint16:
        scaled = np.clip(np.rint(scaled), 0, 65535)
    return scaled.astype(array.dtype)
