"""Evaluate one model on many subsets of its channels: which subsets, on which images, into which report."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anychan.channels import ChannelSet
from anychan.data.batches import Batch
from anychan.evaluation.choice import default_subsets, nested_subsets, random_orders, sampled_subsets
from anychan.evaluation.outcomes import subset_outcomes
from anychan.evaluation.paired import mcnemar
from anychan.evaluation.partial import Outcome, PartialOutcomes, fingerprint
from anychan.evaluation.subsets import SubsetReport, SubsetRow
from anychan.models.base import AnyChannelModel
from anychan.nn.batch_norm import batch_norm_buffers

__all__ = ["evaluate_splits", "evaluate_subsets", "partial_outcomes"]

Index = tuple[int, ...]


def evaluate_subsets(
    model: AnyChannelModel,
    batches: Iterable[Batch],
    *,
    channels: ChannelSet | None = None,
    subsets: Sequence[ChannelSet] | None = None,
    sample: int = 0,
    orders: int = 0,
    seed: int = 0,
    calibration: Sequence[Tensor] | None = None,
    train_labels: Tensor | None = None,
    flip: bool = False,
    partial: Path | None = None,
) -> SubsetReport:
    """Accuracy of one model on subsets of its channels.

    Args:
        model: the model; it is put into eval mode.
        batches: all channels' images and labels; read once, and held on the model's device.
        channels: those of the images, in their order; default: all of the model's.
        subsets: the subsets; `None` is `default_subsets`.
        sample: so many more, drawn at random from all subsets.
        orders: estimate Shapley values from so many random orders of the channels: the first channel of each, the first
            two, and so on up to all are evaluated too.
        seed: for the sample and the orders.
        calibration: batches of training images with all channels, augmented as in training, on which each subset's own
            batch-norm statistics are measured; `None` uses those that the model holds.
        train_labels: the training images' labels, from which Shapley values take what a guess is worth.
        flip: average the probabilities of each image and of its mirror image, left to right, at twice the work.
        partial: an .npz file to keep results in as they are done, and to go on from; it stays when all are done.

    Raises:
        ChannelError: for a subset with a channel that the model does not know.
        ConfigError: for a sample of more subsets than there are, or fewer than two orders.
        RunError: when `partial` cannot be written.
    """
    chosen = {"channels": channels, "subsets": subsets, "sample": sample, "orders": orders, "seed": seed}
    how = {"calibration": calibration, "train_labels": train_labels, "flip": flip, "partial": partial}
    return evaluate_splits(model, {"images": batches}, **chosen, **how)["images"]  # type: ignore[arg-type]


def evaluate_splits(
    model: AnyChannelModel,
    splits: Mapping[str, Iterable[Batch]],
    *,
    channels: ChannelSet | None = None,
    subsets: Sequence[ChannelSet] | None = None,
    sample: int = 0,
    orders: int = 0,
    seed: int = 0,
    calibration: Sequence[Tensor] | None = None,
    train_labels: Tensor | None = None,
    flip: bool = False,
    partial: Path | None = None,
) -> dict[str, SubsetReport]:
    """As `evaluate_subsets`, for several splits in one go: each subset's statistics are measured once."""
    model.eval()
    channels = model.channels if channels is None else channels
    chosen, drawn, permutations = _choose(channels, subsets, sample, orders, seed)
    held = {split: list(batches) for split, batches in splits.items()}
    together = [batch for batches in held.values() for batch in batches]
    how: dict[str, Any] = {"channels": channels, "calibration": calibration, "flip": flip}
    done = None if partial is None else partial_outcomes(partial, model, together, **how)
    _tell_found(done, chosen)
    outcomes = subset_outcomes(model, together, chosen, **how, done=done)
    commonest = None if train_labels is None else torch.bincount(train_labels.cpu()).argmax()
    reports, start = {}, 0
    for split, batches in held.items():
        labels = torch.cat([batch.labels.cpu() for batch in batches])
        part = slice(start, start := start + len(labels))
        reports[split] = SubsetReport(
            rows=_rows(channels, chosen, outcomes, part),
            possible=2 ** len(channels) - 1,
            batch_norm=_whose_statistics(model, calibration),
            flip=flip,
            guessed=None if commonest is None else labels == commonest,
            sampled=tuple(chosen.index(index) for index in drawn),
            orders=tuple(tuple(channels.labels[i] for i in order) for order in permutations),
        )
    return reports


def _choose(
    channels: ChannelSet, subsets: Sequence[ChannelSet] | None, sample: int, orders: int, seed: int
) -> tuple[list[Index], list[Index], list[Index]]:
    """All subsets to evaluate, each once and in the order of the channels; those drawn at random; the random orders."""
    named = default_subsets(channels) if subsets is None else subsets
    drawn = [channels.indices(subset) for subset in (sampled_subsets(channels, sample, seed=seed) if sample else ())]
    permutations = random_orders(len(channels), orders, seed=seed) if orders else []
    nested = [index for order in permutations for index in nested_subsets(order)]
    together = [*(tuple(sorted(channels.indices(subset))) for subset in named), *drawn, *nested]
    return list(dict.fromkeys(together)), drawn, permutations


def partial_outcomes(
    path: Path,
    model: AnyChannelModel,
    batches: Sequence[Batch],
    channels: ChannelSet,
    calibration: Sequence[Tensor] | None,
    *,
    flip: bool = False,
) -> PartialOutcomes:
    """What a file holds for this model on these images, and where more is kept."""
    images = sum(len(batch.labels) for batch in batches)
    key = fingerprint(model, batches, calibration, channels, flip=flip)
    return PartialOutcomes(path, key, images=images, channels=len(channels))


def _tell_found(done: PartialOutcomes | None, chosen: Sequence[Index]) -> None:
    if done is not None and (found := sum(index in done for index in chosen)):
        print(f"{done.path}: {found:,} of {len(chosen):,} subsets were evaluated before; going on", file=sys.stderr)


def _whose_statistics(model: AnyChannelModel, calibration: Sequence[Tensor] | None) -> str:
    if calibration is not None:
        return "own"
    if not batch_norm_buffers(model):
        return "no"
    return "shared" if model.subset_statistics is None else "saved"


def _rows(
    channels: ChannelSet, chosen: Sequence[Index], outcomes: Sequence[Outcome], part: slice
) -> tuple[SubsetRow, ...]:
    """One split's rows, with p-values against all channels."""
    labels = channels.labels
    rows = [
        SubsetRow(tuple(labels[i] for i in index), torch.from_numpy(right[part]), torch.from_numpy(sure[part]))
        for index, (right, sure) in zip(chosen, outcomes, strict=True)
    ]
    full = next((row for row in rows if len(row.channels) == len(channels)), None)
    if full is None:
        return tuple(rows)
    lost = [int((full.correct & ~row.correct).sum()) for row in rows]
    won = [int((row.correct & ~full.correct).sum()) for row in rows]
    return tuple(replace(row, p_value=p) for row, p in zip(rows, mcnemar(lost, won).tolist(), strict=True))
