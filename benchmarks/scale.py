"""What one process has to do alone in `anychan predict --engine ray`, and what its workers hold: for docs/scale.md.

python benchmarks/scale.py --scale cpu
"""

from __future__ import annotations

import argparse
import gc
import io
import pickle
import statistics
import tempfile
import time
import tracemalloc
import zipfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from hardware import device, peak_mib
from PIL import Image
from results_file import RESULTS, ResultFile

from anychan.deploy.classification import Classification
from anychan.deploy.classifier import Classifier, Prediction
from anychan.deploy.predict_samples import open_parts
from anychan.deploy.prediction_table import open_table
from anychan.deploy.ray_cluster import Cluster, open_cluster, pieces_of_work
from anychan.models.catalog import create_model
from anychan.presets import RGB

__all__ = ["claims", "measure"]

IMAGES, CLASSES, PIECE, ROUNDS = 2**17, 50, 64 * 64, 5
NAME = "images/train/n01443537/n01443537_{:05}.JPEG"  # of a usual length
MODEL, SIZE = "resnet18", 64


class _Ready:
    """A worker's results without its work."""

    def __init__(self, classes: int) -> None:
        classes_ = tuple(f"n{number:08}" for number in range(classes))
        scores = np.random.default_rng(0).dirichlet(np.ones(classes), PIECE).astype(np.float32)
        self._found = [
            Classification(NAME.format(number), classes_, row, ("R", "G", "B"), ()) for number, row in enumerate(scores)
        ]

    def __call__(self, piece: range) -> list[Classification]:
        return self._found[: len(piece)]


class _Held:
    """A worker that classifies one batch, and tells the most memory it held."""

    def __init__(self) -> None:
        model = create_model(MODEL, num_classes=CLASSES).eval().to(device())
        self._classify = Classifier(model, RGB, batch_size=Prediction().batch_size)

    def __call__(self, images: int) -> float:
        list(self._classify([np.zeros((SIZE, SIZE, 3), np.uint8)] * images))
        return peak_mib()


def _lines(cluster: Cluster, images: int) -> dict[str, float]:
    """Processor time of this process, all threads of Ray included, for results that come and lines that go."""
    contract = create_model(MODEL, num_classes=CLASSES).contract
    file = io.StringIO()
    table = open_table(file, None, contract, Prediction())
    pieces = list(pieces_of_work(images, 1, most=PIECE))
    began, lines = time.process_time(), 0
    with closing(cluster.map(_Ready, (CLASSES,), pieces)) as results:
        for found in results:
            for one in found:
                table.add(one.sample, one)
            lines += len(found)
    seconds = time.process_time() - began
    return {"images": lines, "seconds": seconds, "line_bytes": len(file.getvalue()) / lines}


def _name_bytes(images: int) -> float:
    """What this process holds for an image before the first is classified: its name, and the work's text for Ray."""
    with tempfile.TemporaryDirectory() as folder:
        path, photograph = Path(folder) / "images.zip", io.BytesIO()
        Image.new("RGB", (8, 8)).save(photograph, "JPEG")
        with zipfile.ZipFile(path, "w") as packed:
            for number in range(images):
                packed.writestr(NAME.format(number), photograph.getvalue())
        model = create_model(MODEL, num_classes=CLASSES).eval()
        gc.collect()
        tracemalloc.start()
        (part,) = open_parts(model, [path], Prediction())
        samples = part.images.samples
        work = [pickle.dumps(samples.part(some.start, some.stop)) for some in pieces_of_work(images, 1, most=PIECE)]
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(work) * PIECE >= images
    return held / images


def claims(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """None: nothing is promised of a cluster that nobody ran."""
    return []


def measure(*, scale: str, folder: Path = RESULTS, images: int = IMAGES, rounds: int = ROUNDS) -> ResultFile:
    """Measure lines, names and workers, and write a row each.

    Args:
        scale: its name.
        folder: of the result file.
        images: how many.
        rounds: of lines.
    """
    results = ResultFile("scale", scale, claims, folder=folder)
    with open_cluster("local") as cluster:
        _lines(cluster, min(images, PIECE))  # Ray starts its helpers
        rows: list[dict[str, Any]] = [{"kind": "lines", "round": n, **_lines(cluster, images)} for n in range(rounds)]
        held = max(cluster.map(_Held, (), [Prediction().batch_size] * 2 * cluster.workers))
    results.add(*rows, instead_of={"kind": "lines"})
    results.add({"kind": "worker", "model": MODEL, "peak_mib": held}, instead_of={"kind": "worker"})
    names = {"kind": "names", "images": images, "length": len(NAME.format(0)), "bytes": _name_bytes(images)}
    results.add(names, instead_of={"kind": "names"})
    rates = [row["images"] / row["seconds"] for row in rows]
    print(f"{statistics.median(rates):,.0f} lines a second; {names['bytes']:.0f} bytes a name; {held:.0f} MiB a worker")
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse options and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scale", choices=["cpu", "gpu"], default="cpu")
    measure(scale=parser.parse_args(arguments).scale)


if __name__ == "__main__":
    main()
