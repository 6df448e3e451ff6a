"""The tables and the picture of the sensors' pages, from `bands-cpu.json` alone."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np
from band_claims import Rows, best_frozen, best_method, best_source, by_image, outcomes, paired
from band_rows import FROZEN_FILLS, METHODS, PLAIN, RIVALS, TWO_SOURCES
from channel_claims import bootstrap
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from results_file import RESULTS, select

from anychan.report.tables import markdown_table

__all__ = ["BAND_PICTURES", "BAND_TABLES", "digest", "draw"]

BAND_PICTURES = ("bands",)
FILLS = {"zero": "raw zero", "mean": "mean fill", "present_mean": "mean of the present", "completion": "completion"}
GROUPS = {
    "eurosat": {
        "all": "all 13",
        "leave_one_out": "12, each left out",
        "half": "6 at random",
        "few": "RGB",
        "single": "1",
    },
    "samson": {"all": "all 156", "half": "78 at random", "few": "RGB", "single": "1"},
    "cells": {"all": "all 3", "half": "2", "few": "DNA stain alone", "single": "1"},
}


def _rows() -> Rows:
    return json.loads((RESULTS / "bands-cpu.json").read_text())["rows"]  # type: ignore[no-any-return]


def _cell(rows: Rows, group: str) -> str:
    """Accuracy in % with its interval over images; nothing where it was not measured."""
    if not rows or group not in rows[0]["test"]:
        return ""
    values = np.array(list(by_image(outcomes(rows, group)).values()))
    low, high = bootstrap(values)
    return f"{100 * values.mean():.1f} ({low:.1f} to {high:.1f})"


def _seeds(rows: Rows, group: str) -> str:
    """The mean of each repeat."""
    found = []
    for seed in sorted({row["seed"] for row in rows}):
        values = by_image(outcomes(select(rows, seed=seed), group)).values()
        found.append(f"{100 * float(np.mean(list(values))):.1f}")
    return ", ".join(found)


def _line(title: str, rows: Rows, groups: dict[str, str], whole: int) -> list[str]:
    """Title, which tells where there are fewer runs than of other rows, accuracies, and the seeds' means."""
    fewer = f" ({len(rows)} of {whole} runs)" if len(rows) < whole else ""
    return [f"{title}{fewer}", *(_cell(rows, group) for group in groups), _seeds(rows, "half")]


def _table(data: str, kind: str) -> str:
    rows = select(_rows(), data=data)
    best, groups = best_method(rows, data), GROUPS[kind]
    reference = select(rows, method=PLAIN, fill="mean", batch_norm="shared")
    lines = []
    for method in RIVALS:
        for own in ("shared", "own"):
            for fill in FROZEN_FILLS if method == PLAIN else ("mean",):
                some = select(rows, method=method, fill=fill, batch_norm=own)
                title = f"{METHODS[method].title}; then {FILLS[fill]}, {own} statistics"
                lines += [_line(title, some, groups, len(reference))] if some else []
    for name, way in METHODS.items():
        some = select(rows, method=name)
        if some and name not in RIVALS:
            mark = "**" if name == best else ""
            lines.append(_line(f"{mark}subset training: {way.title}{mark}", some, groups, len(reference)))
    titles = ["", *groups.values(), f"{groups['half']}, by seed"]
    note = (
        "Test accuracy in %, correctness averaged over seeds and subsets, 95 % bootstrap interval over "
        f"{len(by_image(outcomes(reference, 'all')))} images. Subset training: uniform random subsets in training, "
        f"each subset's own statistics. Bold: chosen on validation images for {groups['half']}."
    )
    return f"{markdown_table(titles, lines)}\n\n{note}"


def eurosat() -> str:
    """Every method on 13 bands."""
    return _table("eurosat", "eurosat")


def cells() -> str:
    """Every method on three stains, as they come."""
    return _table("cells", "cells")


def cells_without_background() -> str:
    """The same with each cell's background removed."""
    return _table("cells, background removed", "cells")


def samson() -> str:
    """Every method on 156 bands."""
    return _table("samson", "samson")


def front() -> str:
    """A short table: a plain network with the best trivial fill, and the method chosen on validation."""
    rows = select(_rows(), data="eurosat")
    fill, method = best_frozen(rows), best_method(rows)
    plain = select(rows, method=PLAIN, batch_norm="shared")
    columns = {
        f"plain network, {FILLS[fill]}": select(plain, fill=fill),
        "the same weights, anychan's completion and statistics": select(
            rows, method=PLAIN, fill="completion", batch_norm="own"
        ),
        "one anychan model, trained on random subsets": select(rows, method=method),
    }
    groups = {"all": "all 13 bands", "half": "6 at random", "few": "red, green, blue"}
    lines = [[title, *(_cell(some, group) for some in columns.values())] for group, title in groups.items()]
    note = (
        "Test accuracy in % on 200 Sentinel-2 tiles of EuroSAT, 10 classes, 32×32, three times five-fold "
        "cross-validation, 95 % bootstrap interval over tiles. Fill and method were chosen on validation tiles: "
        f"{FILLS[fill]}; {METHODS[method].title}."
    )
    return f"{markdown_table(['', *columns], lines)}\n\n{note}"


