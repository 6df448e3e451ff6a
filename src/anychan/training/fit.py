"""One run from a recipe to a tested model: the loop is Lightning's, the rest is here from top to bottom."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins.environments import TorchElasticEnvironment  # type: ignore[attr-defined]
from pytorch_lightning.strategies import DDPStrategy
from rich.console import Console

from anychan.data.batches import Augment, calibration_batches
from anychan.data.dataset import ImageData
from anychan.data.index import SPLITS
from anychan.errors import ConfigError, RunError
from anychan.files import write_json
from anychan.models.base import AnyChannelModel
from anychan.models.channel_mapping import mapping_table
from anychan.models.measure import measure_subsets
from anychan.models.pretrained import model_digest, save
from anychan.models.stem_choice import PARTLY_USED
from anychan.nn.convolve import short_strides
from anychan.randomness import only_deterministic
from anychan.recipe import Recipe
from anychan.recipe_checks import check_values
from anychan.training.alone import alone
from anychan.training.build import build_model, load_images, start_warnings, with_network
from anychan.training.callbacks import EndBySignal, EpochLog, KeepCheckpoints
from anychan.training.checkpoint_io import SafeCheckpointIO, newest_whole
from anychan.training.ema import WeightAverage
from anychan.training.finite import StopWhereNotFinite
from anychan.training.fit_checks import check_shares
from anychan.training.precision import resolve_precision
from anychan.training.processes import GO_ON, agreed, is_first, joined, local_size, size
from anychan.training.run_folder import RunFolder, versions
from anychan.training.sources import source_facts, source_warnings
from anychan.training.step_bar import StepBar
from anychan.training.sync_batch_norm import SyncBatchNorms
from anychan.training.task import ClassificationTask

# (run folder, best model, data, best epoch) → more entries for run.json
Finish = Callable[[RunFolder, AnyChannelModel, ImageData, int], dict[str, Any]]

__all__ = ["build_model", "build_trainer", "fit", "load_best", "quiet_lightning"]


def build_trainer(recipe: Recipe, callbacks: list[Callback], *, stem: str | None = None, **options: Any) -> pl.Trainer:
    """Lightning's trainer as every run uses it: our checkpoints, no logger, dataloaders made anew each epoch.

    Of several processes, each has the same batches, because it takes its share of them itself; they have to know which
    `stem` the model has.
    """
    several: dict[str, Any] = {}
    plugins: list[Any] = []
    if size() > 1:
        strategy = DDPStrategy(find_unused_parameters=stem in PARTLY_USED, broadcast_buffers=False)
        several = {"strategy": strategy, "num_nodes": size() // local_size()}
        plugins = [SyncBatchNorms(), TorchElasticEnvironment()]  # Slurm, which Lightning asks first, numbers otherwise
    return pl.Trainer(
        max_epochs=recipe.train.epochs,
        precision="bf16-mixed" if resolve_precision(recipe.train.precision) == "bf16" else "32-true",
        accelerator="gpu" if torch.cuda.is_available() else "cpu",
        devices=local_size(),
        logger=False,
        callbacks=callbacks,
        plugins=[SafeCheckpointIO(), *plugins],
        use_distributed_sampler=False,
        reload_dataloaders_every_n_epochs=1,  # train_dataloader() takes the epoch from the trainer
        num_sanity_val_steps=0,
        enable_model_summary=False,
        enable_progress_bar=False,  # ours is a callback
        **several,
        **options,
    )


def fit(
    recipe: Recipe,
    out: str | Path,
    *,
    log_every: int = 1,
    finish: Finish | None = None,
    limit_batches: int | None = None,
) -> AnyChannelModel:
    """Train by a recipe into a run folder, going on where an unfinished run of the same recipe stopped.

    Where `torchrun` has started several processes, they share the work, and the first one writes. The best epoch by
    validation is kept as model.safetensors + contract.json; where channels were sampled, with batch-norm statistics for
    every subset (see `measure_subsets`).

    Args:
        recipe: the run.
        out: the run folder.
        log_every: print a line each so many epochs.
        finish: called at the end with the folder, the best model, the data and the best epoch; what it returns joins
            run.json.
        limit_batches: train and validate on so few batches of each epoch, to rehearse; default: all.

    Returns:
        The best epoch's model, in eval mode.

    Raises:
        AnychanError: one of its kinds, before anything is written, when recipe, data or folder cannot be used.
    """
    check_values(recipe)
    if limit_batches is not None and limit_batches < 1:
        raise ConfigError(f"limit_batches is {limit_batches}, but it must be 1 or more")
    recipe = recipe.map_paths(lambda path: str(Path(path).absolute()))  # so that it holds from any folder
    recipe = with_network(recipe)  # before any image is decoded
    folder = RunFolder(out)
    kept_out = alone(folder.path) if is_first() else nullcontext()
    with joined(str(out)), only_deterministic(recipe.train.deterministic), kept_out:
        data = load_images(recipe)
        model = build_model(recipe, data)
        task = ClassificationTask(model, recipe, data)
        check_shares(task.train_dataloader(), size())
        notes = _begun(model, recipe) + task.prepare_teachers() + _warnings(model, recipe, data)
        checkpoint, warned = agreed(_to_go_on_from(folder, recipe) if is_first() else (None, []))
        start = _start(model, recipe, folder, checkpoint is not None)
        console = Console(stderr=True, quiet=not is_first())
        for text in (_summary(recipe, data, checkpoint is not None), *notes, *warned):
            console.print(text, highlight=False, soft_wrap=True)
        if is_first():
            folder.remove_partial()
        started, processes = time.perf_counter(), size()
        limits = {"limit_train_batches": limit_batches, "limit_val_batches": limit_batches}
        best = _run_epochs(task, folder, checkpoint, _callbacks(recipe, data, folder, log_every, console), limits)
    best_epoch = load_best(model, folder, best)
    _measure(model, recipe, data)
    if is_first():
        save(model, folder.path)
        facts = source_facts(data) | start | {"processes": processes}
        facts |= _facts(folder, recipe, data, best_epoch, time.perf_counter() - started)
        write_json(folder.result, {**facts, **(finish(folder, model, data, best_epoch) if finish else {})})
    return model


def _to_go_on_from(folder: RunFolder, recipe: Recipe) -> tuple[Path | None, list[str]]:
    """The run's newest whole checkpoint, `None` for a new run; and what to warn of."""
    return newest_whole([folder.last, folder.previous]) if folder.open(recipe) else (None, [])


