"""The table of `anychan predict`: a line for each image, CSV or JSON Lines."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, Protocol, TextIO

from anychan.contract import Contract
from anychan.deploy.classification import Classification
from anychan.deploy.classifier import Prediction

__all__ = ["TABLE_SUFFIXES", "Table", "open_table"]

TABLE_SUFFIXES = {".csv": "csv", ".jsonl": "jsonl"}


class Table(Protocol):
    """Takes a line at a time."""

    def add(self, name: str, found: Classification) -> None:
        """Write what is said of an image of this name."""


class _Csv:
    """sample, class, confidence, the next classes and theirs, p(CLASS) of every class, channels, absent."""

    def __init__(self, file: TextIO, contract: Contract, asked: Prediction) -> None:
        self._writer = csv.writer(file, lineterminator="\n")
        self._classes = contract.classes if asked.probabilities else ()
        self._top_k = asked.top_k
        more = [f"{what}_{place}" for place in range(2, self._top_k + 1) for what in ("class", "confidence")]
        each = [f"p({name})" for name in self._classes]
        self._writer.writerow(["sample", "class", "confidence", *more, *each, "channels", "absent"])

    def add(self, name: str, found: Classification) -> None:
        """Write a line; an image without data has empty cells."""
        top = [cell for label, value in found.top(self._top_k) for cell in (label, f"{value:.4f}")]
        each = [] if found.probabilities is None else [f"{value:.4f}" for value in found.probabilities]
        cells = [*(top or [""] * 2 * self._top_k), *((each or [""] * len(self._classes)) if self._classes else [])]
        self._writer.writerow([name, *cells, " ".join(found.channels), " ".join(found.absent)])


class _JsonLines:
    """An object a line; numbers in full."""

    def __init__(self, file: TextIO, contract: Contract, asked: Prediction) -> None:
        self._file, self._stem, self._asked = file, contract.stem, asked

    def add(self, name: str, found: Classification) -> None:
        """Write a line; an image without data has null for its class."""
        values: dict[str, Any] = {"sample": name, "class": found.label, "confidence": found.confidence}
        if self._asked.top_k > 1:
            values["top"] = [{"class": label, "confidence": value} for label, value in found.top(self._asked.top_k)]
        if self._asked.probabilities and found.probabilities is not None:
            values["probabilities"] = dict(zip(found.classes, found.probabilities.tolist(), strict=True))
        values |= {"channels": list(found.channels), "absent": list(found.absent)}
        if found.absent:
            values["absent_by"] = self._stem
        self._file.write(json.dumps(values, ensure_ascii=False) + "\n")


def open_table(file: TextIO, out: Path | None, contract: Contract, asked: Prediction) -> Table:
    """A table of the asked format.

    Args:
        file: where lines go.
        out: the file's name, whose suffix says the format where it is not asked for.
        contract: the model's.
        asked: the options.
    """
    suffix = "csv" if out is None else TABLE_SUFFIXES[out.suffix.lower()]
    kind = _JsonLines if (asked.format or suffix) == "jsonl" else _Csv
    return kind(file, contract, asked)
