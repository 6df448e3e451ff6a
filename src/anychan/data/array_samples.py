"""Samples in the arrays of an `.npz` or `.mat`, channel by channel, as `describe` looks at them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anychan.data.array_file import channel_names, image_pairs, load_arrays, row_names
from anychan.data.cube import find_cube, read_mat
from anychan.data.naming import known_count
from anychan.data.planes import Plane
from anychan.data.readers import channel_axis, plain_dtype
from anychan.encoding import Encoding

__all__ = ["ARRAY_SUFFIXES", "ArraySamples", "open_array_samples"]

ARRAY_SUFFIXES = (".mat", ".npz")


@dataclass(frozen=True)
class ArraySamples:
    """Samples that lie in arrays.

    Args:
        storage: how, in words.
        names: of all samples.
        read: a sample's channels by its name.
    """

    storage: str
    names: list[str]
    read: Callable[[str], list[Plane]]


def open_array_samples(
    path: Path, *, cube: str | None = None, channels: str | None = None, sensor: str | None = None
) -> ArraySamples:
    """Find the images of an `.npz`, or the scene of a `.mat`, which is one sample.

    Args:
        path: the file.
        cube: the scene's key; default: that of the only array of three axes.
        channels: as `describe`; their number tells which axis holds them.
        sensor: the same.

    Raises:
        DataError: when the file is damaged, an array is missing or of another shape, or any axis may be the channels'.
        ChannelError: for an unknown channel.
    """
    if path.suffix.lower() == ".npz":
        return _images(path, channels, sensor)
    values = read_mat(path)
    scene, key = find_cube(values, path, cube, known_count([], channels, sensor), option="--cube")
    stored = values[key]
    planes = [Plane(key, plane, str(stored.dtype), None, Encoding()) for plane in np.moveaxis(scene, -1, 0)]
    return ArraySamples(f"scene {key} of {stored.shape}", [key], lambda _: planes)


def _images(path: Path, channels: str | None, sensor: str | None) -> ArraySamples:
    values = load_arrays(path)
    keys = [x for x, _ in image_pairs(values, path).values()]
    own = channel_names(values)
    count = known_count(own, channels, sensor)
    axes = {key: channel_axis(values[key].shape, (1, 3), count, f"{path}/{key}") for key in keys}

    def read(name: str) -> list[Plane]:
        key, _, row = name.rpartition("/")
        array = values[key]
        image = plain_dtype(np.moveaxis(array[int(row)], axes[key] - 1, 0), f"{path}/{key}")
        labels: Sequence[str | None] = own or [None] * len(image)
        return [
            Plane(name, plane, str(array.dtype), label, Encoding()) for plane, label in zip(image, labels, strict=True)
        ]

    storage = f"images in {' and '.join(f'{key} of {values[key].shape}' for key in keys)}"
    return ArraySamples(storage, [name for key in keys for name in row_names(key, len(values[key]))], read)