def two_sources() -> str:
    """What a second sensor with other bands gives."""
    rows = select(_rows(), data="two sources")
    best = {who: best_source(rows, who) for who in ("A+B", "B")}
    lines = []
    for name, method in TWO_SOURCES.items():
        cells = []
        for who in ("B", "A+B"):
            some = select(rows, method=f"{who}: {name}")
            mark = "**" if f"{who}: {name}" == best[who] else ""
            cells.append(f"{mark}{_cell(some, 'b')}{mark}" if some else "")
        gain = paired(select(rows, method=f"A+B: {name}"), select(rows, method=f"B: {name}"), "b")
        cells.append("" if gain is None else f"{gain[0]:+.1f} ({gain[1]:+.1f} to {gain[2]:+.1f})")
        lines.append([method.title, *cells])
    titles = ["stem", "B alone", "A and B", "A and B minus B alone, points"]
    note = "Test accuracy in % on tiles as B sees them, 95 % bootstrap interval over tiles; bold: best on validation."
    return f"{markdown_table(titles, lines)}\n\n{note}"


def promises() -> str:
    """Each claim of the result file, and whether it holds."""
    found = json.loads((RESULTS / "bands-cpu.json").read_text())["claims"]
    lines = []
    for claim in found:
        asked = f"{claim['op'].replace('>=', '≥').replace('<=', '≤')} {claim['bound']:g}"
        lines.append([f"`{claim['id']}`", asked, f"{claim['value']:.2f}", "yes" if claim["holds"] else "no"])
    return markdown_table(["claim", "asked for", "found", "holds"], lines)


def many_bands() -> str:
    """Time and memory by the number of channels, from `many_bands-cpu.json`."""
    found = json.loads((RESULTS / "many_bands-cpu.json").read_text())
    numbers = sorted({row["channels"] for row in found["rows"]})
    lines = []
    for step in ("train", "evaluate"):
        for stem in ("mean", "completion", "wavelength"):
            cells = []
            for count in numbers:
                some = select(found["rows"], step=step, stem=stem, channels=count)
                time = 1000 * statistics.median(row["seconds"] for row in some)
                memory = max(row["peak_bytes"] for row in some) / 2**20
                cells.append(f"{time:.0f} ms, {memory:.0f} MiB")
            lines.append([f"{step}, stem {stem}", *cells])
    time, memory = (claim["value"] for claim in found["claims"])
    note = (
        f"Medians of one step; resnet8, 32 images of 32×32, half of the channels. The largest exponent of growth is "
        f"{time:.2f} for time and {memory:.2f} for memory (1 is proportional)."
    )
    return f"{markdown_table(['step', *(f'{count} channels' for count in numbers)], lines)}\n\n{note}"


BAND_TABLES: dict[str, Callable[[], str]] = {
    "bands_front": front,
    "bands_eurosat": eurosat,
    "bands_two_sources": two_sources,
    "bands_cells": cells,
    "bands_cells_without_background": cells_without_background,
    "bands_samson": samson,
    "bands_claims": promises,
    "many_bands": many_bands,
}


def _lines(rows: Rows) -> dict[str, Rows]:
    """What is drawn."""
    fill, method = best_frozen(rows), best_method(rows)
    plain = select(rows, method=PLAIN)
    return {
        f"plain network, {FILLS[fill]}": select(plain, fill=fill, batch_norm="shared"),
        "plain network, completion, own statistics": select(plain, fill="completion", batch_norm="own"),
        f"subset training: {METHODS[method].title}": select(rows, method=method),
    }


def digest(name: str) -> str:
    """Changes when what a picture shows does."""
    rows = select(_rows(), data="eurosat")
    shown = [[title, [_cell(some, group) for group in ("all", "half", "few")]] for title, some in _lines(rows).items()]
    return hashlib.sha256(json.dumps([name, shown]).encode()).hexdigest()[:16]


def draw(name: str, folder: Path) -> None:
    """Draw a picture into a folder."""
    rows = select(_rows(), data="eurosat")
    groups = {"all": "all 13 bands", "half": "6 of 13\nat random", "few": "red, green,\nblue"}
    figure = Figure(figsize=(7.5, 3.6), layout="constrained")
    axes = figure.subplots()
    lines = _lines(rows)
    colours = ("#b8c0c8", "#6f9bc6", "#1f5f9f")
    for number, (title, some) in enumerate(lines.items()):
        values = [np.array(list(by_image(outcomes(some, group)).values())) for group in groups]
        means = np.array([value.mean() for value in values])
        ends = np.abs(np.array([bootstrap(value) for value in values]).T / 100 - means)
        places = np.arange(len(groups)) + 0.26 * (number - 1)
        axes.bar(places, means, 0.24, yerr=ends, capsize=3, label=title, color=colours[number])
    axes.axhline(0.1, color="black", lw=0.8, ls=":")
    axes.text(2.68, 0.105, "chance", ha="right", va="bottom", fontsize=8)
    axes.set_xlim(-0.5, 2.7)
    axes.set_xticks(range(len(groups)), list(groups.values()))
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_ylabel("test accuracy")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="upper right")
    figure.savefig(folder / f"{name}.png", dpi=150, metadata={"Source": digest(name)})
