"""The least time that a dynamic convolution can take on this machine: its arithmetic at the rate of a large product, or
its memory traffic at the rate of a large copy, whichever takes longer.

Source: Williams, Waterman, Patterson 2009, Roofline: an insightful visual performance model (10.1145/1498765.1498785).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from hardware import device, synchronize
from results_file import ResultFile, select

from anychan.profiling.turns import time_in_turns

__all__ = ["limit_ms", "measure"]

SIDE, COPIED_BYTES, ROUNDS, FLOAT = 2048, 2**28, 9, 4


def measure(results: ResultFile, *, side: int = SIDE, copied_bytes: int = COPIED_BYTES) -> None:
    """The machine's rates in float32: 10⁹ multiplications a second, 10⁹ bytes read or written a second.

    Args:
        results: where the row goes.
        side: of the matrices.
        copied_bytes: of the block that is copied.
    """
    a, b = (torch.randn(side, side, device=device()) for _ in range(2))
    source = torch.zeros(copied_bytes // FLOAT, device=device())
    target = torch.empty_like(source)

    def synchronized(call: Callable[[], Any]) -> None:
        call()
        synchronize()

    calls = {"product": partial(torch.mm, a, b), "copy": partial(target.copy_, source)}
    times = time_in_turns([{name: partial(synchronized, call) for name, call in calls.items()}], ROUNDS)
    row = {
        "kind": "machine",
        "gmacs_per_s": side**3 / statistics.median(times["product"]) / 1e6,
        "gbytes_per_s": 2 * copied_bytes / statistics.median(times["copy"]) / 1e6,
    }
    results.add(row, instead_of={"kind": "machine"})


def limit_ms(shape: dict[str, int], rows: list[dict[str, Any]], *, images: int, kernels: int) -> float | None:
    """Milliseconds of forward and backward that no implementation of mixed kernels can be below; `None` unmeasured.

    Arithmetic: three convolutions, and three times mixing N kernels of K. Traffic, each once: input, its gradient,
    output and its gradient; the K kernels read twice, their gradient written; the N mixed kernels written, read for the
    output and for the input's gradient, and their gradient written and read.

    Args:
        shape: a layer's `in`, `out`, `side`, `stride`.
        rows: those of the benchmark, with the machine's rates.
        images: N.
        kernels: K.
    """
    machine = next(iter(select(rows, kind="machine")), None)
    if machine is None:
        return None
    places = ((shape["side"] - 1) // shape["stride"] + 1) ** 2
    weights = 9 * shape["in"] * shape["out"]
    macs = 3 * images * weights * (places + kernels)
    maps = images * (shape["in"] * shape["side"] ** 2 + shape["out"] * places)
    moved = FLOAT * (2 * maps + 3 * kernels * weights + 5 * images * weights)
    return max(macs / float(machine["gmacs_per_s"]), moved / float(machine["gbytes_per_s"])) / 1e6
