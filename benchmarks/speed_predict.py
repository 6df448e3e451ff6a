"""`anychan predict` on a folder of JPEG files, beside decoding alone and computing alone, and its memory.

python benchmarks/speed_predict.py predict MODEL FOLDER --out out.csv    # the command; its peak in MiB is the last line
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hardware import device, peak_mib
from results_file import ResultFile

from anychan.cli import main as anychan
from anychan.contract import ResizeRule
from anychan.data.decoding import in_order
from anychan.deploy.classifier import Classifier, Prediction
from anychan.deploy.predict_samples import predict_samples
from anychan.deploy.sample_readers import open_samples
from anychan.models.base import AnyChannelModel
from anychan.models.catalog import create_model
from anychan.models.pretrained import save
from anychan.presets import RGB

__all__ = ["FILES", "measure"]

FILES, FEW, SIZE, ROUNDS = 10_000, 1_000, 64, 5
BATCH = Prediction().batch_size  # the default, which the command takes too


def _model() -> AnyChannelModel:
    torch.manual_seed(0)
    model = create_model("resnet18", num_classes=10).eval()
    model.contract = dataclasses.replace(model.contract, resize=ResizeRule(SIZE), grey="repeat")
    return model.to(device())


def _unpack(data_path: str, folder: Path, count: int) -> None:
    """The first so many photographs of the zip."""
    with zipfile.ZipFile(data_path) as packed:
        names = [name for name in packed.namelist() if name.lower().endswith((".jpeg", ".jpg"))][:count]
        packed.extractall(folder, names)


def _calls(model: AnyChannelModel, folder: Path, out: Path) -> dict[str, Callable[[], object]]:
    samples = open_samples(folder, RGB, spec=None, grey="repeat")
    count, cores = len(samples.names), os.cpu_count() or 1
    classifier = Classifier(model, RGB, batch_size=BATCH)
    held = [np.asarray(samples.read(name)[0]) for name in samples.names[:BATCH]]

    def decode() -> None:
        for _ in in_order(lambda position: samples.read(samples.names[position]), count, threads=cores, ahead=BATCH):
            pass

    def compute() -> None:
        for start in range(0, count, BATCH):
            classifier(held[: min(BATCH, count - start)])

    return {
        "predict": lambda: predict_samples(model, [folder], out, Prediction(batch_size=BATCH)),
        "decode": decode,
        "compute": compute,
    }


def _peak_mib(model: AnyChannelModel, data_path: str, count: int, scratch: Path) -> float:
    """Most memory that the command held, on so many files."""
    folder = scratch / str(count)
    _unpack(data_path, folder, count)
    save(model, scratch / "model")
    words = ["predict", str(scratch / "model"), str(folder), "--out", str(scratch / "out.csv")]
    done = subprocess.run([sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def measure(results: ResultFile, data_path: str, *, files: int = FILES, few: int = FEW, rounds: int = ROUNDS) -> None:
    """Time the three in turns, and the command's memory on few and many files.

    Args:
        results: where a row for each round and number of files goes.
        data_path: tiny-imagenet-50.zip.
        files: how many.
        few: of the smaller folder.
        rounds: after one that is not timed.
    """
    model = _model()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "photographs"
        _unpack(data_path, folder, files)
        calls = _calls(model, folder, Path(scratch) / "out.csv")
        rows: list[dict[str, Any]] = []
        for number in range(rounds + 1):
            row: dict[str, Any] = {"kind": "predict", "files": files, "round": number}
            for name, call in calls.items():
                began = time.perf_counter()
                call()
                row[f"{name}_seconds"] = time.perf_counter() - began
            rows += [row] if number else []
        shutil.rmtree(folder)
        peaks = [
            {"kind": "predict_memory", "files": count, "peak_mib": _peak_mib(model, data_path, count, Path(scratch))}
            for count in (few, files)
        ]
    results.add(*rows, instead_of={"kind": "predict"})
    results.add(*peaks, instead_of={"kind": "predict_memory"})


if __name__ == "__main__":
    code = anychan()
    print(peak_mib())
    sys.exit(code)
