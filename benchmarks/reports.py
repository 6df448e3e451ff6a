"""The two reports' tables on real images: every row trained by its recipe, reduced to a scale that the row states.

Rows are written as they are done, and a row that was stopped goes on after its last whole epoch (its run folder stays
in benchmarks/work/ until then). Suggestions of the reports follow the 19 rows.

    python benchmarks/reports.py --scale cpu --data path/to/tiny-imagenet-50.zip --jobs 2
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from report_evaluation import evaluate_row
from report_rows import REPORT_ROWS, SUGGESTIONS, table_of
from results_file import RESULTS, ResultFile, claim

from anychan.evaluation.run import load_run
from anychan.models.catalog import create_model
from anychan.profiling.macs import profile
from anychan.recipe import Recipe
from anychan.report.finish import finish_run
from anychan.training.fit import fit
from anychan.training.run_folder import RunFolder

ROOT = Path(__file__).parent.parent
WORK = Path(__file__).parent / "work"
SOURCE_CLASSES = 50


@dataclass(frozen=True)
class Scale:
    """What a scale takes from the full protocol.

    Args:
        classes: how many of the 50.
        sizes: table → pixels.
        epochs: table → epochs at most.
        precision: of training.
        seeds: how often each suggestion is trained; the reports' rows are trained once, as in the reports.
    """

    classes: int
    sizes: dict[str, int]
    epochs: dict[str, int]
    precision: str
    seeds: int


SCALES = {
    "cpu": Scale(
        classes=10,
        sizes={"1A": 32, "1B": 64, "2A": 64, "2B": 64, "count": 32, "wide": 32, "dynamic": 32},
        epochs={"1A": 25, "1B": 10, "2A": 6, "2B": 8, "count": 25, "wide": 8, "dynamic": 6},
        precision="auto",
        seeds=2,
    ),
    "gpu": Scale(
        classes=50,
        sizes={"1A": 32, "1B": 224, "2A": 84, "2B": 84, "count": 32, "wide": 84, "dynamic": 84},
        epochs={"1A": 12, "1B": 6, "2A": 15, "2B": 30, "count": 12, "wide": 15, "dynamic": 15},
        precision="auto",
        seeds=1,
    ),
}


def claims(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`rows`: the reports' rows trained 5 epochs or more; `systems_trained`: those well above chance.

    Well above: the Wilson lower bound of the test accuracy is above twice chance.
    """
    ours = [row for row in rows if row["kind"] == "report" and row["here"]["epochs_trained"] >= 5]
    trained = [row for row in ours if row["test"]["low"] > 2 / row["here"]["classes"]]
    return [
        claim("rows", len({row["row"] for row in ours}), ">=", 19),
        claim("systems_trained", len({row["row"] for row in trained}), ">=", 17),
    ]


def recipe_of(row: str) -> Recipe:
    """The row's recipe at full scale."""
    name = row if row in REPORT_ROWS else SUGGESTIONS[row].recipe
    return Recipe.load(ROOT / "recipes" / f"{name}.yaml")


def reduced(recipe: Recipe, table: str, scale: Scale, data_path: str, seed: int) -> Recipe:
    """The recipe as this scale trains it."""
    recipe.data.path, recipe.seed = data_path, seed
    recipe.data.num_classes, recipe.data.size = scale.classes, scale.sizes[table]
    recipe.train.epochs, recipe.train.precision = scale.epochs[table], scale.precision  # type: ignore[assignment]
    return recipe


def protocol(recipe: Recipe, classes: int) -> dict[str, Any]:
    """What a scale may reduce."""
    train = recipe.train
    sizes = {"classes": classes, "size": recipe.data.size, "epochs": train.epochs, "batch_size": train.batch_size}
    return {**sizes, "precision": train.precision}


def add_costs(results: ResultFile) -> None:
    """One row a system: what its network costs at the report's full size, by the code as it is now."""
    for row, printed in REPORT_ROWS.items():
        recipe = recipe_of(row)
        with torch.device("meta"):
            model = create_model(
                recipe.model.name,
                num_classes=recipe.model.num_outputs or SOURCE_CLASSES,
                stem=recipe.model.stem,
                options=recipe.model.options,
            )
        found = profile(model, (1, 3, recipe.data.size, recipe.data.size))
        key = {"row": row, "kind": "cost", "table": printed.table, "seed": 0}
        results.add({**key, "params": found.params, "macs": found.macs}, instead_of=key)


