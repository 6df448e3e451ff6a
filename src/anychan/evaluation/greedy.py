"""A greedy search for good subsets of many channels: one channel more at a time, on validation images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from anychan.channels import ChannelSet
from anychan.data.batches import Batch
from anychan.errors import ConfigError
from anychan.evaluation.evaluate import partial_outcomes
from anychan.evaluation.outcomes import subset_outcomes
from anychan.models.base import AnyChannelModel

__all__ = ["GreedySearch", "greedy_search"]


@dataclass(frozen=True)
class GreedySearch:
    """What a forward selection found.

    Args:
        path: the found subset of 1 channel, of 2, and so on, each the one before and one channel more.
        added: the channel that came in at each step.
        accuracies: of each on the images that the search looked at, 0 to 1: too high, as the best of many.
        looked_at: how many subsets were evaluated.
        n: on how many images.
    """

    path: tuple[ChannelSet, ...]
    added: tuple[str, ...]
    accuracies: tuple[float, ...]
    looked_at: int
    n: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        steps = [
            {"added": name, "channels": list(subset.labels), "validation_accuracy": accuracy}
            for name, subset, accuracy in zip(self.added, self.path, self.accuracies, strict=True)
        ]
        return {"method": "greedy", "subsets_looked_at": self.looked_at, "validation_n": self.n, "steps": steps}


def greedy_search(
    model: AnyChannelModel,
    batches: Sequence[Batch],
    channels: ChannelSet,
    *,
    up_to: int,
    calibration: Sequence[Tensor] | None = None,
    flip: bool = False,
    partial: Path | None = None,
) -> GreedySearch:
    """Start with the best single channel, and add the channel with which accuracy is highest, up to so many.

    Of equal ones the first in order is taken. C + (C − 1) + … subsets are evaluated, k at most: the search is not
    exhaustive, and a pair of channels that are good only together is missed. It goes on where a channel more hurts.

    Args:
        model: the model; it is put into eval mode.
        batches: validation images with all channels, and labels.
        channels: those of the images, in their order.
        up_to: the largest number of channels, 1 to C.
        calibration: as `evaluate_subsets`.
        flip: as `evaluate_subsets`.
        partial: as `evaluate_subsets`.

    Raises:
        ConfigError: for an `up_to` that is not between 1 and C.
        RunError: when `partial` cannot be written.

    Source: forward selection of Whitney 1971, A direct method of nonparametric measurement selection, IEEE Transactions
    on Computers C-20(9).
    """
    if not 1 <= up_to <= len(channels):
        raise ConfigError(f"a search up to {up_to} channels was asked for, but there are 1 to {len(channels)}")
    model.eval()
    done = None if partial is None else partial_outcomes(partial, model, batches, channels, calibration, flip=flip)
    order: list[int] = []
    accuracies: list[float] = []
    looked_at = 0
    for _ in range(up_to):
        left = [position for position in range(len(channels)) if position not in order]
        subsets = [tuple(sorted([*order, position])) for position in left]
        outcomes = subset_outcomes(
            model, batches, subsets, channels=channels, calibration=calibration, flip=flip, done=done
        )
        found = [float(correct.mean()) for correct, _ in outcomes]
        best = int(np.argmax(found))
        order.append(left[best])
        accuracies.append(found[best])
        looked_at += len(subsets)
    path = [
        ChannelSet((channels[i] for i in sorted(order[: size + 1])), source=channels.source) for size in range(up_to)
    ]
    labels = channels.labels
    images = sum(len(batch.labels) for batch in batches)
    return GreedySearch(tuple(path), tuple(labels[i] for i in order), tuple(accuracies), looked_at, images)
