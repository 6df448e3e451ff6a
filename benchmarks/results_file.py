"""Result files: one JSON a benchmark and scale, written row by row so that a stopped run goes on where it was."""

from __future__ import annotations

import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from anychan.files import write_json
from anychan.training.run_folder import versions

__all__ = ["RESULTS", "ResultFile", "claim", "percent", "select"]

RESULTS = Path(__file__).parent / "results"
Row = dict[str, Any]
Claims = Callable[[list[Row]], list[dict[str, Any]]]


def claim(name: str, value: float, op: str, bound: float) -> dict[str, Any]:
    """One number that is promised, and whether the promise holds; `op` is `">="` or `"<="`."""
    holds = value >= bound if op == ">=" else value <= bound
    return {"id": name, "value": value, "bound": bound, "op": op, "holds": bool(holds)}


def select(rows: list[Row], **key: Any) -> list[Row]:
    """The rows with these values."""
    return [row for row in rows if all(row.get(name) == value for name, value in key.items())]


def percent(entry: Row) -> str:
    """`61.2 (56.9 to 65.4)` of a row with accuracy, low and high."""
    return f"{100 * entry['accuracy']:.1f} ({100 * entry['low']:.1f} to {100 * entry['high']:.1f})"


class ResultFile:
    """A benchmark's rows and claims.

    Args:
        benchmark: its name, which is also its module's.
        scale: `"cpu"` or `"gpu"`.
        claims: rows → claims; a test computes them again from every committed file.
        folder: where the file lies.
        shared: whether several processes add rows.
    """

    def __init__(
        self, benchmark: str, scale: str, claims: Claims, *, folder: Path = RESULTS, shared: bool = False
    ) -> None:
        self.path = folder / f"{benchmark}-{scale}.json"
        self.benchmark, self.scale, self.claims, self.shared = benchmark, scale, claims, shared
        self.rows = self._read()

    def has(self, **key: Any) -> bool:
        """Whether a row with these values is there already."""
        return any(all(row.get(name) == value for name, value in key.items()) for row in self.rows)

    def add(self, *rows: Row, instead_of: Row | None = None) -> None:
        """Add rows with their commit and write the file; what other processes added meanwhile stays.

        Args:
            rows: plain values.
            instead_of: rows with all these values are dropped.
        """
        self.path.parent.mkdir(exist_ok=True)
        with FileLock(self.path.with_suffix(".lock")):
            if self.shared:
                self.rows = self._read()
            if instead_of is not None:
                self.rows = [old for old in self.rows if any(old.get(key) != instead_of[key] for key in instead_of)]
            self.rows += [{**row, "commit": _commit(), "hardware": _hardware()} for row in rows]
            self._write()

    def _read(self) -> list[Row]:
        return json.loads(self.path.read_text())["rows"] if self.path.exists() else []

    def _write(self) -> None:
        write_json(
            self.path,
            {
                "benchmark": self.benchmark,
                "scale": self.scale,
                "command": _command(),
                "commit": _commit(),
                "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
                "versions": versions(),
                "hardware": _hardware(),
                "seeds": sorted({row["seed"] for row in self.rows if "seed" in row}),
                "rows": self.rows,
                "claims": self.claims(self.rows),
            },
        )


def _command() -> str:
    """As it was called, but for where the data lies, and for options that choose a part of the rows."""
    words = ["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]
    for option in ("--only", "--rows", "--minutes"):
        while option in words:
            first = words.index(option)
            last = next((at for at in range(first + 1, len(words)) if words[at].startswith("--")), len(words))
            del words[first:last]
    hidden = [Path(word).name if "/" in word and not word.startswith("benchmarks/") else word for word in words]
    return " ".join(hidden)


def _commit() -> str:
    """The commit, marked where something other than results has changed since; `"unknown"` outside of a clone."""
    if shutil.which("git") is None:
        return "unknown"
    folder, others = Path(__file__).parent, [":/", ":(top,exclude)benchmarks/results"]
    asked = [["describe", "--always"], ["status", "--porcelain", "--untracked-files=no", "--", *others]]
    commit, changed = (
        subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=False).stdout.strip()
        for words in asked
    )
    return (commit or "unknown") + ("-dirty" if changed else "")


def _hardware() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.machine()} CPU, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
