"""Images in pieces, so that passing over a large memory map takes little memory."""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["pieces"]

_PAGEOUT = 21  # Linux's MADV_PAGEOUT, from 5.4 on; Python has no name for it
_LARGE_BYTES = 256 * 2**20  # smaller maps stay in memory: they are soon needed again


def pieces(images: npt.NDArray[Any], values: int) -> Iterator[npt.NDArray[Any]]:
    """Consecutive pixels (n, C) of images, of so many values together at most.

    What was read of a large memory map counts as this process's memory until the system needs it elsewhere. It is
    told at once that it may have it; what was written to a map in memory stays, so this changes no value.

    Args:
        images: (N, H, W, C), an array or `ImagesOnDemand`.
        values: of one piece, at least C; of images on demand, those of one image at least.
    """
    if not isinstance(images, np.ndarray):
        count = max(1, values // math.prod(images.shape[1:]))
        for start in range(0, len(images), count):
            yield images[start : start + count].reshape(-1, images.shape[-1])
        return
    pixels = images.reshape(-1, images.shape[-1])
    step = max(1, values // images.shape[-1])
    for start in range(0, len(pixels), step):
        piece = pixels[start : start + step]
        yield piece
        if images.nbytes > _LARGE_BYTES:
            _let_go(images, piece)


def _let_go(images: npt.NDArray[Any], piece: npt.NDArray[Any]) -> None:
    if not isinstance(images, np.memmap) or not isinstance(images.base, mmap.mmap):
        return
    # where the piece lies inside the map, in whole pages; the map begins at a granule before the images
    start = images.offset % mmap.ALLOCATIONGRANULARITY + piece.ctypes.data - images.ctypes.data
    first, last = start // mmap.PAGESIZE * mmap.PAGESIZE, (start + piece.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if last > first:
        with suppress(OSError, AttributeError):  # an older system, or another one
            images.base.madvise(_PAGEOUT, first, last - first)
