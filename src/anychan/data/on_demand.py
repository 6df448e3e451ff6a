"""Images that are decoded whenever they are asked for, for data that has no place on a disk once decoded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from torch import Tensor

from anychan.contract import ResizeRule
from anychan.data.cache import sample_decoder
from anychan.data.collection import Collection
from anychan.data.decoding import decoding_threads, in_order
from anychan.errors import DataError

__all__ = ["ImagesOnDemand", "images_on_demand"]


class ImagesOnDemand:
    """(N, size, size, C) images that look like an array, of which only what is asked for is in memory.

    They are decoded on all cores, each time anew.

    Args:
        collection: reads them.
        names: the samples, in order.
        rule: how images reach one size.

    Raises:
        DataError: here for the first sample, and later for any other, when it is absent, damaged or of another number
            type.
    """

    ndim = 4

    def __init__(self, collection: Collection, names: Sequence[str], rule: ResizeRule) -> None:
        self._sizes: set[int] = set()
        self._decode = sample_decoder(collection, names, rule, self._sizes)
        self._path, self._names = collection.path, names
        first = self._decode(0)
        self.dtype, self.shape = first.dtype, (len(names), *first.shape)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, rows: int | slice | Tensor) -> npt.NDArray[Any]:
        """One image (size, size, C), or several (n, size, size, C), in the order asked for."""
        if not isinstance(rows, slice | Tensor):
            return self._checked(range(len(self))[rows])
        positions = range(len(self))[rows] if isinstance(rows, slice) else rows.tolist()
        found = np.empty((len(positions), *self.shape[1:]), self.dtype)
        threads = decoding_threads(max(self._sizes))
        decoded = in_order(lambda place: self._checked(positions[place]), len(positions), threads=threads)
        for place, image in enumerate(decoded):
            found[place] = image
        return found

    def _checked(self, position: int) -> npt.NDArray[Any]:
        image = self._decode(position)
        if image.dtype != self.dtype:
            other = f"{self.dtype} in {self._names[0]} and {image.dtype} in {self._names[position]}"
            raise DataError(f"{self._path}: images of two number types, {other}; use one")
        return image


def images_on_demand(collection: Collection, names: Sequence[str], rule: ResizeRule) -> npt.NDArray[Any]:
    """`ImagesOnDemand` in place of an array: whoever takes images asks for some of them, and no more of an array."""
    return cast(npt.NDArray[Any], ImagesOnDemand(collection, names, rule))
