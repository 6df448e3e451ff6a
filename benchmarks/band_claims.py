"""What `bands.py` promises, computed from its rows.

The unit is the image (a tile, a cell): its correctness is averaged over seeds and subsets first; 95 % percentile
bootstrap over images.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from band_rows import FROZEN_FILLS, METHODS, PLAIN, RIVALS
from channel_claims import bootstrap
from results_file import claim, select

from anychan.evaluation.accuracy import unpack_bits

__all__ = ["best_frozen", "best_method", "best_source", "claims", "outcomes", "paired"]

Rows = list[dict[str, Any]]
Values = npt.NDArray[np.float64]
TRIVIAL_FILLS = tuple(fill for fill in FROZEN_FILLS if fill != "completion")


def outcomes(rows: Iterable[dict[str, Any]], group: str, split: str = "test") -> dict[tuple[int, int], Values]:
    """(image, seed) → correctness of each subset of a group."""
    found: dict[tuple[int, int], Values] = {}
    for row in rows:
        packed = row[split][group]
        bits = unpack_bits(packed["bits"], packed["subsets"] * packed["n"]).numpy().astype(float)
        images = map(int, row["images"][split].split())
        for image, column in zip(images, bits.reshape(packed["subsets"], -1).T, strict=True):
            found[image, row["seed"]] = column
    return found


def by_image(found: dict[tuple[int, int], Values]) -> dict[int, float]:
    """Image → correctness averaged over seeds and subsets."""
    values: dict[int, list[float]] = {}
    for (image, _), column in found.items():
        values.setdefault(image, []).append(float(column.mean()))
    return {image: float(np.mean(some)) for image, some in values.items()}


def accuracy(rows: Rows, group: str, split: str = "test") -> float:
    """Mean over images, 0 to 1."""
    return float(np.mean(list(by_image(outcomes(rows, group, split)).values())))


def paired(ours: Rows, theirs: Rows, group: str, their_group: str | None = None) -> tuple[float, float, float] | None:
    """Ours minus theirs in points with its interval; images and seeds that both have; `None` without any."""
    one, two = outcomes(ours, group), outcomes(theirs, their_group or group)
    common = one.keys() & two.keys()
    if not common:
        return None
    mine, rival = (by_image({key: found[key] for key in common}) for found in (one, two))
    values = np.array([mine[image] - rival[image] for image in sorted(mine)])
    return 100 * float(values.mean()), *bootstrap(values)


def best_frozen(rows: Rows, data: str = "eurosat") -> str:
    """The trivial fill that is best on validation for half of the channels, on the plain network as it is."""
    plain = select(rows, data=data, method=PLAIN, batch_norm="shared")
    return max(TRIVIAL_FILLS, key=lambda fill: accuracy(select(plain, fill=fill), "half", "val"))


def best_method(rows: Rows, data: str = "eurosat") -> str:
    """The method that is best on validation for half of the channels; only those with every fold and seed."""
    there = {name: select(rows, data=data, method=name) for name in METHODS if name not in RIVALS}
    whole = max(len(found) for found in there.values())
    return max(
        (name for name, found in there.items() if len(found) == whole),
        key=lambda name: accuracy(there[name], "half", "val"),
    )


def best_source(rows: Rows, who: str) -> str:
    """Stem and sampling that are best on validation for two sources, `"A+B"` or `"B"`."""
    names: list[str] = sorted(
        {row["method"] for row in select(rows, data="two sources") if row["method"].startswith(f"{who}: ")}
    )
    return max(names, key=lambda name: accuracy(select(rows, data="two sources", method=name), "b", "val"))


def _two_sources(rows: Rows) -> list[dict[str, Any]]:
    methods = {row["method"] for row in select(rows, data="two sources")}
    if not all(any(name.startswith(f"{who}: ") for name in methods) for who in ("A+B", "B")):
        return []
    ours = select(rows, method=best_source(rows, "A+B"))
    same = select(rows, method=f"B: {ours[0]['method'].partition(': ')[2]}")
    tuned = select(rows, method=best_source(rows, "B"))
    found = []
    for name, theirs in (("two_sources_gain_low_points", same), ("two_sources_tuned_gain_low_points", tuned)):
        gain = paired(ours, theirs, "b")
        if gain is not None:
            found.append(claim(name, gain[1], ">=", 0.0))
    return found


def claims(rows: Rows) -> list[dict[str, Any]]:
    """The promises that there are rows for."""
    found = []
    plain = select(rows, data="eurosat", method=PLAIN, batch_norm="shared")
    if plain and any(row["data"] == "eurosat" and row["method"] not in (*RIVALS, "channel_vit") for row in rows):
        ours = select(rows, data="eurosat", method=best_method(rows))
        whole = accuracy(select(plain, fill="mean"), "all")  # no fill has anything to do there
        trivial = whole - accuracy(select(plain, fill=best_frozen(rows)), "half")
        found.append(claim("half_bands_loss_ratio", (whole - accuracy(ours, "half")) / trivial, "<=", 0.34))
        long = select(rows, data="eurosat", method="plain_long", batch_norm="shared", fill="mean")
        for name, rival in (("all_bands_low_points", select(plain, fill="mean")), ("all_bands_long_low_points", long)):
            difference = paired(ours, rival, "all")
            if difference is not None:
                found.append(claim(name, difference[1], ">=", -5.0))
    return found + _two_sources(rows)
