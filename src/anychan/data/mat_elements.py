"""The elements of a MATLAB file, looked through before SciPy reads them, whose compiled code trusts them.

Source: MathWorks, MAT-File Format, version 5: a head of 128 bytes, then elements. Each has type and length before it,
4 bytes each, or 2 bytes each and its bytes in the other 4; type 14 is an array, itself of elements, and type 15 an
element that is compressed by zlib.
"""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import BinaryIO, Literal

from anychan.data.limits import check_size
from anychan.errors import DataError

__all__ = ["check_elements"]

_INT32, _UINT32, _ARRAY, _COMPRESSED = 5, 6, 14, 15
_PLAIN = {*range(1, 8), 9, 12, 13, 16, 17, 18}  # numbers and texts; SciPy crashes at a type that is none of these
_CLASSES = {1, 2, 4, *range(6, 16)}  # cells, structs, texts and numbers: no objects or sparse arrays, which crash it
_COMPLEX = 0x800  # crashes it, where the imaginary part is absent
_MOST_ARRAYS = 4096  # inside of one: SciPy's stack ends where they are nested deeper
_Order = Literal["little", "big"]


def check_elements(path: Path) -> None:
    """See that the elements of a file of version 5 are of known types, and refuse a decompression bomb.

    Raises:
        DataError: when one is not, or they would become too large.
    """
    stored, size = path.stat().st_size, 0
    with path.open("rb") as file:
        head = file.read(128)
        if len(head) < 128 or 0 in head[:4] or head[125 if head[126:127] == b"I" else 124] != 1:
            return  # version 4, which Python reads, or 7.3, which SciPy refuses
        order: _Order = "little" if head[126:] == b"IM" else "big"
        while len(tag := file.read(8)) == 8:
            kind, length = int.from_bytes(tag[:4], order), int.from_bytes(tag[4:], order)
            start = file.tell()
            if kind == _COMPRESSED:
                element = _unpack(file, length, stored, size, path)
                size += len(element)
            else:
                element = tag + file.read(min(length, stored))
            _check_element(element, order, path)
            file.seek(start + length)


def _unpack(file: BinaryIO, left: int, stored: int, size: int, path: Path) -> bytes:
    unpack, parts = zlib.decompressobj(), []
    while (chunk := file.read(min(left, 2**16))) and not unpack.eof:
        left -= len(chunk)
        while chunk:
            parts.append(unpack.decompress(chunk, 2**20))
            size += len(parts[-1])
            check_size(size, stored, str(path))
            chunk = unpack.unconsumed_tail
    return b"".join(parts)


def _check_element(element: bytes, order: _Order, path: Path) -> None:
    """An array's elements lie behind its tag, one after the other, as those of the arrays in it do."""
    at = arrays = 0
    while at + 8 <= len(element):
        first, length = (int.from_bytes(element[at + part : at + part + 4], order) for part in (0, 4))
        if short := first >> 16:
            kind, length = first & 0xFFFF, 0
        else:
            kind = first
        arrays += kind == _ARRAY
        if kind not in _PLAIN | {_ARRAY} or short > 4 or arrays > _MOST_ARRAYS:
            raise DataError(f"{path}: the MATLAB file is damaged: it has an element of type {kind}, or too many arrays")
        if kind != _ARRAY:
            at += 8 + -(-length // 8) * 8
            continue
        at += 8
        if length:
            at += 16  # its flags: a tag, the class and more
            flags = int.from_bytes(element[at - 8 : at - 4], order)
            if flags & 0xFF not in _CLASSES or flags & _COMPLEX:
                raise DataError(
                    f"{path}: the MATLAB file holds a sparse or complex array or an object, which is not read"
                )
            _check_sizes(element, at, order, path)


def _check_sizes(element: bytes, at: int, order: _Order, path: Path) -> None:
    """An array's height, width and so on, which follow its flags: SciPy crashes where they are negative."""
    kind, length = (int.from_bytes(element[at + part : at + part + 4], order) for part in (0, 4))
    sizes = memoryview(element)[at + 8 : at + 8 + length]
    numbers = [int.from_bytes(sizes[start : start + 4], order, signed=True) for start in range(0, len(sizes), 4)]
    # each value takes a byte or more
    if kind not in (_INT32, _UINT32) or min(numbers, default=-1) < 0 or math.prod(numbers) > len(element):
        raise DataError(
            f"{path}: the MATLAB file is damaged: it has an array that is larger than the file, or of no size"
        )
