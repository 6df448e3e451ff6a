"""Real sensors: satellite bands, microscopy stains and many bands, by every way of coping with absent channels.

Rows are written as they are done; a run that was stopped goes on with the first training that is not there.

    python benchmarks/bands.py --scale cpu --data path/to/data
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from band_claims import claims
from band_data import SOURCE_B, Whole, folds, load_cells, load_eurosat, load_samson, subset_groups, two_sources
from band_rows import FROZEN_FILLS, METHODS, PLAIN, RIVALS, SCALES, TWO_SOURCES, Job, Method, Scale, recipe_of
from results_file import RESULTS, ResultFile

from anychan.data.batches import Augment, Batch, EvalBatches, calibration_images
from anychan.data.dataset import ImageData, Split
from anychan.evaluation.accuracy import pack_bits
from anychan.evaluation.outcomes import subset_outcomes
from anychan.models.base import AnyChannelModel
from anychan.models.catalog import with_changes
from anychan.recipe import Recipe
from anychan.training.fit import build_model, build_trainer, quiet_lightning
from anychan.training.task import ClassificationTask

__all__ = ["claims", "jobs", "main"]

Found = dict[str, Any]
GROUPS = ("all", "few", "half", "leave_one_out", "single")
CORE = ("plain", "tuned", "completion", "zero", "present_mean", "wavelength", "tuned_long", "completion_long")
CELLS = ("cells", "cells, background removed")


def jobs(scale: Scale) -> list[Job]:
    """All trainings, those that the claims need first."""
    cross = [(seed, fold) for seed in range(scale.seeds) for fold in range(scale.eurosat_folds)]
    sources = [f"{who}: {name}" for name in TWO_SOURCES for who in ("A+B", "B")]
    more = [name for name in METHODS if name not in CORE and name != "channel_vit"]
    stains = ("plain", "zero", "present_mean", "completion")  # which have no wavelengths
    found = [Job("eurosat", name, *place) for place in cross for name in CORE]
    found += [Job("two sources", name, *place) for place in cross for name in sources]
    found += [Job(data, name, seed) for data in CELLS for seed in range(scale.seeds) for name in stains]
    found += [Job("samson", name, seed) for seed in range(scale.seeds) for name in (*stains, "wavelength")]
    found += [Job(data, "channel_vit", 0) for data in (*CELLS, "samson")]
    found += [
        Job("eurosat", name, 0, fold) for fold in range(scale.eurosat_folds) for name in ("channel_vit", "plain_long")
    ]
    return [*found, *(Job("eurosat", name, *place) for place in cross for name in more)]


@cache
def _whole(data: str, folder: str, scale: Scale, seed: int) -> Whole:
    if data == "samson":
        return load_samson(Path(folder) / "samson.mat", seed)
    if data in CELLS:
        return load_cells(Path(folder) / "cell-cycle.npz", background=data == CELLS[0])
    return load_eurosat(Path(folder) / "eurosat-ms-mini.zip", scale.eurosat_size)


def train(recipe: Recipe, data: ImageData, *, steps: int = -1, start: AnyChannelModel | None = None) -> AnyChannelModel:
    """A recipe's network after its last epoch, in eval mode, new or from another's weights; nothing is written."""
    model = build_model(recipe, data) if start is None else with_changes(start, stem=recipe.model.stem).train()
    warnings.filterwarnings("ignore", ".*does not have many workers")
    with quiet_lightning():
        options: dict[str, Any] = {"limit_val_batches": 0, "enable_checkpointing": False, "max_steps": steps}
        trainer = build_trainer(recipe, [], **options)
        trainer.fit(ClassificationTask(model, recipe, data))
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def tested(
    model: AnyChannelModel, splits: dict[str, Split], subsets: Sequence[Sequence[str]], *, own: bool, seed: int
) -> dict[str, torch.Tensor]:
    """`"val"` and `"test"` → (subsets, images) bool; `own`: with statistics measured for each subset."""
    held = splits["train"]
    names = model.channels.select(model.channels[i] for i in held.index) if held.index else model.channels
    calibration = None
    if own:
        images = calibration_images(held, augment=Augment(4, True), seed=seed, images=512, batch_size=128)
        calibration = [_all_channels(batch, held, model) for batch in images]
    index = [model.channels.indices(names.select(subset)) for subset in subsets]
    found = {}
    for split in ("val", "test"):
        batches = [Batch(_all_channels(x, splits[split], model), labels) for x, labels, _ in EvalBatches(splits[split])]
        outcomes = subset_outcomes(model, batches, index, calibration=calibration)
        found[split] = torch.from_numpy(np.stack([correct for correct, _ in outcomes]))
    return found


def _all_channels(images: torch.Tensor, split: Split, model: AnyChannelModel) -> torch.Tensor:
    """A source's images in the model's channels; NaN in those that it lacks, which no subset asked for reads."""
    if split.index is None:
        return images
    whole = torch.full((len(images), len(model.channels), *images.shape[2:]), torch.nan)
    whole[:, list(split.index)] = images.float()
    return whole


def _packed(correct: torch.Tensor) -> Found:
    return {"subsets": len(correct), "n": correct.shape[1], "bits": pack_bits(correct.flatten())}


def evaluate(
    model: AnyChannelModel, whole: Whole, splits: dict[str, Split], *, groups: Sequence[str], own: bool, seed: int
) -> Found:
    """Some groups' outcomes, packed."""
    chosen = {name: subsets for name, subsets in subset_groups(whole).items() if name in groups}
    correct = tested(model, splits, [subset for group in chosen.values() for subset in group], own=own, seed=seed)
    found: Found = {"val": {}, "test": {}}
    start = 0
    for name, group in chosen.items():
        for split in found:
            found[split][name] = _packed(correct[split][start : start + len(group)])
        start += len(group)
    return found