def run_row(job: tuple[str, int, str, str, str, bool]) -> None:
    """Train one row, or go on with it, evaluate it, and add its rows."""
    row, seed, scale_name, data_path, results_folder, rehearse = job
    results = ResultFile("reports", scale_name, claims, folder=Path(results_folder), shared=True)
    if results.has(row=row, seed=seed, kind="report" if row in REPORT_ROWS else "suggestion"):
        return
    scale, table = SCALES[scale_name], table_of(row)
    recipe = reduced(recipe_of(row), table, scale, data_path, seed)
    if rehearse:
        recipe.data.num_classes, recipe.train.epochs = 2, 1
    work = Path(results_folder) / "work" if rehearse else WORK
    out = work / scale_name / f"{row.replace('/', '-')}-{seed}"
    if not RunFolder(out).result.exists():
        fit(recipe, out, finish=finish_run, limit_batches=1 if rehearse else None)
    model, data = load_run(out)
    run = json.loads(RunFolder(out).result.read_text())
    here = protocol(recipe, len(data.classes))
    here |= {"epochs_trained": run["epochs"], "best_epoch": run["best_epoch"], "precision": run["precision"]}
    here |= {"train_images": run["images"]["train"], "train_seconds": round(run["train_seconds"], 1)}
    here |= {"threads": run["threads"], "stopped_early": run["epochs"] < recipe.train.epochs}
    kept = ("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy")
    curves = [{key: round(epoch[key], 5) for key in kept} for epoch in RunFolder(out).load_metrics()]
    facts = {"seed": seed, "table": table, "full": protocol(recipe_of(row), SOURCE_CLASSES), "here": here}
    if row in REPORT_ROWS:
        kind: dict[str, Any] = {"kind": "report", "printed": REPORT_ROWS[row].to_dict()}
    else:
        kind = {"kind": "suggestion", "title": SUGGESTIONS[row].title, "base": SUGGESTIONS[row].base}
    found = list(evaluate_row(row, table, model, data, recipe))  # all of a row or nothing
    results.add(*({"row": row, **kind, **facts, "curves": curves, **each} for each in found))
    shutil.rmtree(out)


def jobs_of(scale: Scale) -> list[tuple[str, int]]:
    """Rows and seeds, in the order in which they are trained: the reports' rows first, later seeds last."""
    first = [(row, 0) for row in [*REPORT_ROWS, *SUGGESTIONS]]
    return [*first, *((row, seed) for seed in range(1, scale.seeds) for row in SUGGESTIONS)]


def _set_threads(threads: int) -> None:
    torch.set_num_threads(threads)


def main() -> None:
    """Parse options and run what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scale", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--data", required=True, help="tiny-imagenet-50.zip")
    parser.add_argument("--jobs", type=int, default=1, help="rows at once, each in a process of its own")
    parser.add_argument("--only", default="", help="rows whose name holds this")
    parser.add_argument("--minutes", type=float, default=1e9, help="start no row after so many minutes")
    parser.add_argument("--rehearse", action="store_true", help="one step a row; no result is kept")
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        folder = scratch if options.rehearse else str(RESULTS)
        wanted = [job for job in jobs_of(SCALES[options.scale]) if options.only in job[0]]
        threads = max(1, (os.cpu_count() or 1) // options.jobs)
        with ProcessPoolExecutor(
            options.jobs, mp_context=get_context("spawn"), initializer=_set_threads, initargs=(threads,)
        ) as pool:
            running = []
            for row, seed in wanted:
                job = (row, seed, options.scale, options.data, folder, options.rehearse)
                running.append(pool.submit(_run_in_time, job, started + 60 * options.minutes))
            for future in running:
                future.result()
        add_costs(ResultFile("reports", options.scale, claims, folder=Path(folder), shared=True))


def _run_in_time(job: tuple[str, int, str, str, str, bool], deadline: float) -> None:
    if time.monotonic() < deadline:
        run_row(job)


if __name__ == "__main__":
    main()
