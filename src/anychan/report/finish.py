"""What every training run ends with: curves as a picture, and the best epoch tested once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch

from anychan.data.dataset import ImageData, Split
from anychan.evaluation.accuracy import pack_bits
from anychan.evaluation.run import evaluate_run
from anychan.evaluation.subsets import SubsetRow
from anychan.models.base import AnyChannelModel
from anychan.report.plots import plot_curves
from anychan.report.tables import accuracy_text
from anychan.training.run_folder import RunFolder

__all__ = ["finish_run", "images_fingerprint"]


def finish_run(folder: RunFolder, model: AnyChannelModel, data: ImageData, best_epoch: int) -> dict[str, Any]:
    """Write curves.png, test the best epoch on all channels (or the recipe's), and print the result.

    Args:
        folder: the run's.
        model: its best epoch.
        data: its images.
        best_epoch: 0 for the first.

    Returns:
        `{"test": {"channels", "accuracy", "low", "high", "n", "correct", "images"}}` for run.json: which images were
        classified right (packed bits), and a fingerprint of the images, so that runs can be compared in pairs. Several
        sources are together there, and one by one, without these two, in `"test_of_sources"`.
    """
    plot_curves(folder.load_metrics(), folder.path / "curves.png", title=model.name, best_epoch=best_epoch)
    chosen = folder.load_recipe().train.channels
    rows: dict[str, SubsetRow] = {}
    for name in data.sources:
        part = data.source(name)
        rows[name] = evaluate_run(model, part, subsets=[part.channels.select(chosen or part.channels)]).rows[0]
        channels = "all channels" if chosen is None else f"channels {'+'.join(rows[name].channels)}"
        if len(data.sources) > 1:
            channels = f"{name} ({'+'.join(rows[name].channels)})"
        print(f"test accuracy {accuracy_text(rows[name])}, n = {rows[name].n}, {channels}, epoch {best_epoch + 1}")
    correct = torch.cat([row.correct for row in rows.values()])
    seen = next(iter(rows.values())).channels if len(rows) == 1 else data.channels.labels
    images = {"correct": pack_bits(correct), "images": images_fingerprint(data.parts("test"))}
    test = {"test": {**SubsetRow(seen, correct).to_dict(), **images}}
    return test if len(rows) == 1 else {**test, "test_of_sources": {name: row.to_dict() for name, row in rows.items()}}


def images_fingerprint(parts: Sequence[Split]) -> str:
    """Of names and labels, in order; sizes and channels may differ between runs that are compared."""
    pairs = (pair for part in parts for pair in zip(part.names, part.labels.tolist(), strict=True))
    text = "\n".join(f"{name} {label}" for name, label in pairs)
    return hashlib.sha256(text.encode()).hexdigest()
