"""The tables and pictures of docs/two-reports.md, from `reports-cpu.json` alone."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from report_rows import REPORT_ROWS, SUGGESTIONS
from results_file import RESULTS, percent

from anychan.evaluation.accuracy import paired_ratio, unpack_bits, wilson_interval
from anychan.report.plots import plot_runs
from anychan.report.tables import markdown_table

__all__ = [
    "PICTURES",
    "REPORT_TABLES",
    "curves_of",
    "digest",
    "draw",
    "load_rows",
    "printed_ratio",
    "printed_text",
    "ratio_text",
    "rows_of",
]

Row = dict[str, Any]
PICTURES = {
    "curves-1a": ("1A", "Report 1, problem A"),
    "curves-1b": ("1B", "Report 1, problem B"),
    "curves-2a": ("2A", "Report 2, task A: DynamicResNet12"),
    "curves-2b": ("2B", "Report 2, task B"),
}
_SUBSETS = ("R G B", "R G", "R B", "G B", "R", "G", "B")


def load_rows() -> list[Row]:
    """All rows of the CPU scale."""
    return json.loads((RESULTS / "reports-cpu.json").read_text())["rows"]  # type: ignore[no-any-return]


def rows_of(table: str, kind: str = "report") -> list[Row]:
    """One table's rows of seed 0, in the order of the reports."""
    order = [*REPORT_ROWS, *SUGGESTIONS]
    rows = [row for row in load_rows() if (row["table"], row["kind"], row["seed"]) == (table, kind, 0)]
    return sorted(rows, key=lambda row: order.index(row["row"].removesuffix("/generators")))


def _arrow(row: Row, key: str) -> str:
    full, here = row["full"][key], row["here"][key]
    return str(full) if full == here else f"{full} → {here}"


def _epochs(row: Row) -> str:
    trained, most = row["here"]["epochs_trained"], row["here"]["epochs"]
    return f"{row['full']['epochs']} → {most}" + (f", stopped after {trained}" if trained < most else "")


def _short(value: float) -> str:
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.4g} {name}"
    return f"{value:g}"


def printed_text(row: Row) -> str:
    """A printed accuracy with the interval that its number of images gives."""
    printed = row["printed"]
    low, high = wilson_interval(round(printed["accuracy"] * printed["n"]), printed["n"])
    return percent({"accuracy": printed["accuracy"], "low": low, "high": high})


def printed_ratio(row: Row, rival: Row) -> str:
    """Of two printed accuracies; nobody knows which images, so as if each had its own."""
    if row is rival:
        return "1"
    ours, theirs, n = row["printed"]["accuracy"], rival["printed"]["accuracy"], row["printed"]["n"]
    spread = math.exp(1.96 * math.sqrt((1 - ours) / (ours * n) + (1 - theirs) / (theirs * n)))
    ratio = ours / theirs
    return f"{ratio:.2f} ({ratio / spread:.2f} to {ratio * spread:.2f})"


def ratio_text(row: Row, rival: Row) -> str:
    """Our ratio on the same test images."""
    if row is rival:
        return "1"
    ours, theirs = (unpack_bits(each["test"]["correct"], each["test"]["n"]) for each in (row, rival))
    ratio = paired_ratio(ours, theirs)
    return "–" if ratio is None else f"{ratio[0]:.2f} ({ratio[1]:.2f} to {ratio[2]:.2f})"


def results(table: str) -> str:
    """One table of a report: what it printed, what we measured, and every reduction."""
    rows = rows_of(table)
    rival = next((row for row in rows if row["row"].endswith("/resnet34")), None)
    titles = ["system", "accuracy in the report", "accuracy here"]
    titles += ["ratio in the report", "ratio here"] if rival else []
    timed = rows[0]["printed"]["minutes"] is not None
    titles += ["classes", "pixels", "epochs", "precision", *["training in the report"] * timed, "training here"]
    lines = []
    for row in rows:
        line = [row["printed"]["title"], printed_text(row), percent(row["test"])]
        line += [printed_ratio(row, rival), ratio_text(row, rival)] if rival else []
        line += [_arrow(row, "classes"), _arrow(row, "size"), _epochs(row), _arrow(row, "precision")]
        line += [f"{row['printed']['minutes']:g} min"] if timed else []
        lines.append([*line, f"{row['here']['train_seconds'] / 60:.1f} min"])
    first = rows[0]
    note = (
        f"Accuracy in %, 95 % Wilson interval: n = {first['printed']['n']} in the report, {first['test']['n']} here, "
        f"where chance is {100 / first['here']['classes']:.0f} %. Batches of {first['here']['batch_size']}, as in the "
        "report. An arrow is a reduction. Ratio: accuracy over ResNet34's."
    )
    return f"{markdown_table(titles, lines)}\n\n{note if rival else note.rpartition(' Ratio')[0]}"


def costs(table: str) -> str:
    """What the report counted, and what our network costs at the report's full size."""
    titles = ["system", "recipe", "MACs in the report", "MACs", "parameters in the report", "parameters"]
    lines = []
    for row, cost in zip(rows_of(table), rows_of(table, "cost"), strict=True):
        printed = row["printed"]
        counts = [_short(printed["macs"]), f"{cost['macs']:,}", _short(printed["params"]), f"{cost['params']:,}"]
        lines.append([printed["title"], f"`{row['row']}.yaml`", *counts])
    return markdown_table(titles, lines)


