"""Which way of computing a dynamic convolution is fastest, by what was measured for shapes like it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import torch
from torch import Tensor

from anychan.nn.dynamic_backends import BACKENDS, convolve_stacked, mix_then_convolve, output_size
from anychan.nn.exporting import is_free

__all__ = ["CHOICES", "Shape", "choose_backend", "fastest", "nearest", "shape_of"]

TIMES_FILE = "dynamic_conv_times.json"
Place = tuple[int, ...]


@dataclass(frozen=True)
class Shape:
    """What the cost of a dynamic convolution depends on.

    Args:
        images: N.
        in_channels: C.
        out_channels: O.
        places: H'·W'.
        size: k.
        stride: step in pixels.
        num_kernels: K.
        training: whether gradients are computed too.
    """

    images: int
    in_channels: int
    out_channels: int
    places: int
    size: int
    stride: int
    num_kernels: int
    training: bool

    def place(self) -> Place:
        """Where it lies among all shapes, in half octaves; training is four of them away."""
        values = (self.images, self.in_channels, self.out_channels, self.places, self.size**2, self.stride)
        return (*(_half_octaves(value) for value in (*values, self.num_kernels)), 4 * self.training)


def _half_octaves(value: int) -> int:
    """floor(2 · log2(value)), by comparisons alone: from these `torch.compile` makes guards on ranges of sizes."""
    count = 0
    while 2 ** (count + 1) <= value * value:
        count += 1
    return count


def nearest(place: Place, measured: Sequence[tuple[Place, str]]) -> str:
    """The entry with the least sum of distances; the first of equal ones."""
    best, name = None, ""
    for other, other_name in measured:  # and not min(key=...), which torch.compile does not trace
        distance = sum(abs(ours - theirs) for ours, theirs in zip(place, other, strict=True))
        if best is None or distance < best:
            best, name = distance, other_name
    return name


def _read_times() -> dict[tuple[str, str], list[tuple[Place, str]]]:
    """(device, dtype) → measured shapes, each with its fastest backend."""
    found: dict[tuple[str, str], list[tuple[Place, str]]] = {}
    rows: list[dict[str, Any]] = json.loads(files("anychan.nn").joinpath(TIMES_FILE).read_text(encoding="utf-8"))
    for row in rows:
        milliseconds = row["milliseconds"]
        of_kind = found.setdefault((row["device"], row["dtype"]), [])
        of_kind.append((Shape(**row["shape"]).place(), min(milliseconds, key=milliseconds.__getitem__)))
    return found


_FASTEST = _read_times()


def shape_of(x: Tensor, attention: Tensor, kernels: Tensor, stride: int, padding: int) -> Shape:
    """The shape of a call, by a backend's arguments."""
    count, out_channels, in_channels, size, _ = kernels.shape
    height, width = output_size(x, kernels, stride, padding)
    training = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, attention, kernels))
    return Shape(x.shape[0], in_channels, out_channels, height * width, size, stride, count, training)


def fastest(shape: Shape, *, device: str, dtype: str) -> str:
    """The backend that was fastest for the measured shape most like this one.

    Where nothing was measured on a device or in a number type, kernels are mixed if each meets 32 places or more:
    mixing writes N kernels, whatever the image's size, so small images do not repay it.

    Args:
        shape: of the call.
        device: `"cpu"` or `"cuda"`.
        dtype: that it computes in, such as `"float32"`.
    """
    measured = _FASTEST.get((device, dtype), [])
    if not measured:
        return "mix" if shape.places >= 32 else "each"
    return nearest(shape.place(), measured)


_remembered = lru_cache(maxsize=4096)(fastest)  # a search takes 0.1 ms


def choose_backend(x: Tensor, attention: Tensor, kernels: Tensor, stride: int, padding: int) -> Tensor:
    """Compute by the backend that was measured to be fastest for such shapes; of one image, by one convolution.

    A network that is exported for any number of images convolves with all K kernels: of the others, one makes a group
    of each image, and a file's number of groups is fixed.
    """
    if is_free(x.shape[0]):
        return convolve_stacked(x, attention, kernels, stride, padding)
    if x.shape[0] == 1:
        return mix_then_convolve(x, attention, kernels, stride, padding)
    device = x.device.type
    autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)  # not on "meta"
    dtype = torch.get_autocast_dtype(device) if autocast else x.dtype
    shape = shape_of(x, attention, kernels, stride, padding)
    plan = fastest if torch.compiler.is_compiling() else _remembered  # whose guards must see the search
    name = plan(shape, device=device, dtype=str(dtype).removeprefix("torch."))
    return BACKENDS[name](x, attention, kernels, stride, padding)


CHOICES = {"auto": choose_backend, **BACKENDS}
