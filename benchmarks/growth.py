"""How time grows with channels, kernels, batch and image size: one axis at a time, its points in turns.

python benchmarks/growth.py --scale cpu
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hardware import device, synchronize
from results_file import RESULTS, ResultFile, select
from torch import Tensor, nn

from anychan.allocator import keep_freed_memory
from anychan.channels import Channel, ChannelSet
from anychan.models.catalog import create_model
from anychan.nn.dynamic_conv import DynamicConv2d
from anychan.profiling.turns import time_in_turns

__all__ = ["AXES", "Axis", "claims", "main", "measure", "slope"]

ROUNDS = 7
Build = Callable[[int], tuple[nn.Module, Tensor]]


def claims(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Nothing is promised: the slopes are there to be read."""
    return []


def _images(count: int, channels: int, side: int) -> Tensor:
    images = torch.randn(count, channels, side, side, device=device())
    return images.contiguous(memory_format=torch.channels_last)


def _channels(count: int) -> tuple[nn.Module, Tensor]:
    """So many of 370 channels, which `resnet8`'s stem takes of 64 images of 32×32."""
    bands = ChannelSet([Channel(f"band{number}", "scope") for number in range(370)])
    model = create_model("resnet8", channels=bands, num_classes=10)
    return model.select([band.name for band in bands][:count]), _images(64, count, 32)


def _kernels(count: int) -> tuple[nn.Module, Tensor]:
    """One dynamic convolution, 64 to 64 maps of 32 images of 21×21."""
    return DynamicConv2d(64, 64, kernel_size=3, padding=1, num_kernels=count), _images(32, 64, 21)


def _batch(count: int) -> tuple[nn.Module, Tensor]:
    """`resnet18` on so many images of 64×64."""
    return create_model("resnet18", num_classes=10), _images(count, 3, 64)


def _size(side: int) -> tuple[nn.Module, Tensor]:
    """`resnet18` on 16 images of so many pixels a side."""
    return create_model("resnet18", num_classes=10), _images(16, 3, side)


class Axis:
    """What grows.

    Args:
        title: of what.
        points: its values.
        build: value → a layer or network, and its input.
    """

    def __init__(self, title: str, points: Sequence[int], build: Build) -> None:
        self.title, self.points, self.build = title, tuple(points), build


AXES = {
    "channels": Axis("channels given", (1, 3, 13, 49, 121, 242, 369), _channels),
    "kernels": Axis("kernels of a dynamic convolution", (1, 2, 4, 8, 16), _kernels),
    "batch": Axis("images a batch", (1, 2, 4, 8, 16, 32, 64, 128, 256, 512), _batch),
    "size": Axis("pixels a side", (32, 48, 64, 96, 128, 192, 256), _size),
}


def _call(module: nn.Module, x: Tensor, training: bool) -> Callable[[], None]:
    def call() -> None:
        with torch.set_grad_enabled(training):
            y = module(x)
        if training:
            y.sum().backward()
        synchronize()

    return call


def measure(
    scale: str, *, rounds: int = ROUNDS, folder: Path = RESULTS, points: Mapping[str, Sequence[int]] | None = None
) -> ResultFile:
    """Time every point of every axis, forward alone and with its backward pass, and write a row each.

    Args:
        scale: its name.
        rounds: of each point.
        folder: of the result file.
        points: axis → other points, to rehearse.
    """
    results = ResultFile("growth", scale, claims, folder=folder)
    for name, axis in AXES.items():
        for training in (False, True):
            key = {"axis": name, "training": training}
            if results.has(**key):
                continue
            calls = {}
            for point in (points or {}).get(name, axis.points):
                torch.manual_seed(0)
                module, x = axis.build(point)
                module = module.to(device(), memory_format=torch.channels_last)  # type: ignore[call-overload]
                calls[point] = _call(module.train(training), x, training)
            times = time_in_turns([calls], rounds, title=f"{axis.title}, {'training' if training else 'forward'}")
            results.add(*({**key, "point": point, "ms": statistics.median(found)} for point, found in times.items()))
            print(f"{axis.title}, {'training' if training else 'forward'}: slope {slope(results.rows, **key):.2f}")
    return results


def slope(rows: list[dict[str, Any]], **key: Any) -> float:
    """b of the line through the points, log ms = a + b · log value, least squares: 1 is linear, 0 constant."""
    found = select(rows, **key)
    logs = np.log([[row["point"], row["ms"]] for row in found])
    return float(np.polyfit(logs[:, 0], logs[:, 1], 1)[0])


def main() -> None:
    """Parse options and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scale", choices=["cpu", "gpu"], default="cpu")
    options = parser.parse_args()
    keep_freed_memory()  # as `anychan train` does
    measure(options.scale)


if __name__ == "__main__":
    main()
