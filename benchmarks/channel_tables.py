"""The tables and the picture of docs/channels.md, from `channels-cpu.json` alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from channel_claims import (
    PROPER,
    RIVAL_FILLS,
    Difference,
    Values,
    best_method,
    bootstrap,
    difference,
    frozen,
    one,
    specialists,
    tuned,
)
from channel_rows import METHODS, SCALES, SUBSETS, TRIALS, TRIED_ON, TUNED
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from results_file import RESULTS, percent

from anychan.report.tables import markdown_table

__all__ = ["CHANNEL_PICTURES", "CHANNEL_TABLES", "digest", "draw"]

CHANNEL_PICTURES = ("one-model",)
_TITLES = [subset.replace("+", " ") for subset in SUBSETS]


def _load() -> dict[str, Any]:
    return json.loads((RESULTS / "channels-cpu.json").read_text())  # type: ignore[no-any-return]


def _rows() -> list[dict[str, Any]]:
    return _load()["rows"]  # type: ignore[no-any-return]


def _cells(found: Values) -> list[str]:
    """Accuracy of each subset, the mean over seeds, and the mean over all of them with its interval."""
    each = [f"{100 * value:.1f}" for value in found.mean((0, 2))]
    low, high = bootstrap(found.mean((0, 1)))
    return [*each, f"**{100 * found.mean():.1f}** ({low:.1f} to {high:.1f})"]


def _gap(found: Difference) -> list[str]:
    seeds = ", ".join(f"{points:+.1f}" for points in found.by_seed)
    return [f"{found.points:+.1f} ({found.low:+.1f} to {found.high:+.1f})", seeds]


def methods() -> str:
    """One model by every method and budget beside the seven specialists."""
    rows = _rows()
    theirs = specialists(rows)
    lines = [["seven specialists", "7 × 1", *_cells(theirs), "–", "–"]]
    for name, method in METHODS.items():
        for budget in (1, 2, 7):
            for own in (False, True):
                found = one(rows, name, budget, own=own)
                if found.size:
                    title = f"{method.title}, {'own' if own else 'shared'} statistics"
                    lines.append([title, str(budget), *_cells(found), *_gap(difference(found, theirs))])
    titles = ["", "budget", *_TITLES, "mean (95 %)", "minus specialists, points (95 %)", "the same by seed"]
    scale = SCALES["cpu"]
    seeds = sorted({row["seed"] for row in rows})
    note = (
        f"Accuracy in %, mean over up to {len(seeds)} seeds, n = {rows[0]['subsets'][0]['n']} test images; "
        f"{scale.model}, {scale.classes} classes of Tiny ImageNet at {scale.size}×{scale.size}. A budget of 1 is "
        f"{scale.epochs} epochs of training images, forward and backward; every pass counts. Intervals: bootstrap over "
        "test images, paired where it is a difference. The method was chosen on validation images: "
        f"{METHODS[best_method(rows)].title}."
    )
    return f"{markdown_table(titles, lines)}\n\n{note}"


def front() -> str:
    """The README's first table: one model, seven specialists, and an RGB network that meets absent channels."""
    rows = _rows()
    columns = {
        "one anychan model": one(rows, best_method(rows), 7),
        "seven networks, one for each subset": specialists(rows),
        "RGB network, absent channels set to 0": _whole(rows, "zero"),
        "the same weights, anychan's completion and statistics": _whole(rows, "completion", own=True),
    }
    lines = []
    for position, title in enumerate(_TITLES):
        cells = []
        for found in columns.values():
            low, high = bootstrap(found[:, position].mean(0))
            cells.append(f"{100 * found[:, position].mean():.1f} ({low:.1f} to {high:.1f})")
        lines.append([title, *cells])
    lines.append(["mean of the seven", *(f"{100 * found.mean():.1f}" for found in columns.values())])
    scale, gap = SCALES["cpu"], difference(columns["one anychan model"], specialists(rows))
    note = (
        f"Test accuracy in %, n = {rows[0]['subsets'][0]['n']} images, mean of {len(gap.by_seed)} seeds, 95 % "
        f"bootstrap interval over images; {scale.model}, {scale.classes} classes of Tiny ImageNet at "
        f"{scale.size}×{scale.size}. "
        "The one model met as many training images as the seven networks together; its mean is "
        f"{gap.points:.1f} points higher ({gap.low:.1f} to {gap.high:.1f}, paired)."
    )
    return f"{markdown_table(['channels', *columns], lines)}\n\n{note}"


