"""Several finished runs side by side, as the reports' tables: accuracy, MACs, parameters, training time, a rival."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from anychan.errors import RunError
from anychan.evaluation.accuracy import paired_ratio, unpack_bits
from anychan.files import read_json, replacing
from anychan.models.pretrained import load
from anychan.profiling.macs import profile
from anychan.report.plots import plot_runs
from anychan.report.tables import markdown_table, share_text
from anychan.training.run_folder import RunFolder

__all__ = ["Comparison", "compare_runs", "comparison_table", "run_names", "write_comparison"]

RIVAL = "resnet34"  # of both reports


@dataclass(frozen=True)
class Comparison:
    """Finished runs, in the order in which they were named.

    Args:
        rows: one a run: plain values for JSON.
        curves: run → rows of its metrics.csv.
        rival: the run that ratios refer to, if there is one.
        notes: what a reader must know, a sentence each.
    """

    rows: tuple[dict[str, Any], ...]
    curves: Mapping[str, Sequence[Mapping[str, float]]]
    rival: str | None
    notes: tuple[str, ...]


def compare_runs(paths: Sequence[str | Path], *, rival: str | Path | None = None) -> Comparison:
    """Collect what finished runs say of themselves; nothing is trained or tested anew.

    Args:
        paths: run folders.
        rival: the run folder that accuracies are divided by; default: the first run of a ResNet34.

    Raises:
        RunError: for a folder that is no finished run, is named twice, or was never tested; or a rival not among them.
    """
    folders = [Path(path) for path in paths]
    rows = [_facts(name, folder) for name, folder in zip(run_names(folders), folders, strict=True)]
    reference = _find_rival(rows, [folder.absolute() for folder in folders], rival)
    notes = ["Accuracy of the epoch that the recipe keeps, with Wilson's 95 % interval; MACs of one image."]
    for row in rows:
        row["ratio"] = None
        if reference is not None and row["images"] == reference["images"]:
            ours, theirs = (unpack_bits(entry["correct"], entry["n"]) for entry in (row, reference))
            row["ratio"] = paired_ratio(ours, theirs)
    if reference is not None:
        notes.append(f"Ratio: accuracy over that of {reference['run']} on the same test images, paired 95 % interval.")
    if len({row["images"] for row in rows}) > 1:
        notes.append("Not all runs were tested on the same images: their accuracies are no comparison.")
    if len({row["device"] for row in rows}) > 1 or len({row["threads"] for row in rows}) > 1:
        notes.append("Training times are of different devices or numbers of threads.")
    curves = {row["run"]: RunFolder(folder).load_metrics() for row, folder in zip(rows, folders, strict=True)}
    return Comparison(tuple(rows), curves, None if reference is None else reference["run"], tuple(notes))


def run_names(folders: Sequence[Path]) -> list[str]:
    """What to call each run: its folder's name, or its path where names would clash.

    Raises:
        RunError: for a run that is named twice.
    """
    places = [folder.absolute() for folder in folders]
    twice = next((place for place in places if places.count(place) > 1), None)
    if twice is not None:
        raise RunError(f"{twice}: this run was named twice; name each once")
    short = [place.name for place in places]
    return short if len(set(short)) == len(short) else [str(folder) for folder in folders]


def _facts(name: str, path: Path) -> dict[str, Any]:
    folder = RunFolder(path)
    recipe = folder.load_recipe()
    if not folder.result.exists():
        raise RunError(f"{path}: the run is not finished; the same `anychan train` command goes on with it")
    try:
        found = read_json(folder.result)
        test = {key: found["test"][key] for key in ("channels", "accuracy", "low", "high", "n", "images", "correct")}
        facts = {key: found[key] for key in ("epochs", "train_seconds", "device", "threads", "precision", "seed")}
    except (OSError, ValueError, TypeError, KeyError):
        raise RunError(
            f"{folder.result}: the file is damaged, of an older anychan, or of a run that was never tested; train the "
            "run anew by `anychan train`"
        ) from None
    if not folder.load_metrics():
        raise RunError(f"{folder.metrics}: there are no epochs here; train the run anew")
    model = load(path)
    channels = model.channels.select(test.pop("channels"))
    cost = profile(model, (1, len(channels), recipe.data.size, recipe.data.size), channels=channels)
    head = {"run": name, "model": model.name, "channels": "+".join(channels.labels)}
    return {**head, **test, "macs": cost.macs, "params": cost.params, **facts}


def _find_rival(
    rows: Sequence[dict[str, Any]], places: Sequence[Path], rival: str | Path | None
) -> dict[str, Any] | None:
    if rival is None:
        return next((row for row in rows if row["model"] == RIVAL), None)
    wanted = Path(rival).absolute()
    if wanted not in places:
        raise RunError(f"{rival}: the rival is not among the runs; name it there too")
    return rows[places.index(wanted)]


def _ratio_text(ratio: tuple[float, float, float] | None) -> str:
    return "–" if ratio is None else f"{ratio[0]:.2f} ({ratio[1]:.2f} to {ratio[2]:.2f})"


def _cells(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Titles and rows as text, for the terminal and Markdown."""
    titles = ["run", "model", "channels", "accuracy", "n", "MACs", "parameters", "epochs", "training"]
    lines = []
    for row in comparison.rows:
        accuracy = share_text(row["accuracy"], row["low"], row["high"])
        counts = [str(row["n"]), f"{row['macs']:,}", f"{row['params']:,}", str(row["epochs"])]
        line = [row["run"], row["model"], row["channels"], accuracy, *counts, f"{row['train_seconds'] / 60:.1f} min"]
        if comparison.rival is not None:
            line.append("1" if row["run"] == comparison.rival else _ratio_text(row["ratio"]))
        lines.append(line)
    return titles + ([] if comparison.rival is None else [f"ratio to {comparison.rival}"]), lines


def comparison_table(comparison: Comparison) -> Table:
    """The table for the terminal, its notes below."""
    titles, lines = _cells(comparison)
    table = Table(caption="\n".join(comparison.notes), caption_justify="left")
    for title in titles:
        left = title in ("run", "model", "channels")
        table.add_column(title, justify="left" if left else "right", no_wrap=title in ("run", "accuracy", "MACs"))
    for line in lines:
        table.add_row(*map(escape, line))
    return table


def write_comparison(comparison: Comparison, folder: Path) -> None:
    """Write compare.md, compare.csv and curves.png.

    Raises:
        RunError: when the folder cannot be written to.
    """
    titles, lines = _cells(comparison)
    left_out = ("correct", "images", "ratio")
    plain = [{key: value for key, value in row.items() if key not in left_out} for row in comparison.rows]
    for row, entry in zip(plain, comparison.rows, strict=True):
        row |= dict(zip(("ratio", "ratio_low", "ratio_high"), entry["ratio"] or ("", "", ""), strict=True))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / "compare.md") as partial:
            text = "\n\n".join([markdown_table(titles, lines), *comparison.notes])
            partial.write_text(text + "\n", encoding="utf-8")
        with replacing(folder / "compare.csv") as partial, partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(plain[0]))
            writer.writeheader()
            writer.writerows(plain)
        plot_runs(comparison.curves, folder / "curves.png", title="validation (solid) and training (dashed)")
    except OSError as error:
        raise RunError(f"{folder}: the comparison cannot be written there ({error.strerror})") from None
