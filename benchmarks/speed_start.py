"""How long a run takes to its first batch: the import, a cache that is built, and one that is there."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from results_file import ResultFile

from anychan.contract import ResizeRule
from anychan.data.batches import Augment, TrainBatches
from anychan.data.dataset import load_data
from anychan.data.readers import read_image, resize
from anychan.presets import RGB
from anychan.recipe import DataConfig

__all__ = ["measure"]

SIZE, CHUNK = 64, 64


def _seconds(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _import() -> None:
    """What every command does before anything else, in a process of its own."""
    subprocess.run([sys.executable, "-c", "import anychan.training.fit"], check=True)


def _decode(path: str, names: list[str]) -> int:
    """Bytes of some images' pixels, read and resized as the cache does it."""
    with zipfile.ZipFile(path) as packed:
        images = [read_image(packed.read(name), name, RGB, grey="repeat") for name in names]
    return sum(resize(image, ResizeRule(SIZE)).nbytes for image in images)


def _by_processes(data_path: str, count: int) -> float:
    """Images a second that a process a core decodes, of the zip's first so many; starting those is not counted."""
    with zipfile.ZipFile(data_path) as packed:
        names = [name for name in packed.namelist() if name.lower().endswith((".jpeg", ".jpg"))][:count]
    chunks = [names[start : start + CHUNK] for start in range(0, len(names), CHUNK)]
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        list(pool.map(partial(_decode, data_path), chunks[: 2 * (os.cpu_count() or 1)]))
        return len(names) / _seconds(lambda: list(pool.map(partial(_decode, data_path), chunks)))


def measure(results: ResultFile, data_path: str, *, classes: int | None = None) -> None:
    """Time the way to the first batch, with an empty cache and with a full one.

    Args:
        results: where the row goes.
        data_path: tiny-imagenet-50.zip.
        classes: the first so many, to rehearse; default: all.
    """
    config = DataConfig(path=data_path, size=SIZE, grey="repeat", num_classes=classes)
    images = 0

    def first_batch() -> None:
        nonlocal images
        data = load_data(config, seed=0)
        images = sum(len(split) for split in data.splits.values())
        next(iter(TrainBatches(data.splits["train"], batch_size=128, augment=Augment(4, True), seed=0, epoch=0)))

    before = os.environ.get("ANYCHAN_CACHE")
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["ANYCHAN_CACHE"] = str(Path(scratch))
        try:
            row = {
                "kind": "start",
                "import_seconds": _seconds(_import),
                "cold_seconds": _seconds(first_batch),
                "warm_seconds": _seconds(first_batch),
            }
        finally:
            os.environ.pop("ANYCHAN_CACHE")
            os.environ.update({} if before is None else {"ANYCHAN_CACHE": before})
    row |= {"images": images, "processes_images_per_s": _by_processes(data_path, images)}
    results.add(row, instead_of={"kind": "start"})
