"""How long each way of computing a dynamic convolution takes, shape by shape: what the planner chooses by.

Calls take turns in one process; a row keeps each backend's median. The package's own table, which
`anychan.nn.dynamic_planner` reads, is written from the rows of all scales.

    python benchmarks/dynamic_conv.py --scale cpu
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hardware import synchronize
from results_file import RESULTS, ResultFile

import anychan.nn
from anychan.allocator import keep_freed_memory
from anychan.nn.dynamic_backends import BACKENDS
from anychan.nn.dynamic_conv import DynamicConv2d
from anychan.nn.dynamic_planner import TIMES_FILE, Shape
from anychan.profiling.turns import time_in_turns

__all__ = ["calls", "claims", "main", "package_table", "shapes", "write_package_table"]

# C, O, side of the image, k, stride
LAYERS = (
    *((3, 64, 84, 3, 1), (3, 64, 32, 3, 1), (16, 32, 32, 3, 1), (32, 64, 16, 3, 2)),
    *((64, 64, 42, 3, 2), (64, 64, 32, 3, 1), (64, 64, 21, 3, 1), (64, 64, 16, 3, 1), (64, 64, 8, 3, 1)),
    *((64, 128, 21, 3, 2), (64, 128, 16, 3, 2), (64, 128, 8, 3, 2)),
    *((128, 128, 16, 3, 1), (128, 128, 11, 3, 1), (128, 128, 8, 3, 1), (128, 128, 4, 3, 1)),
    *((128, 256, 11, 3, 2), (128, 256, 8, 3, 2), (128, 256, 4, 3, 2)),
    *((256, 256, 11, 3, 1), (256, 256, 8, 3, 1), (256, 256, 6, 3, 1), (256, 256, 4, 3, 1), (256, 256, 2, 3, 1)),
    *((64, 128, 21, 1, 2), (64, 64, 16, 1, 1), (128, 256, 11, 1, 2), (256, 256, 6, 1, 1), (256, 256, 4, 1, 1)),
)
BATCHES = {"cpu": (32, 128), "gpu": (32, 256)}
OTHERS = ((64, 64, 21, 3, 1), (128, 128, 11, 3, 1), (256, 256, 6, 3, 1))  # in small batches too
KERNELS, SMALL_BATCH, ROUNDS = 4, 8, 7
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def claims(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Nothing is promised of single backends; `speed.py` has the claims."""
    return []


def shapes(scale: str) -> list[tuple[Shape, int]]:
    """What is measured, and the side of its images."""
    layers = [(images, *layer) for images in BATCHES[scale] for layer in LAYERS]
    layers += [(SMALL_BATCH, *layer) for layer in OTHERS]
    return [
        (Shape(images, channels, maps, ((side - 1) // stride + 1) ** 2, size, stride, KERNELS, training), side)
        for images, channels, maps, side, size, stride in layers
        for training in (True, False)
    ]


def calls(shape: Shape, side: int, *, device: str, dtype: torch.dtype) -> dict[str, Callable[[], None]]:
    """Backend → one call of it, attention given, with the gradients of all three inputs when training."""
    torch.manual_seed(0)
    x = torch.randn(shape.images, shape.in_channels, side, side, device=device)
    x = x.contiguous(memory_format=torch.channels_last)
    attention = torch.rand(shape.images, shape.num_kernels, device=device).softmax(1)
    layer = DynamicConv2d(  # for how its kernels lie in memory
        shape.in_channels, shape.out_channels, kernel_size=shape.size, num_kernels=shape.num_kernels
    ).to(device)
    inputs = [tensor.requires_grad_(shape.training) for tensor in (x, attention, layer.weight)]

    def call(name: str) -> None:
        with torch.autocast(device, dtype, enabled=dtype != torch.float32), torch.set_grad_enabled(shape.training):
            y = BACKENDS[name](x, attention, layer.kernels, shape.stride, shape.size // 2)
        if shape.training:
            torch.autograd.grad(y, inputs, torch.ones_like(y))
        synchronize()

    return {name: partial(call, name) for name in BACKENDS}


def measure(scale: str, *, rounds: int = ROUNDS, folder: Path = RESULTS, limit: int | None = None) -> ResultFile:
    """Time all shapes that have no row yet, and write a row each.

    Args:
        scale: its name.
        rounds: of each call.
        folder: of the result file.
        limit: the first so many shapes only.
    """
    device = "cuda" if scale == "gpu" and torch.cuda.is_available() else "cpu"
    results = ResultFile("dynamic_conv", scale, claims, folder=folder)
    for name, dtype in DTYPES.items():
        for shape, side in shapes(scale)[:limit]:
            key = {"device": device, "dtype": name, "shape": dataclasses.asdict(shape)}
            if results.has(**key):
                continue
            times = time_in_turns([calls(shape, side, device=device, dtype=dtype)], rounds)
            found = {backend: round(statistics.median(values), 4) for backend, values in times.items()}
            results.add({**key, "side": side, "rounds": rounds, "milliseconds": found})
            print(f"{name} {shape}: {found}")
    return results


def package_table(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """The rows of all scales, as the planner reads them."""
    found: list[dict[str, Any]] = []
    for scale in BATCHES:
        path = folder / f"dynamic_conv-{scale}.json"
        rows = json.loads(path.read_text())["rows"] if path.exists() else []
        found += [{key: row[key] for key in ("device", "dtype", "shape", "milliseconds")} for row in rows]
    return found


def write_package_table(folder: Path = RESULTS, path: Path = Path(anychan.nn.__path__[0]) / TIMES_FILE) -> None:
    """Write the planner's table, a line a row."""
    lines = ",\n".join(json.dumps(row) for row in package_table(folder))
    path.write_text(f"[\n{lines}\n]\n" if lines else "[]\n", encoding="utf-8")


def main() -> None:
    """Parse options and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scale", choices=list(BATCHES), default="cpu")
    options = parser.parse_args()
    keep_freed_memory()  # as `anychan train` does
    measure(options.scale)
    write_package_table()


if __name__ == "__main__":
    main()