def zeroed() -> str:
    """Report 1's networks with channels set to zero."""
    titles = ["system", *_SUBSETS, "all, dropped as in training"]
    lines = []
    for row in rows_of("1A"):
        found = {" ".join(entry["channels"]): percent(entry) for entry in row["subsets"]}
        dropped = percent(row["test_dropped"]) if "test_dropped" in row else "–"
        lines.append([row["printed"]["title"], *(found[name] for name in _SUBSETS), dropped])
    return markdown_table(titles, lines)


def generators() -> str:
    """The generators fed as many channels as each is for; untrained ones in italics."""
    titles = ["system", *_SUBSETS, "never trained"]
    lines = []
    for row in rows_of("1A", "generators"):
        entries = {" ".join(entry["channels"]): entry for entry in row["subsets"]}
        cells = [f"*{percent(entries[s])}*" if entries[s]["untrained"] else percent(entries[s]) for s in _SUBSETS]
        which = " and ".join(map(str, row["untrained_counts"]))
        lines.append([f"`{row['row'].split('/')[1]}`", *cells, f"for {which} channels"])
    for row in rows_of("count", "suggestion"):
        for key, statistics in (("subsets", "shared"), ("subsets_own", "own")):
            found = {" ".join(entry["channels"]): percent(entry) for entry in row[key]}
            name = f"`{row['row'].removeprefix('suggestions/')}`, {statistics} statistics"
            lines.append([name, *(found[s] for s in _SUBSETS), "none"])
    return markdown_table(titles, lines)


def all_subsets() -> str:
    """DynamicResNet12: seven networks, each on its own channels, beside the RGB network on all seven subsets."""
    titles = ["", *_SUBSETS]
    rows = rows_of("2A")
    own = {" ".join(row["test"]["channels"]): percent(row["test"]) for row in rows}
    one = {" ".join(entry["channels"]): percent(entry) for entry in rows[0]["subsets"]}
    lines = [["a network for each", *(own[name] for name in _SUBSETS)]]
    lines.append(["the RGB network alone", *(one[name] for name in _SUBSETS)])
    return markdown_table(titles, lines)


def suggestions(table: str) -> str:
    """One table of ablations: accuracy by seed, difference to the base by seed, cost."""
    order = list(SUGGESTIONS)
    rows = [row for row in load_rows() if row["table"] == table and row["kind"] in ("suggestion", "variant")]
    # variants such as "suggestions/dynamic_resnet12/top2" follow the row that they were made from
    rows.sort(key=lambda row: (order.index("/".join(row["row"].split("/")[:2])), row["row"].count("/"), row["seed"]))
    names = list(dict.fromkeys(row["row"] for row in rows))
    by_key = {(row["row"], row["seed"]): row for row in rows}
    titles = [
        "change",
        "test accuracy by seed",
        "difference by seed, points",
        "parameters",
        "MACs",
        "time of one image",
    ]
    lines = []
    for name in names:
        found = [row for row in rows if row["row"] == name]
        base = found[0]["base"]
        pairs = [(row, by_key[base, row["seed"]]) for row in found if base]
        differences = [100 * (row["test"]["accuracy"] - other["test"]["accuracy"]) for row, other in pairs]
        cost = found[0]
        low, high = cost["time_quartiles"]
        lines.append(
            [
                found[0]["title"],
                ", ".join(f"{100 * row['test']['accuracy']:.1f}" for row in found),
                ", ".join(f"{difference:+.1f}" for difference in differences) or "–",
                f"{cost['params']:,}",
                f"{cost['macs']:,}",
                f"{cost['time_ratio']:.2f} ({low:.2f} to {high:.2f})",
            ]
        )
    here, test = rows[0]["here"], rows[0]["test"]
    half = 50 * (test["high"] - test["low"])
    note = (
        f"{here['classes']} classes at {here['size']}×{here['size']}, {here['epochs']} epochs; n = {test['n']}, about "
        f"±{half:.1f} points for one accuracy. Time: batch of one, over the report's network, median of 15 interleaved "
        "pairs and quartiles."
    )
    return f"{markdown_table(titles, lines)}\n\n{note}"


REPORT_TABLES: dict[str, Callable[[], str]] = {
    "results_1a": lambda: results("1A"),
    "costs_1a": lambda: costs("1A"),
    "zeroed": zeroed,
    "generators": generators,
    "results_1b": lambda: results("1B"),
    "costs_1b": lambda: costs("1B"),
    "results_2a": lambda: results("2A"),
    "costs_2a": lambda: costs("2A"),
    "all_subsets": all_subsets,
    "results_2b": lambda: results("2B"),
    "costs_2b": lambda: costs("2B"),
    "suggestions_wide": lambda: suggestions("wide"),
    "suggestions_dynamic": lambda: suggestions("dynamic"),
}


def curves_of(name: str) -> dict[str, list[dict[str, float]]]:
    """Legend → epochs of one picture."""
    return {row["printed"]["title"]: row["curves"] for row in rows_of(PICTURES[name][0])}


def digest(name: str) -> str:
    """Fingerprint of what a picture shows; the PNG carries it, so that a stale one is found."""
    return hashlib.sha256(json.dumps(curves_of(name), sort_keys=True).encode()).hexdigest()


def draw(name: str, folder: Path) -> Path:
    """Draw one picture into a folder."""
    path = folder / f"{name}.png"
    title = f"{PICTURES[name][1]}: validation (solid) and training (dashed)"
    plot_runs(curves_of(name), path, title=title, metadata={"Source": digest(name)})
    return path
