"""What `channels.py` promises, computed from its rows.

Paired value: for each test image, correctness averaged over seeds and subsets, ours minus theirs; 95 % percentile
bootstrap over images (Efron and Tibshirani 1993, An Introduction to the Bootstrap, §13.3).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from channel_rows import METHODS, SUBSETS, TUNED
from results_file import claim

from anychan.evaluation.accuracy import unpack_bits

__all__ = [
    "Difference",
    "best_method",
    "bootstrap",
    "claims",
    "correctness",
    "difference",
    "frozen",
    "image_weights",
    "one",
    "specialists",
    "tuned",
]

Rows = list[dict[str, Any]]
Values = npt.NDArray[np.float64]
_RESAMPLES = 10_000
PROPER = SUBSETS[1:]
RIVAL_FILLS = ("zero", "mean", "rescaled", "present_mean")


class Difference:
    """Ours minus theirs, in points.

    Args:
        values: (seeds, images) paired differences, averaged over subsets.
    """

    def __init__(self, values: Values) -> None:
        self.points = 100 * float(values.mean())
        self.low, self.high = bootstrap(values.mean(0))
        self.by_seed = [100 * float(seed.mean()) for seed in values]


def bootstrap(values: Values) -> tuple[float, float]:
    """95 % percentile interval of the mean of values (images,), in points."""
    means = 100 * values @ image_weights(len(values))  # (resamples,)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


@cache
def image_weights(images: int) -> Values:
    """(images, resamples): how much each image counts in each resample."""
    generator = np.random.default_rng(0)
    counts = generator.multinomial(images, np.full(images, 1 / images), size=_RESAMPLES)
    return np.ascontiguousarray(counts.T / images)


def correctness(rows: Iterable[dict[str, Any]], subsets: list[str], split: str = "subsets") -> Values:
    """(seeds, subsets, images) of 0 and 1, seeds in order; the rows are one a seed, or one a seed and subset.

    A seed that lacks a subset still is left out.
    """
    found: dict[int, dict[str, Values]] = {}
    for row in rows:
        for entry in row[split]:
            bits = unpack_bits(entry["correct"], entry["n"]).numpy().astype(float)
            found.setdefault(row["seed"], {})["+".join(entry["channels"])] = bits
    whole = [seed for seed in sorted(found) if set(subsets) <= set(found[seed])]
    return np.array([[found[seed][subset] for subset in subsets] for seed in whole])


def specialists(
    rows: Rows, split: str = "subsets", subsets: list[str] = SUBSETS, *, statistics: str = "shared"
) -> Values:
    """The seven specialists' correctness; by default each with the statistics that its training left."""
    return correctness(
        (row for row in rows if row["kind"] == "specialist" and row["batch_norm"] == statistics), subsets, split
    )


def tuned(rows: Rows, subsets: list[str]) -> Values:
    """Some specialists' correctness by the recipe that suits them best."""
    names = {f"{subset}: {TUNED}" for subset in subsets}
    return correctness((row for row in rows if row["kind"] == "trial" and row["name"] in names), subsets)


def one(rows: Rows, method: str, budget: int, *, own: bool = True, split: str = "subsets", kind: str = "one") -> Values:
    """One model's correctness by subset; `kind` may be `"tuned"`."""
    statistics = "own" if own else "shared"
    wanted = {"kind": kind, "name": method, "budget": budget, "batch_norm": statistics}
    return correctness((row for row in rows if wanted.items() <= row.items()), SUBSETS, split)


def frozen(rows: Rows, fill: str, *, own: bool, split: str = "subsets") -> Values:
    """The RGB specialist's correctness on the six proper subsets, its absent channels filled."""
    wanted = {"kind": "frozen", "name": fill, "batch_norm": "own" if own else "shared"}
    return correctness((row for row in rows if wanted.items() <= row.items()), PROPER, split)


def best_method(rows: Rows) -> str:
    """The method with the best mean over the seven subsets on validation images, at twice a specialist's budget."""
    scores = {}
    for method in METHODS:
        found = one(rows, method, 2, split="val_subsets")
        if found.size:
            scores[method] = float(found.mean())
    return max(scores, key=scores.__getitem__, default="completion")


def difference(ours: Values, theirs: Values) -> Difference:
    """Paired over images and, as far as both were trained, over seeds; inputs (seeds, subsets, images)."""
    seeds = min(len(ours), len(theirs))
    return Difference((ours[:seeds] - theirs[:seeds]).mean(1))


def claims(rows: Rows) -> list[dict[str, Any]]:
    """The promises; a claim whose rows are not there yet is left out."""
    return [*_trained_claims(rows), *_frozen_claims(rows)]


def _trained_claims(rows: Rows) -> list[dict[str, Any]]:
    theirs, method, found = specialists(rows), best_method(rows), []
    for budget, suffix, bound in ((7, "", 2.0), (2, "_double", 0.5), (1, "_equal", 0.0)):
        ours = one(rows, method, budget)
        if not ours.size or not theirs.size:
            continue
        mean = difference(ours, theirs)
        found.append(_interval(claim(f"one_minus_specialists_mean_points{suffix}", mean.points, ">=", bound), mean))
        if budget == 7:
            gaps = [difference(ours[:, [i]], theirs[:, [i]]) for i in range(len(SUBSETS))]
            found.append(_interval(claim("rgb_gap_points", gaps[0].points, ">=", -0.5), gaps[0]))
            found.append(claim("worst_subset_low_points", min(gap.low for gap in gaps), ">=", -4.0))
    return found


def _frozen_claims(rows: Rows) -> list[dict[str, Any]]:
    completed = frozen(rows, "completion", own=True)
    if not completed.size:
        return []
    gains = [difference(completed, frozen(rows, fill, own=True)) for fill in RIVAL_FILLS]
    gain = difference(completed, frozen(rows, "mean", own=False))
    return [
        claim("frozen_gain_low_points", min(each.low for each in gains), ">=", 0.0),
        _interval(claim("frozen_gain_points", gain.points, ">=", 20.0), gain),
    ]


def _interval(entry: dict[str, Any], found: Difference) -> dict[str, Any]:
    return {**entry, "low": found.low, "high": found.high, "by_seed": found.by_seed}
