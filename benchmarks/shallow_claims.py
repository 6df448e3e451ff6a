"""What `shallow.py` promises, computed from its rows.

Accuracies are means over seeds. A ratio's interval is a 95 % percentile bootstrap: images are drawn once for both
networks, whose answers to one image belong together, and seeds for each on its own; a network that was trained once
adds no spread of seeds.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from channel_claims import image_weights
from results_file import claim, select
from shallow_costs import latency_claim
from shallow_systems import FAMILIES, RESNETS

from anychan.evaluation.accuracy import unpack_bits

__all__ = [
    "Mean",
    "accuracy",
    "best",
    "best_recipes",
    "chosen_widths",
    "claims",
    "difference",
    "figure",
    "last_gain",
    "longest",
    "main_rows",
    "ratio",
]

Rows = list[dict[str, Any]]
Values = npt.NDArray[np.float64]
# recipes that test each image together with its mirror image
FLIPPED = ("strong", "resized_crops", "whitened", "longer", "distilled", "patient")


class Mean(NamedTuple):
    """A mean over seeds or a ratio of two, and its 95 % interval."""

    value: float
    low: float
    high: float


def main_rows(rows: Rows, system: str, recipe: str, setting: str = "main") -> Rows:
    """A network's trainings by a recipe, a row a seed."""
    return select(rows, kind="trained", system=system, recipe=recipe, setting=setting)


def figure(row: dict[str, Any], split: str = "test") -> dict[str, Any]:
    """A row's accuracy as its recipe tests it."""
    return row[f"{split}_flips" if row["recipe"] in FLIPPED else split]  # type: ignore[no-any-return]


def _resampled(rows: Rows, split: str, stream: int) -> tuple[float, Values]:
    """Mean accuracy over seeds, and that of each resample."""
    found = [figure(row, split) for row in rows]
    correct = np.array([unpack_bits(entry["correct"], entry["n"]).numpy() for entry in found], float)
    by_seed = correct @ image_weights(correct.shape[1])  # (seeds, resamples)
    seeds = len(correct)
    drawn = np.random.default_rng(stream).multinomial(seeds, np.full(seeds, 1 / seeds), size=by_seed.shape[1])
    return float(correct.mean()), (by_seed * drawn.T / seeds).sum(0)


def _mean(value: float, resampled: Values) -> Mean:
    low, high = np.percentile(resampled, (2.5, 97.5))
    return Mean(value, float(low), float(high))


def accuracy(rows: Rows, split: str = "test") -> Mean:
    """Of one network, mean over the rows' seeds, 0 to 1."""
    return _mean(*_resampled(rows, split, 0))


def ratio(ours: Rows, theirs: Rows) -> Mean:
    """Our test accuracy over theirs; both of the same images."""
    (above, more), (below, less) = _resampled(ours, "test", 0), _resampled(theirs, "test", 1)
    return _mean(above / below, more / less)


def difference(ours: Rows, theirs: Rows) -> Mean:
    """Our test accuracy minus theirs; both of the same images."""
    (above, more), (below, less) = _resampled(ours, "test", 0), _resampled(theirs, "test", 1)
    return _mean(above - below, more - less)


def best(rows: Rows, systems: Collection[str]) -> Rows:
    """The trainings of the network and recipe with the best mean over seeds on validation images; `[]` without any."""
    trained = [row for row in select(rows, kind="trained", setting="main") if row["system"] in systems]
    groups = [main_rows(rows, *key) for key in dict.fromkeys((row["system"], row["recipe"]) for row in trained)]
    return max(groups, key=lambda group: np.mean([figure(row, "val")["accuracy"] for row in group]), default=[])


def chosen_widths(rows: Rows, widths: Collection[str] | None = None) -> dict[str, str]:
    """Family → the width that is best on validation images by the strong recipe.

    Args:
        rows: of the benchmark.
        widths: those that are compared; a family that lacks a row of one is left out. Default: those that have rows.
    """
    strong = {row["system"]: row for row in select(rows, kind="trained", setting="main", recipe="strong", seed=0)}
    chosen = {}
    for family, of_family in FAMILIES.items():
        compared = [width for width in of_family if width in (strong if widths is None else widths)]
        if compared and set(compared) <= set(strong):
            chosen[family] = max(compared, key=lambda width: figure(strong[width], "val")["accuracy"])
    return chosen


def best_recipes(rows: Rows, widths: Collection[str]) -> dict[str, str]:
    """System → its best recipe on validation images, of the best ResNet34 and of each family's chosen width."""
    groups = [RESNETS, *((width,) for width in chosen_widths(rows, widths).values())]
    return {found[0]["system"]: found[0]["recipe"] for group in groups if (found := best(rows, group))}


def longest(rows: Rows) -> Rows:
    """The best ResNet34's longest training: the one that went on after it, or itself."""
    found = best(rows, RESNETS)
    return (main_rows(rows, found[0]["system"], "longer") if found[0]["recipe"] == "strong" else []) or found


def last_gain(trained: Rows) -> float:
    """Points on validation images gained in the last quarter of a training, the most of its seeds."""
    return float(max(row["last_quarter_gain"] for row in trained))


def claims(rows: Rows) -> list[dict[str, Any]]:
    """The promises; one whose rows are not there yet is left out, such as the last trial of ours or of the rival."""
    rival, chosen, found = best(rows, RESNETS), chosen_widths(rows), []
    if not main_rows(rows, "rival", "strong"):  # the one that counts
        return []
    for family, bound in (("shallow4", 0.97), ("shallow2", 0.9)):
        if family in chosen and main_rows(rows, chosen[family], "distilled") and main_rows(rows, "rival", "distilled"):
            ours = best(rows, [chosen[family]])
            found.append(_ratio_claim(f"{family}_over_best_resnet34", ours, rival, bound))
    if "shallow4" in chosen:
        alike = select(rows, kind="trained", recipe="report2", size=64)
        imagenet = select(alike, system="resnet34_7x7")
        same = {key: imagenet[0][key] for key in ("classes", "epochs")} if imagenet else {}
        ours = select(alike, system=chosen["shallow4"], **same)
        if ours and imagenet:
            found.append(_ratio_claim("shallow4_over_imagenet_stem_resnet34", ours, imagenet, 1.05))
        found += latency_claim(rows, chosen["shallow4"], rival[0]["system"])
    ended = longest(rows)
    return [*found, {**claim("best_resnet34_last_quarter_gain", last_gain(ended), "<=", 1.0), "ours": ended[0]["row"]}]


def _ratio_claim(name: str, ours: Rows, theirs: Rows, bound: float) -> dict[str, Any]:
    found = ratio(ours, theirs)
    who = {"ours": ours[0]["row"], "theirs": theirs[0]["row"], "seeds": [len(ours), len(theirs)]}
    return {**claim(name, found.value, ">=", bound), "low": found.low, "high": found.high, **who}
