"""What `shallow.py` promises, computed from its rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from shallow_rows import FAMILIES, RESNETS, Scale

__all__ = ["best_recipes", "chosen_widths", "claims", "figure", "select"]

Rows = list[dict[str, Any]]
FLIPPED = ("strong", "distilled", "strong-long")  # recipes that test each image and its mirror image


def select(rows: Rows, **key: Any) -> Rows:
    """The rows with these values."""
    return [row for row in rows if all(row.get(name) == value for name, value in key.items())]


def figure(row: dict[str, Any], split: str = "test") -> dict[str, Any]:
    """A row's accuracy as its recipe tests it."""
    return row[f"{split}_flips" if row["recipe"] in FLIPPED else split]  # type: ignore[no-any-return]


def best(rows: Rows, systems: Iterable[str]) -> tuple[str, str] | None:
    """System and recipe with the best mean over seeds on validation images; `None` without any row."""
    found: dict[tuple[str, str], list[float]] = {}
    for row in select(rows, kind="trained", setting="main"):
        if row["system"] in systems:
            found.setdefault((row["system"], row["recipe"]), []).append(figure(row, "val")["accuracy"])
    return max(found, key=lambda key: float(np.mean(found[key])), default=None)


def chosen_widths(rows: Rows, scale: Scale) -> dict[str, str]:
    """Family → the width that is best on validation images by the strong recipe, where all widths are trained."""
    chosen = {}
    strong = select(rows, kind="trained", setting="main", recipe="strong", seed=0)
    for family, widths in FAMILIES.items():
        compared = [width for width in widths if width in scale.widths]
        found = [row for row in strong if row["system"] in compared]
        if compared and len(found) == len(compared):
            chosen[family] = str(max(found, key=lambda row: figure(row, "val")["accuracy"])["system"])
    return chosen


def best_recipes(rows: Rows, scale: Scale) -> dict[str, str]:
    """System → its best recipe on validation images, of the best ResNet34 and of each family's chosen width."""
    groups = [RESNETS, *((width,) for width in chosen_widths(rows, scale).values())]
    return dict(found for group in groups if (found := best(rows, group)) is not None)


def claims(rows: Rows) -> list[dict[str, Any]]:
    """The promises; one whose rows are not there yet is left out."""
    return []