def _run_epochs(
    task: ClassificationTask,
    folder: RunFolder,
    checkpoint: Path | None,
    callbacks: list[Callback],
    limits: dict[str, Any],
) -> int:
    """The best epoch."""
    with quiet_lightning():
        trainer = build_trainer(task.recipe, callbacks, stem=task.model.contract.stem, **limits)
        # Lightning's own way out is SystemExit, after Ctrl-C (code 1) and SIGTERM (code 0)
        with short_strides(task.model), suppress(SystemExit):
            trainer.fit(task, ckpt_path=None if checkpoint is None else str(checkpoint), weights_only=True)
    if trainer.interrupted:
        raise RunError(f"{folder.path}: training was interrupted; {GO_ON}")
    kept = trainer.checkpoint_callback
    assert isinstance(kept, KeepCheckpoints)
    return kept.best_epoch


def _warnings(model: AnyChannelModel, recipe: Recipe, data: ImageData) -> list[str]:
    return [f"warning: {text}" for text in start_warnings(recipe, data) + source_warnings(model.contract, data)]


def _begun(model: AnyChannelModel, recipe: Recipe) -> list[str]:
    """Which weights the model begins with, if they were not drawn."""
    if model.warm_start is not None:
        return [f"weights of {recipe.model.init_from} ({model.warm_start.saved}):\n{model.warm_start}"]
    return [f"first layer's kernels:\n{mapping_table(model.mapping)}"] if model.mapping else []


