"""An image file's bytes → an array (H, W, C) in the file's own number type, resized by a stated rule."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from anychan.channels import ChannelSet
from anychan.contract import FILTERS, ResizeRule
from anychan.data.limits import check_photograph
from anychan.data.png import check_png, is_png
from anychan.data.tiff import TIFF_SUFFIXES, is_tiff, read_tiff
from anychan.encoding import Encoding
from anychan.errors import ConfigError, DataError

__all__ = [
    "PHOTOGRAPH_FORMATS",
    "PHOTOGRAPH_SUFFIXES",
    "READER_VERSION",
    "channel_axis",
    "image_suffixes",
    "own_reader",
    "photograph",
    "plain_dtype",
    "read_image",
    "register_reader",
    "resize",
    "scale",
]

READER_VERSION = 2  # part of every cache's key: raise it when the same file would give other values
PHOTOGRAPH_SUFFIXES = (".jpeg", ".jpg", ".png")
PHOTOGRAPH_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")  # names may lie, but no program is run for EPS
_FILTERS = {name: Image.Resampling[name.upper()] for name in FILTERS}
Array = npt.NDArray[Any]
_BUILT_IN = tuple(sorted((*PHOTOGRAPH_SUFFIXES, *TIFF_SUFFIXES, ".npy")))
_OWN: dict[str, tuple[Callable[[bytes, str], Array], int]] = {}  # suffix → function and version


def register_reader(suffix: str, read: Callable[[bytes, str], Array], *, version: int = 1) -> None:
    """Read image files of one more kind, wherever this process reads images.

    A suffix that was registered before takes the new function. What the channels are is said as for TIFFs that do not
    name them: by `channels.yaml` or by option.

    Args:
        suffix: of the files' names, with its dot; capitals do not matter.
        read: a file's bytes and its name → (H, W, C) of a number type that `plain_dtype` takes. What it raises is told
            as a `DataError` with the file's name.
        version: raise it when the same bytes would give other values: cached images are then decoded anew.

    Raises:
        ConfigError: for a suffix without a dot, or that of a file that anychan reads itself.
    """
    suffix = suffix.lower()
    if not suffix.startswith(".") or suffix in (*_BUILT_IN, ".npz", ".mat", ".zip"):
        raise ConfigError(
            f"a reader cannot be registered for {suffix!r}; give a suffix with its dot, such as '.raw', that anychan "
            f"does not read itself ({', '.join(_BUILT_IN)}, .npz, .mat, .zip)"
        )

    def checked(data: bytes, name: str) -> Array:
        try:
            array = read(data, name)
        except Exception as error:  # whatever a user's own code raises
            raise DataError(f"{name}: the image cannot be read ({error})") from error
        if not isinstance(array, np.ndarray) or array.ndim != 3:
            given = f"an array of {array.ndim} axes" if isinstance(array, np.ndarray) else type(array).__name__
            raise DataError(f"{name}: the reader of {suffix} gives {given}, not an array (H, W, C)")
        return array

    _OWN[suffix] = (checked, version)


def image_suffixes() -> tuple[str, ...]:
    """The suffixes of files that hold one image each."""
    return (*_BUILT_IN, *_OWN)


def own_reader(name: str) -> tuple[Callable[[bytes, str], Array], int] | None:
    """Function and version that were registered for a file's suffix; `None` for files that anychan reads itself."""
    return next((own for suffix, own in _OWN.items() if name.lower().endswith(suffix)), None)


