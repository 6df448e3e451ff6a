"""What it is worth to keep freed memory: the same training steps with and without it, process by process.

python benchmarks/speed_memory.py kept resnet34 64 128 bf16 8    # one process of them; prints its figures as JSON
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time

import torch
from hardware import peak_mib
from results_file import ResultFile
from speed_models import training_step

from anychan.allocator import keep_freed_memory

__all__ = ["NETWORKS", "measure"]

# network, pixels a side, images, precision
NETWORKS = (("dynamic_resnet12", 84, 32, "float32"), ("resnet34", 64, 128, "bf16"))
ROUNDS, WARM_UP, STEPS = 3, 2, 8


def measure(
    results: ResultFile,
    *,
    networks: tuple[tuple[str, int, int, str], ...] = NETWORKS,
    rounds: int = ROUNDS,
    steps: int = STEPS,
) -> None:
    """Time training steps in processes that keep freed memory and in those that return it, in turns.

    Args:
        results: where a row for each network and round goes.
        networks: of which.
        rounds: pairs of processes.
        steps: timed in each.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    for name, side, images, precision in networks:
        key = {"kind": "memory", "network": name, "side": side, "images": images, "precision": precision}
        rows: list[dict[str, object]] = []
        for number in range(rounds):
            found: dict[str, float] = {}
            for way in ("kept", "returned") if number % 2 else ("returned", "kept"):
                command = [sys.executable, __file__, way, name, str(side), str(images), precision, str(steps)]
                done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
                found |= {f"{way}_{what}": value for what, value in json.loads(done.stdout).items()}
            rows.append({**key, "round": number, **found})
        results.add(*rows, instead_of=key)


def main() -> None:
    """Time the steps of one process."""
    way, name, side, images, precision, steps = sys.argv[1:]
    if way == "kept":
        keep_freed_memory()
    torch.manual_seed(0)
    step = training_step(name, precision, images=int(images), side=int(side))
    times = []
    for _ in range(WARM_UP + int(steps)):
        began = time.perf_counter()
        step()
        times.append(1000 * (time.perf_counter() - began))
    print(json.dumps({"ms": round(statistics.median(times[WARM_UP:]), 2), "peak_mib": round(peak_mib(), 1)}))


if __name__ == "__main__":
    main()
