"""The main job on real images: train by the recipes as they stand, then evaluate every subset of R, G and B.

Rows are written as they are done; a stopped run goes on where it was.

    python benchmarks/first_light.py --scale cpu --data path/to/tiny-imagenet-50.zip
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from results_file import RESULTS, ResultFile, claim

from anychan.data.batches import Augment
from anychan.evaluation.accuracy import pack_bits
from anychan.evaluation.run import evaluate_run, load_run
from anychan.recipe import Recipe
from anychan.report.finish import finish_run
from anychan.training.fit import fit
from anychan.training.run_folder import RunFolder

RECIPES = ("quickstart", "plain", "dynamic_resnet12")
_ROOT = Path(__file__).parent.parent


def claims(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`quickstart_rgb_low`: the Wilson lower bound of quickstart.yaml's accuracy on all three channels."""
    full = [
        subset["low"]
        for row in rows
        if row["recipe"] == "quickstart" and row["batch_norm"] == "shared"
        for subset in row["subsets"]
        if len(subset["channels"]) == 3
    ]
    return [claim("quickstart_rgb_low", full[0], ">=", 0.3)] if full else []


def train_and_evaluate(name: str, results: ResultFile, data_path: str, scratch: Path, *, epochs: int | None) -> None:
    """Train by one recipe and add a row for each kind of batch-norm statistics."""
    recipe = Recipe.load(_ROOT / "recipes" / f"{name}.yaml")
    recipe.data.path = data_path
    if results.scale == "gpu":  # all classes at their own size
        recipe.data.num_classes, recipe.data.size = None, 64
    if epochs is not None:
        recipe.train.epochs, recipe.train.warmup_epochs = epochs, 0
    out = scratch / name
    fit(recipe, out, finish=finish_run)
    model, data = load_run(out)
    run = json.loads(RunFolder(out).result.read_text())
    for own in (False, True):
        augment = Augment(recipe.train.crop_padding, recipe.train.flip)
        report = evaluate_run(model, data, batch_norm="own" if own else "shared", augment=augment)
        subsets = [{**row.to_dict(), "correct": pack_bits(row.correct)} for row in report.rows]
        facts = {"model": model.name, "stem": model.contract.stem, "sampling": recipe.train.channel_sampling}
        size = {"classes": len(data.classes), "size": recipe.data.size, "epochs": run["epochs"]}
        spent = {"train_seconds": round(run["train_seconds"], 1), "best_epoch": run["best_epoch"]}
        key = {"recipe": name, "batch_norm": report.batch_norm, "seed": recipe.seed}
        results.add({**key, **facts, **size, **spent, "subsets": subsets})


def main() -> None:
    """Parse options and run what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scale", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--data", required=True, help="tiny-imagenet-50.zip")
    parser.add_argument("--epochs", type=int, default=None, help="fewer epochs, to rehearse; no result is kept")
    parser.add_argument("--fresh", action="store_true", help="measure every row anew")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = RESULTS if options.epochs is None else Path(scratch)
        results = ResultFile("first_light", options.scale, claims, folder=folder)
        if options.fresh:
            results.rows = []
        for name in RECIPES:
            if not results.has(recipe=name, batch_norm="own"):
                results.rows = [row for row in results.rows if row["recipe"] != name]
                train_and_evaluate(name, results, options.data, Path(scratch), epochs=options.epochs)


if __name__ == "__main__":
    main()
