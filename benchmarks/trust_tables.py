"""The figures of docs/reliability.md, from `trust-cpu.json`."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from results_file import RESULTS, select

from anychan.report.tables import markdown_table

__all__ = ["TRUST_TABLES"]

_FUZZED = {
    "index": "split files, tables and class folders",
    "channels_yaml": "`channels.yaml`",
    "recipe": "recipe",
    "contract": "a model's contract",
    "tiff": "TIFF",
    "scene": "TIFF of a scene, by GDAL",
    "photograph": "PNG, JPEG, GIF, WebP and BMP",
    "npy": "`.npy`",
    "npz": "`.npz`",
    "mat": "`.mat`",
    "zip": "zip of images",
    "shards": "table of shards",
    "checkpoint": "checkpoint of a run",
    "model": "a model's weights",
}


_CORRUPTED = {
    "png": "PNG",
    "jpeg": "JPEG",
    "tiff": "TIFF, not compressed",
    "npy": "`.npy`",
    "zip": "zip of images",
    "cache": "cache of images",
    "checkpoint": "checkpoint of a run",
}
_UNCHECKED = ("jpeg", "tiff", "npy")  # their formats have no checksum


def _rows(kind: str) -> list[dict[str, Any]]:
    path = RESULTS / "trust-cpu.json"
    return select(json.loads(path.read_text())["rows"], kind=kind) if path.exists() else []


def resumes() -> str:
    """Kills by recipe, how many were in the middle of an epoch, and how many ended alike."""
    rows = _rows("resume")
    names = Counter(row["recipe"] for row in rows)
    cells = []
    for name, count in names.items():
        found = select(rows, recipe=name)
        cells.append([name, *(f"{number}" for number in (count, _sum(found, "in_an_epoch"), _sum(found, "exact")))])
    if not cells:
        return ""
    cells.append(["all", f"{len(rows)}", f"{_sum(rows, 'in_an_epoch')}", f"{_sum(rows, 'exact')}"])
    return markdown_table(["recipe", "kills", "in the middle of an epoch", "the same bits in the end"], cells)


def corrupt() -> str:
    """What came of each kind of corrupted file."""
    cells = []
    for row in _rows("corrupt"):
        changed = f"{row.get('changed', 0)}" if row["format"] in _UNCHECKED else "not allowed"
        numbers = (row["files"], row.get("refused", 0), row.get("unchanged", 0))
        cells.append([_CORRUPTED[row["format"]], *(f"{n}" for n in numbers), changed, f"{row['failures']}"])
    heads = ["kind", "files", "refused", "the result unchanged", "another, as declared", "failures"]
    return markdown_table(heads, cells) if cells else ""


def fuzz() -> str:
    """Executions, edges and failures of each reader."""
    rows = _rows("fuzz")
    cells = [
        [_FUZZED[row["target"]], f"{row['executions']:,}", f"{row['edges']:,}", f"{row['failures']}"] for row in rows
    ]
    if not cells:
        return ""
    cells.append(["all", f"{_sum(rows, 'executions'):,}", "", f"{_sum(rows, 'failures')}"])
    return markdown_table(["reader", "executions", "edges covered", "failures"], cells)


def soak() -> str:
    """One sentence."""
    return "".join(
        f"Of {row['good']:,} good and {row['bad']:,} bad requests in random order, {row['lost']} good ones were lost "
        f"and {row['let_in']} bad ones let in; the server's memory was {row['before_mib']:.0f} MiB after the first "
        f"requests and {row['after_mib']:.0f} MiB at the end."
        for row in _rows("soak")
    )


def _sum(rows: list[dict[str, Any]], key: str) -> int:
    return sum(row[key] for row in rows)


TRUST_TABLES = {"trust_resumes": resumes, "trust_corrupt": corrupt, "trust_fuzz": fuzz, "trust_soak": soak}