def read_image(data: bytes, name: str, channels: ChannelSet, *, grey: str = "refuse") -> Array:
    """Decode JPEG, PNG, TIFF, NumPy's `.npy`, or a file of a suffix that was registered.

    Photographs are turned upright by their EXIF tag; palettes and CMYK become RGB; an alpha channel is dropped only
    where it is opaque throughout. TIFFs may hold their channels interleaved, planar or as pages; arrays first or last,
    which their number tells.

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
    try:
        if (own := own_reader(name)) is not None:
            array = own[0](data, name)
        elif is_tiff(name):
            array = read_tiff(data, name)
        elif name.lower().endswith(".npy"):
            array = _read_npy(data, name, len(channels))
        else:
            array = _read_photo(data, name, len(channels), grey)
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError(f"{name}: the file is no image that Pillow knows") from None
    except Exception as error:  # decoders raise anything at all on damaged bytes
        raise DataError(f"{name}: the image is damaged or truncated ({error})") from error
    if not array.size:
        raise DataError(f"{name}: the image has no pixel")
    if array.ndim != 3 or array.shape[2] != len(channels):
        found = array.shape[2] if array.ndim == 3 else array.shape
        raise DataError(f"{name}: the image has {found} channels, but {len(channels)} are expected: {channels.names}")
    return plain_dtype(array, name)


def _read_photo(data: bytes, name: str, expected: int, grey: str) -> Array:
    if is_png(data):
        check_png(data, name)
    with Image.open(io.BytesIO(data), formats=PHOTOGRAPH_FORMATS) as opened:
        check_photograph(opened, data, name)
        return photograph(opened, name, expected=expected, grey=grey)


def photograph(opened: Image.Image, name: str, *, expected: int, grey: str) -> Array:
    """A Pillow image's pixels (H, W, C), upright as its EXIF tag says.

    Args:
        opened: the image; palettes and other colour spaces become R, G, B.
        name: for messages.
        expected: number of channels.
        grey: see `read_image`.

    Raises:
        DataError: for transparency that is none of the channels, or a grey image where three channels are expected.
    """
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


def _read_npy(data: bytes, name: str, expected: int) -> Array:
    array: Array = np.load(io.BytesIO(data), allow_pickle=False)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3:
        raise DataError(f"{name}: the array has {array.ndim} axes, but an image has two, or three with its channels")
    axis = channel_axis(array.shape, (0, 2), expected, name)
    return np.moveaxis(array, axis, -1)


def channel_axis(shape: Sequence[int], candidates: tuple[int, int], expected: int | None, name: str) -> int:
    """Which of two axes of an array holds the channels: the one of their number.

    Where nobody knows their number, it is the axis beside which the pixels are a square; or else the shorter one, where
    that is at most half of any other.

    Args:
        shape: the array's.
        candidates: the axis where channels come before height and width, and the one where they come after them.
        expected: the number of channels, if known.
        name: the file's or array's name, for messages.

    Raises:
        DataError: when neither axis or each of them has that number, or either may hold the channels.
    """
    if expected is None:
        return _likely_axis(shape, candidates, name)
    fits = [axis for axis in candidates if shape[axis] == expected]
    if len(fits) == 1:
        return fits[0]
    found = f"{name}: an array of {tuple(shape)} for {expected} channels"
    if fits:
        raise DataError(f"{found} has them first or last, nobody can tell; cut the images to another width")
    raise DataError(f"{found} has them neither first nor last; name as many channels as it holds")


def _likely_axis(shape: Sequence[int], candidates: tuple[int, int], name: str) -> int:
    first, last = candidates
    sides = {axis: [shape[i] for i in range(first, last + 1) if i != axis] for axis in candidates}
    square = [axis for axis in candidates if len(sides[axis]) == 2 and len(set(sides[axis])) == 1]
    if len(square) == 1:
        return square[0]
    shorter = min(candidates, key=lambda axis: shape[axis])
    if 2 * shape[shorter] <= min(sides[shorter]):
        return shorter
    raise DataError(
        f"{name}: an array of {tuple(shape)} has {shape[first]} channels first or {shape[last]} channels last, nobody "
        "can tell; list them by --channels, or write channels.yaml by hand"
    )


def plain_dtype(array: Array, name: str) -> Array:
    """Pixels in one of the number types that images may have: uint8, uint16 or float32.

    Raises:
        DataError: for a number type that none of them holds.
    """
    native = array.dtype.newbyteorder("=")
    if native in (np.uint8, np.uint16, np.float32):
        return np.ascontiguousarray(array, dtype=native)
    if native == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if native in (np.int16, np.float16, np.float64):
        return array.astype(np.float32)
    raise DataError(f"{name}: pixels of type {array.dtype} are not supported; use 8 or 16 bits, or float32")


def resize(array: Array, rule: ResizeRule, no_data: Sequence[float | None] = ()) -> Array:
    """Bring an image to (size, size, C) by Pillow's antialiased filters, in the same number type.

    Pixels without data are never mixed with values. In a channel that has some, a new pixel is the filter's mean of the
    values alone, Σ w·m·x / Σ w·m with m = 1 where there is data; where less than half of the filter's weight lies on
    data, Σ w·m < 0.5, it has no data.

    Args:
        array: (H, W, C).
        rule: the size and how to reach it.
        no_data: (C,) the number that stands for no data in each channel; nothing does where it is `None`.
    """
    height, width, _ = array.shape
    if rule.fit == "crop":
        factor = rule.size / min(height, width)
        size = max(rule.size, round(height * factor)), max(rule.size, round(width * factor))
        array = scale(array, *size, rule.filter, no_data)
        top, left = (array.shape[0] - rule.size) // 2, (array.shape[1] - rule.size) // 2
        return array[top : top + rule.size, left : left + rule.size]
    return scale(array, rule.size, rule.size, rule.filter, no_data)


def scale(array: Array, height: int, width: int, method: str, no_data: Sequence[float | None] = ()) -> Array:
    """Bring an image to (height, width, C); see `resize`."""
    if array.shape[:2] == (height, width):
        return array
    missing = [Encoding(no_data=number).missing(array[:, :, i]) for i, number in enumerate(no_data)]
    gaps = [bool(mask.any()) for mask in missing] or [False] * array.shape[2]
    size, filtering = (width, height), _FILTERS[method]
    if array.dtype == np.uint8 and array.shape[2] == 3 and not any(gaps):
        return np.asarray(Image.fromarray(array).resize(size, filtering))
    planes = []
    for channel, plane in enumerate(np.moveaxis(array, -1, 0)):
        if gaps[channel]:
            planes.append(_scale_values(plane, missing[channel], no_data[channel], size, filtering))
            continue
        kept = plane if plane.dtype == np.uint8 else plane.astype(np.float32)
        scaled = np.asarray(Image.fromarray(np.ascontiguousarray(kept)).resize(size, filtering))
        planes.append(_to_type(scaled, array.dtype))
    return np.stack(planes, -1)


def _scale_values(plane: Array, missing: Array, no_data: Any, size: tuple[int, int], filtering: Any) -> Array:
    values = np.where(missing, 0, plane).astype(np.float32)
    data = (~missing).astype(np.float32)
    total, weight = (np.asarray(Image.fromarray(part).resize(size, filtering)) for part in (values, data))
    enough = weight >= 0.5
    mean = _to_type(total / np.where(enough, weight, 1), plane.dtype)
    return np.where(enough, mean, plane.dtype.type(no_data))


def _to_type(scaled: Array, dtype: np.dtype[Any]) -> Array:
    """Integers are rounded and cut at their type's ends."""
    if dtype.kind == "u" and scaled.dtype != dtype:
        limits = np.iinfo(dtype)
        scaled = np.clip(np.rint(scaled), limits.min, limits.max)
    return scaled.astype(dtype)
