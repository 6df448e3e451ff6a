"""One set of weights for every subset of R, G and B against seven specialists, one for each subset.

Rows are written as they are done; a run that was stopped goes on after its last whole epoch (run folders stay in
benchmarks/work/).

    python benchmarks/channels.py --scale cpu --data path/to/tiny-imagenet-50.zip --jobs 2
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from channel_claims import best_method, claims
from channel_rows import METHODS, SCALES, SUBSETS, TRIALS, TRIED_ON, TUNED, Job, Scale, recipe_of
from results_file import RESULTS, ResultFile

from anychan.data.batches import Augment, Batch, EvalBatches, calibration_images
from anychan.data.dataset import ImageData
from anychan.evaluation.accuracy import classified, pack_bits
from anychan.evaluation.run import load_run
from anychan.evaluation.subsets import SubsetRow
from anychan.models.base import AnyChannelModel
from anychan.models.catalog import model_from_contract, with_changes
from anychan.models.measure import measure_subsets
from anychan.training.fit import fit, load_best
from anychan.training.run_folder import RunFolder

__all__ = ["claims", "first_jobs", "later_jobs", "main"]

WORK = Path(__file__).parent / "work" / "channels"
FROZEN_FILLS = ("zero", "mean", "rescaled", "present_mean", "completion")
Found = dict[str, Any]


def first_jobs(scale: Scale) -> list[Job]:
    """What the choice on validation needs: every seed's specialists, and the methods at twice their budget."""
    jobs = []
    for seed in range(scale.seeds):
        jobs += [Job("specialist", subset, seed) for subset in SUBSETS]
        jobs += [Job("one", name, seed, budget=2) for name in METHODS]
    return jobs


def later_jobs(scale: Scale, method: str) -> list[Job]:
    """The chosen method at the other budgets, the rival by other recipes, the other methods at one budget."""
    jobs = [Job("one", method, seed, budget) for budget in (7, 1) for seed in range(scale.seeds)]
    jobs += [Job("trial", f"{subset}: {change}", 0) for change in TRIALS for subset in TRIED_ON]
    jobs += [Job("trial", f"{subset}: {TUNED}", 0) for subset in SUBSETS if subset not in TRIED_ON]
    jobs += [Job("tuned", method, 0, budget) for budget in (2, 7)]
    return [*jobs, *(Job("one", name, seed, 1) for name in METHODS if name != method for seed in range(scale.seeds))]


def _evaluate(model: AnyChannelModel, data: ImageData, subsets: Sequence[str] = SUBSETS) -> Found:
    """Accuracy on validation and test images, with the statistics that the model holds for each subset."""
    found: Found = {"val_subsets": [], "subsets": []}
    device = next(model.parameters()).device
    for subset in subsets:
        index, selection = list(data.channels.indices(subset.split("+"))), model.select(subset.split("+"))
        for split, key in (("val", "val_subsets"), ("test", "subsets")):
            batches = (
                Batch(images[:, index].to(device), labels) for images, labels, _ in EvalBatches(data.splits[split])
            )
            row = SubsetRow(tuple(subset.split("+")), *classified(selection, batches))
            found[key].append({**row.to_dict(), "correct": pack_bits(row.correct)})
    return found


