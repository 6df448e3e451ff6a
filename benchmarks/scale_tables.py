"""What 10⁹ images cost, reckoned from `scale-cpu.json` and `speed-cpu.json`, for docs/scale.md."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from typing import Any

from results_file import RESULTS, select

from anychan.report.tables import markdown_table

__all__ = ["SCALE_TABLES"]

N = 10**9
CORES = (2, 64, 128, 256, 1024)
RUNS = 10  # that share the images
FILE_BYTES = 2000  # of a photograph of 64×64 pixels


def _rows(name: str) -> list[dict[str, Any]]:
    return json.loads((RESULTS / f"{name}.json").read_text())["rows"]  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _Rates:
    """Images a second: of a core that decodes, of one that computes, and of the process that writes lines.

    Args:
        decoding: of one core.
        computing: of one core.
        lines: of one process.
        line_bytes: of one.
        name_length: of one image, in characters.
        name_bytes: in the memory of that process, for each of them.
        worker_mib: most memory of a worker.
    """

    decoding: float
    computing: float
    lines: float
    line_bytes: float
    name_length: int
    name_bytes: float
    worker_mib: float

    @property
    def core(self) -> float:
        """Of a core that decodes and computes in turn."""
        return 1 / (1 / self.decoding + 1 / self.computing)


def _rates() -> _Rates:
    speed, scale = select(_rows("speed-cpu"), kind="predict"), _rows("scale-cpu")
    cores = int(speed[0]["hardware"].split(" cores")[0].split()[-1])
    decoding, computing = (
        statistics.median(row["files"] / row[f"{what}_seconds"] / cores for row in speed)
        for what in ("decode", "compute")
    )
    lines = select(scale, kind="lines")
    (names,), (worker,) = select(scale, kind="names"), select(scale, kind="worker")
    rate = statistics.median(row["images"] / row["seconds"] for row in lines)
    return _Rates(
        decoding, computing, rate, lines[0]["line_bytes"], names["length"], names["bytes"], worker["peak_mib"]
    )


def rates() -> str:
    """What was measured."""
    found = _rates()
    return markdown_table(
        ["measured", "figure"],
        [
            ["a core decodes JPEG files of 64×64 pixels", f"{found.decoding:,.0f} a second"],
            ["a core computes `resnet18`", f"{found.computing:,.0f} images a second"],
            ["so a core does one after the other", f"{found.core:,.0f} images a second"],
            ["the command's own process takes results and writes lines", f"{found.lines:,.0f} a second"],
            ["a line of CSV, of 50 classes", f"{found.line_bytes:.0f} bytes"],
            [
                f"that process holds for an image in a zip, its name {found.name_length} characters long",
                f"{found.name_bytes:.0f} bytes",
            ],
            ["a worker holds at most", f"{found.worker_mib:.0f} MiB"],
        ],
    )


def cores() -> str:
    """Hours and rates by the number of cores, and what they say."""
    found = _rates()
    lines = []
    for cores_ in CORES:
        rate = min(cores_ * found.core, found.lines)
        bound = "computing" if rate < found.lines else "writing lines"
        lines.append(
            [f"{cores_:,}", f"{N / rate / 3600:,.1f}", f"{rate:,.0f}", f"{rate * FILE_BYTES / 1e6:,.0f}", bound]
        )
    table = markdown_table(["cores", "hours", "files/s", "MB/s", "bound by"], lines)
    share = N / RUNS
    apart = max(share / found.lines, N / (CORES[-1] * found.core)) / 3600
    said = (
        f"That is {N / found.core / 3600:,.0f} core hours, a table of {N * found.line_bytes / 1e9:,.0f} GB, and "
        f"{N * found.name_bytes / 1e9:,.0f} GB held in memory for names. Up to {found.lines / found.core:,.0f} cores "
        "the bottleneck is computing, and twice the cores take half the time; beyond, it is the one process that "
        f"writes. {RUNS} runs of {share:,.0f} images hold {share * found.name_bytes / 1e9:,.0f} GB for names each, "
        f"and {CORES[-1]:,} cores then take {apart:,.1f} h."
    )
    return f"{table}\n\n{said}"


SCALE_TABLES = {"scale_rates": rates, "scale_cores": cores}