def _start(model: AnyChannelModel, recipe: Recipe, folder: RunFolder, resumes: bool) -> dict[str, Any]:
    """What the model took of a saved one, kept in the folder, so that a run goes on only where it began.

    Raises:
        RunError: when the saved model is another one now.
    """
    if model.warm_start is None:
        return {}
    found = {"digest": model_digest(str(recipe.model.init_from)), **model.warm_start.to_dict()}
    if resumes and folder.load_start().get("digest") != found["digest"]:
        raise RunError(
            f"{recipe.model.init_from}: the model is not the one that the run in {folder.path} began with; put that "
            "one back, or give another folder with --out"
        )
    if is_first():
        write_json(folder.start, found)
    return {"init_from": found}


def load_best(model: AnyChannelModel, folder: RunFolder, epoch: int = 0) -> int:
    """Give a model the weights and batch-norm statistics of the best epoch, their average by `train.ema`; in eval mode.

    Args:
        model: the run's network.
        folder: the run's.
        epoch: the best epoch, if it is known.

    Returns:
        The best epoch, 0 for the first.

    Raises:
        RunError: when the folder has no whole checkpoint of it.
    """
    checkpoint = folder.read_best(epoch)
    weights = {name.removeprefix("model."): value for name, value in checkpoint["state_dict"].items()}
    model.load_state_dict({name: value for name, value in weights.items() if name in model.state_dict()})
    model.eval()
    return int(checkpoint["epoch"])


def _measure(model: AnyChannelModel, recipe: Recipe, data: ImageData) -> None:
    """Where channels were sampled, measure batch-norm statistics for every subset."""
    ragged = any(part.index is not None for part in data.parts("train"))  # no one average fits every source
    if recipe.train.channel_sampling != "none" or ragged:
        model.to("cuda" if torch.cuda.is_available() else "cpu")
        augment = Augment(recipe.train.crop_padding, recipe.train.flip, crop_scale=recipe.train.crop_scale)
        batches = calibration_batches(data.parts("train"), augment=augment, seed=recipe.seed)
        everything = tuple(range(len(data.channels)))
        with only_deterministic(recipe.train.deterministic):
            measure_subsets(model, [(images, held or everything) for images, _, held in batches], seed=recipe.seed)


def _callbacks(recipe: Recipe, data: ImageData, folder: RunFolder, log_every: int, console: Console) -> list[Callback]:
    """Of several processes, the first writes and tells; a checkpoint they write together, by Lightning's rules."""
    monitor, images, ema = recipe.train.monitor, data.count("train"), recipe.train.ema
    kept = KeepCheckpoints(
        folder,
        monitor=monitor,
        patience=recipe.train.patience,
        seconds=recipe.train.checkpoint_seconds,
        console=console,
    )
    log = EpochLog(folder, images=images, monitor=monitor, every=log_every, console=console)
    return [
        StopWhereNotFinite(),
        *([WeightAverage(ema)] if ema else []),
        *([log, StepBar(console)] if is_first() else []),
        *([EndBySignal()] if size() > 1 else []),
        kept,
    ]


def _facts(folder: RunFolder, recipe: Recipe, data: ImageData, best_epoch: int, seconds: float) -> dict[str, Any]:
    rows = folder.load_metrics()
    return {
        "best_epoch": best_epoch,
        "epochs": len(rows),
        "val_accuracy": rows[best_epoch]["val_accuracy"],
        "images": {split: data.count(split) for split in SPLITS},
        "train_seconds": sum(row["seconds"] for row in rows),
        "seconds_of_last_call": seconds,
        "seed": recipe.seed,
        "precision": resolve_precision(recipe.train.precision),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "versions": versions(),
    }


def _summary(recipe: Recipe, data: ImageData, resumes: bool) -> str:
    counts = ", ".join(f"{data.count(split):,} {split}" for split in SPLITS)
    verb = "going on with" if resumes else "training"
    return (
        f"{verb} {recipe.model.name} on {data.channels.label}, {len(data.classes)} classes, "
        f"{data.resize.size}x{data.resize.size} pixels: {counts} images"
    )


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Hide what Lightning tells on every run (its hardware search, tips, a deprecation inside it); warnings stay."""
    loggers = [logging.getLogger(f"pytorch_lightning.{name}") for name in ("utilities.rank_zero", "callbacks")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="`isinstance.treespec, LeafSpec.` is deprecated")
            warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")  # older PyTorch needs it
            warnings.filterwarnings("ignore", message="It is recommended to use `self.log")  # all have the same
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
