"""What every training run ends with: curves as a picture, and the best epoch tested once."""

from __future__ import annotations

import hashlib
from typing import Any

from anychan.data.dataset import ImageData, Split
from anychan.evaluation.accuracy import pack_bits
from anychan.evaluation.run import evaluate_run
from anychan.evaluation.subsets import SubsetRow
from anychan.models.base import AnyChannelModel
from anychan.report.plots import plot_curves
from anychan.report.tables import accuracy_text
from anychan.training.run_folder import RunFolder

__all__ = ["finish_run"]


def finish_run(folder: RunFolder, model: AnyChannelModel, data: ImageData, best_epoch: int) -> dict[str, Any]:
    """Write curves.png, test the best epoch on all channels (or the recipe's), and print the result.

    Args:
        folder: the run's.
        model: its best epoch.
        data: its images.
        best_epoch: 0 for the first.

    Returns:
        `{"test": {"channels", "accuracy", "low", "high", "n", "correct", "images"}}` for run.json: which images were
        classified right (packed bits), and a fingerprint of the images, so that runs can be compared in pairs.
    """
    plot_curves(folder.load_metrics(), folder.path / "curves.png", title=model.name, best_epoch=best_epoch)
    chosen = folder.load_recipe().train.channels
    row: SubsetRow = evaluate_run(model, data, subsets=[data.channels.select(chosen or data.channels)]).rows[0]
    channels = "all channels" if chosen is None else f"channels {'+'.join(row.channels)}"
    print(f"test accuracy {accuracy_text(row)}, n = {row.n}, {channels}, epoch {best_epoch + 1}")
    images = {"correct": pack_bits(row.correct), "images": _fingerprint(data.splits["test"])}
    return {"test": {**row.to_dict(), **images}}


def _fingerprint(split: Split) -> str:
    """Of names and labels, in order; sizes and channels may differ between runs that are compared."""
    text = "\n".join(f"{name} {label}" for name, label in zip(split.names, split.labels.tolist(), strict=True))
    return hashlib.sha256(text.encode()).hexdigest()