def run_job(job: Job, scale: Scale, folder: str, *, steps: int) -> Iterator[Found]:
    """Train one job and give its rows."""
    whole = _whole(job.data, folder, scale, job.seed)
    count, val_share = (4, 0.4) if job.data in CELLS else (scale.eurosat_folds, 0.5)
    place = whole.place or folds(whole.labels, count=count, seed=job.seed, val_share=val_share)[job.fold]
    started = time.perf_counter()
    if job.data == "two sources":
        yield from _run_two_sources(job, whole, place, scale, steps)
        return
    data, method = whole.data(place), METHODS[job.method]
    batch_size = 128 if job.data in CELLS else 32
    how: Found = {"images": len(place["train"]), "passes": scale.passes, "batch_size": batch_size, "seed": job.seed}
    recipe = recipe_of(method, **how)
    if method.model == "channel_vit_tiny":
        side = whole.images.shape[1]
        recipe.model.options = {"image_size": side, "patch_size": min(side, 8 if side % 8 == 0 else side)}
    start = None if method.start is None else train(recipe_of(METHODS[method.start], **how), data, steps=steps)
    model = train(recipe, data, steps=steps, start=start)
    facts: Found = {**job.key, "epochs": recipe.train.epochs, "train_seconds": round(time.perf_counter() - started, 1)}
    facts["images"] = whole.named(place)
    for fill in FROZEN_FILLS if job.method == PLAIN else (method.stem,):
        changed = model if fill == method.stem else with_changes(model, stem=fill)
        for own in (False, True) if job.method in RIVALS else (True,):
            some = GROUPS[:3] if job.method in RIVALS and own else GROUPS
            found = evaluate(changed, whole, data.splits, groups=some, own=own, seed=job.seed)
            yield {**facts, "fill": fill, "batch_norm": "own" if own else "shared", **found}


def _run_two_sources(job: Job, whole: Whole, place: dict[str, list[int]], scale: Scale, steps: int) -> Iterator[Found]:
    """The same number of steps with both sources and with B alone, whose epochs are shorter."""
    who, _, name = job.method.partition(": ")
    method: Method = TWO_SOURCES[name]
    data = two_sources(whole, place, job.seed, both=who == "A+B")
    both = two_sources(whole, place, job.seed, both=True)
    recipe = recipe_of(method, images=both.count("train"), passes=scale.passes * 2 // 3, seed=job.seed)
    per_epoch = [sum(-(-len(part) // 32) for part in some.parts("train")) for some in (data, both)]
    recipe.train.epochs = recipe.train.epochs * per_epoch[1] // per_epoch[0]
    recipe.train.warmup_epochs = recipe.train.epochs / 30
    model = train(recipe, data, steps=steps)
    facts: Found = {**job.key, "epochs": recipe.train.epochs, "steps": recipe.train.epochs * per_epoch[0]}
    facts |= {"images": whole.named(place), "train_images": data.count("train")}
    found = tested(model, data.sources["b"], [SOURCE_B], own=True, seed=job.seed)
    packed = {split: {"b": _packed(correct)} for split, correct in found.items()}
    yield {**facts, "fill": method.stem, "batch_norm": "own", **packed}


def _work(job: Job, scale_name: str, data: str, folder: str, deadline: float, rehearse: bool) -> None:
    results = ResultFile("bands", scale_name, claims, folder=Path(folder), shared=True)
    if time.monotonic() > deadline or results.has(**job.key):
        return
    scale = SCALES[scale_name]
    if rehearse:
        scale = replace(scale, passes=1)
    results.add(*run_job(job, scale, data, steps=1 if rehearse else -1))  # all of a job's rows or nothing


def main() -> None:
    """Parse options and run what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scale", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--data", required=True, help="the folder with eurosat-ms-mini.zip, cell-cycle.npz, samson.mat")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once, each in a process of its own")
    parser.add_argument("--only", default="", help="trainings whose data set or method holds this")
    parser.add_argument("--minutes", type=float, default=1e9, help="start no training after so many minutes")
    parser.add_argument("--rehearse", action="store_true", help="one step a training; no result is kept")
    options = parser.parse_args()
    deadline = time.monotonic() + 60 * options.minutes
    wanted = [job for job in jobs(SCALES[options.scale]) if options.only in f"{job.data} {job.method}"]
    threads = max(1, (os.cpu_count() or 1) // options.jobs)
    with tempfile.TemporaryDirectory() as scratch:
        rest = (options.scale, options.data, scratch if options.rehearse else str(RESULTS), deadline, options.rehearse)
        context = get_context("spawn")
        with ProcessPoolExecutor(options.jobs, context, initializer=torch.set_num_threads, initargs=(threads,)) as pool:
            for future in [pool.submit(_work, job, *rest) for job in wanted]:
                future.result()


if __name__ == "__main__":
    main()
