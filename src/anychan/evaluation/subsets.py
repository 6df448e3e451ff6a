"""The subset report: one model's accuracy on every subset of its channels."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anychan.channels import ChannelSet
from anychan.data.batches import Batch
from anychan.evaluation.accuracy import wilson_interval
from anychan.evaluation.calibration import expected_calibration_error
from anychan.evaluation.choice import default_subsets, sampled_subsets
from anychan.evaluation.outcomes import subset_outcomes
from anychan.evaluation.paired import mcnemar
from anychan.evaluation.partial import PartialOutcomes, fingerprint
from anychan.evaluation.shapley import ChannelWorth, channel_worth
from anychan.evaluation.smallest import SmallestSensor, find_smallest_sensor
from anychan.evaluation.violations import Violations, find_violations
from anychan.models.base import AnyChannelModel
from anychan.nn.batch_norm import batch_norm_buffers

__all__ = ["SubsetReport", "SubsetRow", "evaluate_splits", "evaluate_subsets"]


@dataclass(frozen=True, eq=False)
class SubsetRow:
    """Accuracy on one subset of the channels.

    Args:
        channels: names (identities where names would clash), in the model's order.
        correct: (N,) bool, which images were classified right.
        confidence: (N,) the largest softmax value of each image, 0 to 1.
        p_value: of McNemar's exact two-sided test against the full set of channels, where that was evaluated; not
            corrected for the number of subsets.
    """

    channels: tuple[str, ...]
    correct: Tensor
    confidence: Tensor | None = None
    p_value: float | None = None

    @property
    def n(self) -> int:
        """Number of images."""
        return len(self.correct)

    @cached_property
    def accuracy(self) -> float:
        """Share of images classified right, 0 to 1."""
        return int(self.correct.sum()) / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy."""
        return wilson_interval(int(self.correct.sum()), self.n)

    @cached_property
    def calibration_error(self) -> float | None:
        """Expected calibration error in 15 bins, 0 to 1, where confidences are known."""
        if self.confidence is None:
            return None
        return expected_calibration_error(self.confidence.numpy(), self.correct.numpy())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON and CSV."""
        low, high = self.interval
        return {
            "channels": list(self.channels),
            "accuracy": self.accuracy,
            "low": low,
            "high": high,
            "n": self.n,
            "p_value": self.p_value,
            "calibration_error": self.calibration_error,
        }


@dataclass(frozen=True, eq=False)
class SubsetReport:
    """Accuracy on many subsets.

    Args:
        rows: one a subset.
        possible: how many subsets there are in all, 2^C - 1.
        batch_norm: `"own"` when each subset had batch-norm statistics measured for it, `"saved"` when those that the
            model holds for each were used, `"shared"` when the model's were used throughout, `"no"` without batch norm.
        guessed: (N,) bool, which images a guess without any channel gets right.
        sampled: positions of the rows that were drawn at random from all subsets.
    """

    rows: tuple[SubsetRow, ...]
    possible: int
    batch_norm: str
    guessed: Tensor | None = None
    sampled: tuple[int, ...] = ()

    def row(self, channels: Iterable[str]) -> SubsetRow:
        """The row of one subset, whatever the order of its names."""
        wanted = frozenset(channels)
        return next(row for row in self.rows if frozenset(row.channels) == wanted)

    @cached_property
    def full(self) -> SubsetRow | None:
        """The row of all channels, if that was evaluated."""
        return next((row for row in self.rows if len(row.channels) == self.possible.bit_length()), None)

    @property
    def table(self) -> list[dict[str, Any]]:
        """One dict a subset: channels, accuracy, low, high, n, p_value, calibration_error."""
        return [row.to_dict() for row in self.rows]

    @cached_property
    def no_shapley(self) -> str | None:
        """Why there are no Shapley values, if there are none."""
        if len(frozenset(frozenset(row.channels) for row in self.rows)) < self.possible:
            return f"{len(self.rows):,} of {self.possible:,} subsets were evaluated, but Shapley values need all"
        return "no training labels were given to guess from without any channel" if self.guessed is None else None

    @cached_property
    def shapley(self) -> ChannelWorth | None:
        """What each channel is worth; `None` when not all subsets were evaluated (see `no_shapley`)."""
        if self.no_shapley is not None or self.full is None or self.guessed is None:
            return None
        subsets = [row.channels for row in self.rows]
        return channel_worth(self.full.channels, subsets, self._correct(), self.guessed.numpy())

    @cached_property
    def violations(self) -> Violations:
        """Where one channel more is significantly worse, among the evaluated subsets."""
        return find_violations([row.channels for row in self.rows], self._correct())

    @property
    def sample_mean(self) -> tuple[float, float] | None:
        """Mean accuracy over all subsets as estimated from the sampled ones, and its standard error.

        s / √n · √(1 − n / all): the error of not having evaluated all, on these same images; 0 when all were drawn.
        """
        values = [self.rows[position].accuracy for position in self.sampled]
        if len(values) < 2:
            return None
        error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
        return float(np.mean(values)), error * math.sqrt(1 - len(values) / self.possible)

    def smallest_sensor(
        self, validation: SubsetReport, *, within: float = 0.02, costs: Mapping[str, float] | None = None
    ) -> SmallestSensor:
        """The cheapest subset within a stated loss, chosen on `validation`, tested here: `find_smallest_sensor`."""
        return find_smallest_sensor(validation, self, within=within, costs=costs)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        mean = self.sample_mean
        return {
            "batch_norm": self.batch_norm,
            "possible_subsets": self.possible,
            "subsets": self.table,
            "sample": None if mean is None else {"n": len(self.sampled), "mean": mean[0], "standard_error": mean[1]},
            "shapley": None if self.shapley is None else self.shapley.to_dict(),
            "shapley_reason": self.no_shapley,
            "violations": self.violations.to_dict(),
        }

    def _correct(self) -> np.typing.NDArray[np.bool_]:
        return np.stack([row.correct.numpy() for row in self.rows])


def evaluate_subsets(
    model: AnyChannelModel,
    batches: Iterable[Batch],
    *,
    subsets: Sequence[ChannelSet] | None = None,
    sample: int = 0,
    seed: int = 0,
    calibration: Sequence[Tensor] | None = None,
    train_labels: Tensor | None = None,
    partial: Path | None = None,
) -> SubsetReport:
    """Accuracy of one model on subsets of its channels.

    Args:
        model: the model; it is put into eval mode.
        batches: all channels' images and labels; read once, and held on the model's device.
        subsets: the subsets; `None` is `default_subsets`.
        sample: so many more, drawn at random from all subsets.
        seed: for the sample.
        calibration: batches of training images with all channels, augmented as in training, on which each subset's own
            batch-norm statistics are measured; `None` uses those that the model holds.
        train_labels: the training images' labels, from which Shapley values take what a guess is worth.
        partial: an .npz file to keep results in as they are done, and to go on from; it stays when all are done.

    Raises:
        ChannelError: for a subset with a channel that the model does not know.
        ConfigError: for a sample of more subsets than there are.
        RunError: when `partial` cannot be written.
    """
    chosen = {"subsets": subsets, "sample": sample, "seed": seed}
    kept = {"calibration": calibration, "train_labels": train_labels, "partial": partial}
    return evaluate_splits(model, {"images": batches}, **chosen, **kept)["images"]  # type: ignore[arg-type]


def evaluate_splits(
    model: AnyChannelModel,
    splits: Mapping[str, Iterable[Batch]],
    *,
    subsets: Sequence[ChannelSet] | None = None,
    sample: int = 0,
    seed: int = 0,
    calibration: Sequence[Tensor] | None = None,
    train_labels: Tensor | None = None,
    partial: Path | None = None,
) -> dict[str, SubsetReport]:
    """As `evaluate_subsets`, for several splits in one go: each subset's statistics are measured once."""
    model.eval()
    channels = model.channels
    named = default_subsets(channels) if subsets is None else subsets
    drawn = [channels.indices(subset) for subset in (sampled_subsets(channels, sample, seed=seed) if sample else ())]
    # each once, in the model's order
    chosen = list(dict.fromkeys([*(tuple(sorted(channels.indices(subset))) for subset in named), *drawn]))
    place = {index: row for row, index in enumerate(chosen)}
    held = {split: list(batches) for split, batches in splits.items()}
    together = [batch for batches in held.values() for batch in batches]
    done = None if partial is None else _found_in(partial, model, together, calibration, chosen)
    outcomes = subset_outcomes(model, together, chosen, calibration=calibration, done=done)
    commonest = None if train_labels is None else torch.bincount(train_labels.cpu()).argmax()
    reports, start = {}, 0
    for split, batches in held.items():
        labels = torch.cat([batch.labels.cpu() for batch in batches])
        part = slice(start, start := start + len(labels))
        names = [tuple(channels.labels[i] for i in index) for index in chosen]
        cut = [(torch.from_numpy(right[part]), torch.from_numpy(sure[part])) for right, sure in outcomes]
        rows = [SubsetRow(name, *outcome) for name, outcome in zip(names, cut, strict=True)]
        reports[split] = SubsetReport(
            rows=_with_p_values(rows, len(channels)),
            possible=2 ** len(channels) - 1,
            batch_norm=_whose_statistics(model, calibration),
            guessed=None if commonest is None else labels == commonest,
            sampled=tuple(place[index] for index in drawn),
        )
    return reports