def evaluate_job(job: Job, folder: RunFolder, *, images: int) -> Iterator[Found]:
    """A job's rows, with the statistics that training left ("shared") and with each subset's own.

    A specialist's also with its own as measured on images without augmentation ("whole").

    Args:
        job: a finished one.
        folder: its run.
        images: how many training images to measure statistics on, where the run did not.
    """
    model, data = load_run(folder.path)
    train = folder.load_recipe().train
    augment = Augment(train.crop_padding, train.flip)
    calibration = calibration_images(data.splits["train"], augment=augment, seed=job.seed, images=images)
    shared, own = {**job.key, "batch_norm": "shared"}, {**job.key, "batch_norm": "own"}
    if job.kind in ("one", "tuned"):
        trained = model_from_contract(dataclasses.replace(model.contract, batch_norm="shared"))
        load_best(trained, folder)
        device = next(model.parameters()).device
        yield {**shared, **_evaluate(trained.to(device, memory_format=torch.channels_last), data)}  # type: ignore[call-overload]
        yield {**own, **_evaluate(model, data)}
        return
    if job.kind == "trial":
        yield {**shared, **_evaluate(model, data, [job.subset])}
        return
    changes: list[tuple[Found, str | None, list[str]]] = [(job.key, None, [job.name])]
    if job.name == SUBSETS[0]:
        changes += [({**job.key, "kind": "frozen", "name": fill}, fill, SUBSETS[1:]) for fill in FROZEN_FILLS]
    for key, stem, subsets in changes:
        changed = with_changes(model, stem=stem)
        yield {**shared, **key, **_evaluate(changed, data, subsets)}
        measure_subsets(changed, calibration, seed=job.seed)
        yield {**own, **key, **_evaluate(changed, data, subsets)}
    whole = calibration_images(data.splits["train"], seed=job.seed, images=images)
    measure_subsets(model, whole, seed=job.seed)
    yield {**job.key, "batch_norm": "whole", **_evaluate(model, data, [job.name])}


def run_job(work: tuple[Job, str, str, str, bool]) -> None:
    """Train one job, or go on with it, evaluate it, and add its rows."""
    job, scale_name, data_path, results_folder, rehearse = work
    results = ResultFile("channels", scale_name, claims, folder=Path(results_folder), shared=True)
    if results.has(**job.key):
        return
    recipe = recipe_of(job, SCALES[scale_name])
    recipe.data.path = data_path
    if rehearse:
        recipe.data.num_classes, recipe.train.epochs, recipe.train.warmup_epochs = 2, 1, 0
    folder = RunFolder((Path(results_folder) / "work" if rehearse else WORK / scale_name) / job.label)
    if not folder.result.exists():
        fit(recipe, folder.path, log_every=10, limit_batches=1 if rehearse else None)
    run = json.loads(folder.result.read_text())
    passes = METHODS[job.name].passes if job.name in METHODS else 1
    facts = {
        "model": recipe.model.name,
        "classes": recipe.data.num_classes,
        "size": recipe.data.size,
        "epochs": run["epochs"],
        "images_forward_backward": run["epochs"] * run["images"]["train"] * passes,
        "train_seconds": round(run["train_seconds"], 1),
        "threads": run["threads"],
        "precision": run["precision"],
    }
    found = list(evaluate_job(job, folder, images=64 if rehearse else 2048))  # all of a job's rows or nothing
    results.add(*({**row, **facts} for row in found))


def _set_threads(threads: int) -> None:
    torch.set_num_threads(threads)


def _run_in_time(work: tuple[Job, str, str, str, bool], deadline: float) -> None:
    if time.monotonic() < deadline:
        run_job(work)


def main() -> None:
    """Parse options and run what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scale", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--data", required=True, help="tiny-imagenet-50.zip")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, each in a process of its own")
    parser.add_argument("--only", default="", help="runs whose name holds this")
    parser.add_argument("--minutes", type=float, default=1e9, help="start no run after so many minutes")
    parser.add_argument("--rehearse", action="store_true", help="one step a run; no result is kept")
    options = parser.parse_args()
    deadline = time.monotonic() + 60 * options.minutes
    scale = SCALES[options.scale]
    with tempfile.TemporaryDirectory() as scratch:
        folder = scratch if options.rehearse else str(RESULTS)
        threads = max(1, (os.cpu_count() or 1) // options.jobs)

        def run(pool: ProcessPoolExecutor, jobs: list[Job]) -> None:
            wanted = [job for job in jobs if options.only in job.label]
            work = [(job, options.scale, options.data, folder, options.rehearse) for job in wanted]
            for future in [pool.submit(_run_in_time, each, deadline) for each in work]:
                future.result()

        with ProcessPoolExecutor(
            options.jobs, mp_context=get_context("spawn"), initializer=_set_threads, initargs=(threads,)
        ) as pool:
            run(pool, first_jobs(scale))
            rows = ResultFile("channels", options.scale, claims, folder=Path(folder), shared=True).rows
            run(pool, later_jobs(scale, best_method(rows)))


if __name__ == "__main__":
    main()
