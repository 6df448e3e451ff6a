"""What is measured on each trained row of `shallow.py`."""

from __future__ import annotations

import json
from typing import Any

from torch import Tensor

from anychan.data.batches import EvalBatches
from anychan.data.dataset import Split
from anychan.evaluation.accuracy import classified, pack_bits, wilson_interval
from anychan.evaluation.flip import with_flips
from anychan.evaluation.run import load_run
from anychan.models.base import AnyChannelModel
from anychan.recipe import Recipe
from anychan.training.build import with_network
from anychan.training.run_folder import RunFolder

__all__ = ["evaluate_folder", "last_quarter_gain"]

Found = dict[str, Any]


def evaluate_folder(folder: RunFolder, recipe: Recipe, *, before: RunFolder | None = None, every: int = 1) -> Found:
    """A finished run's row: how it was trained, and its accuracies with and without flips.

    Args:
        folder: the run's.
        recipe: by which it should have been trained.
        before: the run that it went on with; its epochs and its time count too.
        every: evaluate every so many-th image, to rehearse.
    """
    trained, recipe = folder.load_recipe(), with_network(recipe)
    if (trained.model, trained.train, trained.seed) != (recipe.model, recipe.train, recipe.seed):
        raise ValueError(f"{folder.path}: the run there was trained by another recipe; delete it to train it anew")
    model, data = load_run(folder.path)
    parts = [each for each in (before, folder) if each]
    runs = [json.loads(part.result.read_text()) for part in parts]
    epochs = [epoch for part in parts for epoch in part.load_metrics()]
    run, earlier = runs[-1], sum(each["epochs"] for each in runs[:-1])
    kept = ("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy")
    train = recipe.train
    return {
        "classes": len(data.classes),
        "size": recipe.data.size,
        "epochs": earlier + train.epochs,
        "epochs_trained": len(epochs),
        "best_epoch": earlier + run["best_epoch"],
        "batch_size": train.batch_size,
        "progressive_sizes": train.progressive_sizes,
        "precision": run["precision"],
        "train_images": run["images"]["train"],
        "train_seconds": round(sum(each["train_seconds"] for each in runs), 1),
        "threads": run["threads"],
        "last_quarter_gain": last_quarter_gain([epoch["val_accuracy"] for epoch in epochs]),
        "curves": [{**{key: round(epoch[key], 5) for key in kept}, "epoch": at} for at, epoch in enumerate(epochs)],
        **{
            f"{split}{'_flips' if flips else ''}": _accuracy(model, _every(data.splits[split], every), flips=flips)
            for split in ("val", "test")
            for flips in (False, True)
        },
    }


def last_quarter_gain(accuracies: list[float]) -> float:
    """Points that the best epoch of all is above the best of the first three quarters; 0 for too short a run."""
    early = accuracies[: len(accuracies) * 3 // 4]
    return 100 * (max(accuracies) - max(early or accuracies))


def _accuracy(model: AnyChannelModel, split: Split, *, flips: bool) -> Found:
    def classify(images: Tensor) -> Tensor:
        return model(images.to(next(model.parameters()).device))  # type: ignore[no-any-return]

    correct = classified(with_flips(classify) if flips else classify, EvalBatches(split)).correct
    low, high = wilson_interval(int(correct.sum()), len(correct))
    accuracy = {"accuracy": correct.float().mean().item(), "low": low, "high": high}
    return {"n": len(correct), **accuracy, "correct": pack_bits(correct)}


def _every(split: Split, step: int) -> Split:
    """Every so many-th image."""
    return Split(split.images[::step], split.labels[::step], split.names[::step])
