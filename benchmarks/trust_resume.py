"""Training runs that are killed at a random moment and go on: whether they end with the bits of one never stopped.

python benchmarks/trust_resume.py FOLDER POINTS    # prints a row a point; processes are forked, so it has no threads
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from anychan.recipe import DataConfig, ModelConfig, Recipe, TrainConfig
from anychan.training.checkpoint_io import newest_whole, read_checkpoint
from anychan.training.fit import fit
from anychan.training.run_folder import RunFolder

__all__ = ["RECIPES", "measure"]

_TILES = "demo_data/eurosat-s2-32.zip"
_TIMES = ("seconds", "images_per_second")


def _recipe(model: str, *, size: int = 16, stem: str | None = None, **train: Any) -> Recipe:
    data = DataConfig(path=str(resources.files("anychan") / _TILES), size=size)
    return Recipe(data, ModelConfig(model, stem), TrainConfig(**{"batch_size": 10, "precision": "float32", **train}))


# Much of what keeps something from step to step; a checkpoint after every step, or every now and then.
RECIPES = {
    "average of weights": _recipe(
        "baseline_cnn",
        epochs=20,
        lr=0.02,
        warmup_epochs=1,
        crop_padding=2,
        flip=True,
        mixup=0.3,
        cutmix=0.3,
        channel_drop=0.2,
        progressive_sizes=[8, 16],
        ema=0.95,
        checkpoint_seconds=0.03,
    ),
    "early stopping": _recipe(
        "baseline_cnn",
        stem="completion",
        epochs=30,
        optimizer="adamw",
        lr=0.003,
        schedule="none",
        monitor="val_loss",
        patience=2,
        label_smoothing=0.1,
        checkpoint_seconds=0,
    ),
    "sandwich": _recipe(
        "dynamic_cnn_v2",
        epochs=4,
        optimizer="adam",
        lr=0.001,
        channel_sampling="uniform_size",
        sandwich=2,
        distill=0.5,
        never_hurt=0.1,
        precision="bf16",
        checkpoint_seconds=0,
    ),
}


def _start(recipe: Recipe, out: Path) -> int:
    """Train in a process of its own; its number."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        os.dup2(os.open(out.with_suffix(".log"), os.O_CREAT | os.O_APPEND | os.O_WRONLY), 2)
        fit(recipe, out)
        code = 0
    except Exception:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _run(recipe: Recipe, out: Path) -> float:
    """Train to the end; the seconds it took."""
    began = time.monotonic()
    _, status = os.waitpid(_start(recipe, out), 0)
    if status:
        raise RuntimeError(out.with_suffix(".log").read_text())
    return time.monotonic() - began


def _killed(process: int, seconds: float) -> float:
    """Kill a process after so many seconds; if it ends by itself before, how many it took, else more than any."""
    began = time.monotonic()
    while time.monotonic() < began + seconds:
        if os.waitpid(process, os.WNOHANG)[0]:
            return time.monotonic() - began
        time.sleep(0.002)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return math.inf


def _bits(out: Path) -> tuple[bytes, bytes, list[dict[str, float]]]:
    rows = [{key: value for key, value in row.items() if key not in _TIMES} for row in RunFolder(out).load_metrics()]
    return (out / "model.safetensors").read_bytes(), (out / "contract.json").read_bytes(), rows


def _steps(out: Path) -> int:
    """Of the newest checkpoint of a killed run; 0 where there is none."""
    folder = RunFolder(out)
    paths = [path for path in (folder.last, folder.previous) if path.exists()]
    return int(read_checkpoint(newest_whole(paths)[0])["global_step"]) if paths else 0


def _kill_points(name: str, points: int, folder: Path) -> Iterator[dict[str, Any]]:
    recipe, generator = RECIPES[name], random.Random(f"{name} {points}")
    took = _run(recipe, folder / "whole")  # the cache is filled first
    shutil.rmtree(folder / "whole")
    took = min(took, _run(recipe, folder / "whole"))
    expected = _bits(folder / "whole")
    steps_of_epoch = _steps(folder / "whole") // len(expected[2])
    point = 0
    while point < points:
        out, seconds = folder / f"{point}", generator.uniform(0, took)
        took = min(took, _killed(_start(recipe, out), seconds))
        if not (out / "run.json").exists():  # else it was faster than before, and had ended
            steps = _steps(out)
            _run(recipe, out)
            yield {
                "kind": "resume",
                "recipe": name,
                "point": point,
                "seconds": round(seconds, 3),
                "steps": steps,
                "in_an_epoch": bool(steps % steps_of_epoch),
                "exact": _bits(out) == expected and not list(out.rglob("*.partial")),
            }
            point += 1
        shutil.rmtree(out, ignore_errors=True)


def measure(folder: Path, points: int) -> Iterator[dict[str, Any]]:
    """A row for each of so many kills, shared out over the recipes.

    Args:
        folder: for the runs.
        points: how many.
    """
    for number, name in enumerate(RECIPES):
        part = folder / name.replace(" ", "-")
        part.mkdir(parents=True)
        yield from _kill_points(name, points // len(RECIPES) + (number < points % len(RECIPES)), part)


def main() -> None:
    """Print the rows."""
    torch.set_num_threads(1)
    for row in measure(Path(sys.argv[1]), int(sys.argv[2])):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
