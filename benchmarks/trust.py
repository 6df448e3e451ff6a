"""What is promised of crashes, hostile files and the page: see docs/reliability.md.

python benchmarks/trust.py --scale cpu [--only resume soak corrupt fuzz]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import trust_corrupt
import trust_fuzz
import trust_resume
import trust_soak
from results_file import RESULTS, ResultFile, claim, select

__all__ = ["claims", "measure"]

Rows = list[dict[str, Any]]
POINTS, REQUESTS, CORRUPTED, EXECUTIONS = 100, 1000, 500, 100_000
SLOW = {"model": 2}  # a network is built each time


def claims(rows: Rows) -> list[dict[str, Any]]:
    """What the rows promise."""
    found: list[dict[str, Any]] = []
    if resumed := select(rows, kind="resume"):
        exact = sum(row["exact"] for row in resumed)
        found.append(claim("exact_resumes", exact, ">=", 100))
        found.append(claim("inexact_resumes", len(resumed) - exact, "<=", 0))
    if fuzzed := select(rows, kind="fuzz"):
        found.append(claim("fuzz_executions", sum(row["executions"] for row in fuzzed), ">=", 1_000_000))
        found.append(claim("fuzz_fewest_executions", min(row["executions"] for row in fuzzed), ">=", 50_000))
        found.append(claim("fuzz_failures", sum(row["failures"] for row in fuzzed), "<=", 0))
    if damaged := select(rows, kind="corrupt"):
        found.append(claim("corrupt_fewest_files", min(row["files"] for row in damaged), ">=", 500))
        found.append(claim("corrupt_failures", sum(row["failures"] for row in damaged), "<=", 0))
    return [*found, *trust_soak.soak_claims(rows)]


def resumes(points: int = POINTS) -> Iterator[dict[str, Any]]:
    """Kill runs at random moments, in a process that has no threads when it forks."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, trust_resume.__file__, str(Path(folder) / "runs"), str(points)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "ANYCHAN_CACHE": str(Path(folder) / "cache")}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout is not None
            yield from map(json.loads, process.stdout)
        if process.returncode:
            raise SystemExit(f"trust_resume.py ended with code {process.returncode}")


def soaked(requests: int = REQUESTS) -> Iterator[dict[str, Any]]:
    """Ask the page a thousand things."""
    yield trust_soak.soak(requests)


def corrupted(count: int = CORRUPTED, kinds: Sequence[str] = tuple(trust_corrupt.KINDS)) -> Iterator[dict[str, Any]]:
    """Read so many corrupted files of each kind, a process for each, since one may crash."""
    for kind in kinds:
        with tempfile.TemporaryDirectory() as folder:
            (files := Path(folder) / "files").mkdir()
            command = trust_fuzz.apart([sys.executable, trust_corrupt.__file__, kind, str(count), str(files)])
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "ANYCHAN_CACHE": str(Path(folder) / "cache")}
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=False)
            ended = f"the process ended with code {done.returncode}"
            crash = {"kind": "corrupt", "format": kind, "files": count, "failures": 1, "failure": ended}
            yield crash if done.returncode else json.loads(done.stdout)


def fuzzed(executions: int = EXECUTIONS) -> Iterator[dict[str, Any]]:
    """Let each reader read so many changed files."""
    for target in trust_fuzz.NAMES:
        yield trust_fuzz.fuzz(target, executions // SLOW.get(target, 1), seed=1)


PARTS = {"resume": resumes, "soak": soaked, "corrupt": corrupted, "fuzz": fuzzed}


def measure(scale: str, only: Sequence[str] = (), *, folder: Path = RESULTS) -> ResultFile:
    """Measure the parts that are asked for, by default all, and write their rows.

    Args:
        scale: its name.
        only: names of parts.
        folder: of the result file.
    """
    results = ResultFile("trust", scale, claims, folder=folder, shared=True)
    for name in only or PARTS:
        rows = []
        for row in PARTS[name]():
            rows.append(row)
            print(json.dumps(row), flush=True)
        results.add(*rows, instead_of={"kind": name})
    for each in results.claims(results.rows):
        print(f"{each['id']}: {each['value']} ({each['op']} {each['bound']}){'' if each['holds'] else ' FAILS'}")
    return results


def main() -> None:
    """Parse options and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scale", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=[])
    options = parser.parse_args()
    measure(options.scale, options.only)


if __name__ == "__main__":
    main()