def home() -> str:
    """The front table in short, for the first page of the docs: by number of channels."""
    rows = _rows()
    columns = {
        "RGB network, absent channels set to 0": _whole(rows, "zero"),
        "seven networks, one for each subset": specialists(rows),
        "one anychan model": one(rows, best_method(rows), 7),
    }
    lines = []
    for title, size in (("all three channels", 3), ("two of them", 2), ("one of them", 1)):
        places = [position for position, subset in enumerate(SUBSETS) if len(subset.split("+")) == size]
        cells = []
        for found in columns.values():
            low, high = bootstrap(found[:, places].mean((0, 1)))
            cells.append(f"{100 * found[:, places].mean():.1f} ({low:.1f} to {high:.1f})")
        lines.append([title, *cells])
    scale = SCALES["cpu"]
    note = (
        f"Test accuracy in %, mean over the subsets of that size and {len(specialists(rows))} seeds, n = "
        f"{rows[0]['subsets'][0]['n']} images, 95 % bootstrap interval over images; {scale.model}, {scale.classes} "
        f"classes of Tiny ImageNet at {scale.size}×{scale.size}. The one model met as many training images as the "
        "seven networks together."
    )
    return f"{markdown_table(['images have', *columns], lines)}\n\n{note}"


def frozen_networks() -> str:
    """The RGB specialist as it is, its absent channels filled in five ways."""
    rows = _rows()
    lines = []
    for own in (False, True):
        for fill in (*RIVAL_FILLS, "completion"):
            found = frozen(rows, fill, own=own)
            gap = ["–", "–"]
            if fill != "completion" or not own:
                gap = _gap(difference(frozen(rows, "completion", own=True), found))
            lines.append([f"{fill}, {'own' if own else 'shared'} statistics", *_cells(found), *gap])
    titles = [
        "stem",
        *(subset.replace("+", " ") for subset in PROPER),
        "mean (95 %)",
        "completion with own statistics minus this (95 %)",
        "the same by seed",
    ]
    return markdown_table(titles, lines)


def trials() -> str:
    """Specialists by other recipes: the best on validation beside the recipe of all other rows."""
    rows, lines = _rows(), []
    for subset in TRIED_ON:
        tried = {"as in all other rows": ("specialist", subset)}
        tried |= {change: ("trial", f"{subset}: {change}") for change in TRIALS}
        found: dict[str, dict[str, Any]] = {}
        for change, (kind, name) in tried.items():
            wanted = {"kind": kind, "name": name, "seed": 0, "batch_norm": "shared"}
            found |= [(change, row) for row in rows if wanted.items() <= row.items()]
        best = max(found, key=lambda change: float(found[change]["val_subsets"][0]["accuracy"]))
        for change, row in found.items():
            mark = "**" if change == best else ""
            cells = [f"{mark}{percent(row[key][0])}{mark}" for key in ("val_subsets", "subsets")]
            lines.append([subset.replace("+", " "), change, *cells])
    return markdown_table(["channels", "recipe", "validation, % (95 %)", "test, % (95 %)"], lines)


def tuned_rivals() -> str:
    """Specialists and one model by the recipe that was best for specialists on validation; one seed."""
    rows, method = _rows(), best_method(_rows())
    names = {row["name"] for row in rows if row["kind"] == "trial"}
    subsets = [subset for subset in SUBSETS if f"{subset}: {TUNED}" in names]
    theirs = tuned(rows, subsets)
    lines = [[f"specialists, {TUNED}", "1 each", *_cells(theirs), "–"]]
    for kind, title in (("one", "one model, its recipe as above"), ("tuned", f"one model, {TUNED}")):
        for budget in (2, 7):
            ours = one(rows, method, budget, kind=kind)
            if ours.size:
                ours = ours[:1, [SUBSETS.index(subset) for subset in subsets]]
                lines.append([title, str(budget), *_cells(ours), _gap(difference(ours, theirs))[0]])
    titles = ["seed 0", "budget", *(subset.replace("+", " ") for subset in subsets), "mean (95 %)"]
    return markdown_table([*titles, "minus these specialists, points (95 %)"], lines)