def _whose_statistics(model: AnyChannelModel, calibration: Sequence[Tensor] | None) -> str:
    if calibration is not None:
        return "own"
    if not batch_norm_buffers(model):
        return "no"
    return "shared" if model.subset_statistics is None else "saved"


def _found_in(
    partial: Path,
    model: AnyChannelModel,
    batches: Sequence[Batch],
    calibration: Sequence[Tensor] | None,
    chosen: Sequence[tuple[int, ...]],
) -> PartialOutcomes:
    images = sum(len(batch.labels) for batch in batches)
    key = fingerprint(model, batches, calibration)
    done = PartialOutcomes(partial, key, images=images, channels=len(model.channels))
    if found := sum(index in done for index in chosen):
        print(f"{partial}: {found:,} of {len(chosen):,} subsets were evaluated before; going on", file=sys.stderr)
    return done


def _with_p_values(rows: Sequence[SubsetRow], num_channels: int) -> tuple[SubsetRow, ...]:
    full = next((row for row in rows if len(row.channels) == num_channels), None)
    if full is None:
        return tuple(rows)
    lost = [int((full.correct & ~row.correct).sum()) for row in rows]
    won = [int((row.correct & ~full.correct).sum()) for row in rows]
    return tuple(replace(row, p_value=p) for row, p in zip(rows, mcnemar(lost, won).tolist(), strict=True))
