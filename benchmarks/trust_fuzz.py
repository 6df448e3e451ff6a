"""Fuzzing of every reader of files, a process each; what is fuzzed is in `fuzz/targets.py`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

__all__ = ["HARNESS", "NAMES", "apart", "fuzz"]

HARNESS = Path(__file__).parents[1] / "fuzz" / "harness.py"
FAILED = HARNESS.parent / "failed"  # inputs, to read again: python fuzz/harness.py TARGET FILE
NAMES = (
    *("index", "channels_yaml", "recipe", "contract", "tiff", "scene", "photograph", "npy"),
    *("npz", "mat", "zip", "shards", "checkpoint", "model"),
)


def apart(command: list[str]) -> list[str]:
    """The command from a small process: one begins with the peak memory of its parent, which would count as its own."""
    return ["sh", "-c", '"$@"; exit $?', "sh", *command]


def fuzz(target: str, executions: int, *, seed: int, plant: bool = False, failed: Path = FAILED) -> dict[str, Any]:
    """Read so many changed files.

    A process ends at its first failure: an error that is not anychan's, a crash, 5 seconds of the processor
    or 1 GB for one file.

    Args:
        target: its name.
        executions: how many.
        seed: for what is changed.
        plant: raise an error for some rare result, which must be found.
        failed: the folder for the input that failed, if one does.

    Returns:
        The row: executions, edges of anychan's code that were covered, seconds, failures, and what the failure was.

    Raises:
        RuntimeError: when the process did not even start to fuzz.
    """
    failed.mkdir(exist_ok=True)
    began = time.perf_counter()
    memory = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory() as corpus,
        tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as scratch,
    ):
        options = [
            f"-runs={executions}",
            f"-seed={seed}",
            f"-artifact_prefix={failed}/{target}-",
            "-print_final_stats=1",
        ]
        command = apart([sys.executable, str(HARNESS), target, *(["--plant"] if plant else []), *options, corpus])
        environment = {**os.environ, "TMPDIR": scratch}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
    log = done.stdout + done.stderr
    counted = re.findall(r"stat::number_of_executed_units:\s*(\d+)", log) or re.findall(r"^#(\d+)\t", log, re.MULTILINE)
    if not counted:
        raise RuntimeError(f"{target} cannot be fuzzed:\n{log[-2000:]}")
    row: dict[str, Any] = {
        "kind": "fuzz",
        "target": target,
        "seed": seed,
        "executions": int(counted[-1]),
        "edges": max(map(int, re.findall(r"cov: (\d+)", log)), default=0),
        "seconds": round(time.perf_counter() - began, 1),
        "failures": int(done.returncode != 0),
    }
    if done.returncode:
        what = re.search(r"=== Uncaught Python exception: ===\n(.*)|ERROR: libFuzzer: (.*)|SUMMARY: (.*)", log)
        row["failure"] = next(filter(None, what.groups()), "") if what else f"exit code {done.returncode}"
    return row