def promises() -> str:
    """Each claim of the result file, and whether it holds."""
    lines = []
    for claim in _load()["claims"]:
        interval = f" ({claim['low']:+.1f} to {claim['high']:+.1f})" if "low" in claim else ""
        value = f"{claim['value']:+.1f}{interval}"
        held = "yes" if claim["holds"] else "no"
        lines.append([f"`{claim['id']}`", f"{claim['op'].replace('>=', '≥')} {claim['bound']:g}", value, held])
    return markdown_table(["claim, in points", "asked for", "found", "holds"], lines)


def whole_images() -> str:
    """What it costs to measure batch-norm statistics on images without the training's augmentation."""
    found = {name: specialists(_rows(), statistics=name) for name in ("shared", "own", "whole")}
    seeds = min(map(len, found.values()))
    found = {name: values[:seeds] for name, values in found.items()}
    means = {name: 100 * float(values.mean()) for name, values in found.items()}
    gap = difference(found["whole"], found["own"])
    return (
        f"The seven specialists ({seeds} seed), trained on crops after padding by 4 black pixels, have "
        f"{means['shared']:.1f} % on average with the statistics of their training, {means['own']:.1f} with those of "
        "augmented images and "
        f"{means['whole']:.1f} with those of whole images: {gap.points:+.1f} points "
        f"({gap.low:+.1f} to {gap.high:+.1f})."
    )


CHANNEL_TABLES: dict[str, Callable[[], str]] = {
    "channels_front": front,
    "channels_home": home,
    "channels_methods": methods,
    "channels_frozen": frozen_networks,
    "channels_claims": promises,
    "channels_trials": trials,
    "channels_tuned": tuned_rivals,
    "channels_whole": whole_images,
}


def _lines() -> dict[str, list[list[float]]]:
    """Legend → accuracy, lower and upper end for each subset."""
    rows = _rows()
    method = best_method(rows)
    found = {"seven specialists, one a subset": specialists(rows)}
    for budget in (7, 2, 1):
        found[f"one model, budget {budget}"] = one(rows, method, budget)
    found["RGB network, zero fill"] = _whole(rows, "zero")
    found["RGB network, completion, own statistics"] = _whole(rows, "completion", own=True)
    shown = {}
    for label, values in found.items():
        if values.size:
            ends = [bootstrap(values[:, i].mean(0)) for i in range(values.shape[1])]
            shown[label] = [[100 * m, *end] for m, end in zip(values.mean((0, 2)).tolist(), ends, strict=True)]
    return shown


def _whole(rows: list[dict[str, Any]], fill: str, *, own: bool = False) -> Values:
    """The frozen network on all seven subsets: on R, G and B it is the specialist."""
    rgb, proper = specialists(rows, subsets=SUBSETS[:1]), frozen(rows, fill, own=own)
    seeds = min(len(rgb), len(proper))
    return np.concatenate([rgb[:seeds], proper[:seeds]], 1) if seeds else proper


def digest(name: str) -> str:
    """Fingerprint of what the picture shows; the PNG carries it, so that a stale one is found."""
    return hashlib.sha256(json.dumps([name, _lines()]).encode()).hexdigest()


def draw(name: str, folder: Path) -> Path:
    """Draw the picture into a folder: one model's line beside the seven specialists."""
    path = folder / f"{name}.png"
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    looks = iter([("#D55E00", "s", "none"), *((c, "o", "-") for c in ("#0072B2", "#56B4E9", "#999999"))])
    rest = iter([("#CC79A7", "v", ":"), ("#009E73", "^", ":")])
    for label, values in _lines().items():
        colour, marker, line = next(rest if label.startswith("RGB") else looks)
        middle, low, high = np.array(values).T
        errors = np.clip([middle - low, high - middle], 0, None)
        options: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": line, "capsize": 3, "label": label}
        axes.errorbar(range(len(middle)), middle, yerr=errors, markersize=5, **options)
    axes.set_xticks(range(len(SUBSETS)), _TITLES)
    axes.set(xlabel="channels given", ylabel="test accuracy, 95 % interval", ylim=(0, None))
    axes.yaxis.set_major_formatter(PercentFormatter(100))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path, dpi=120, metadata={"Source": digest(name)})
    return path
