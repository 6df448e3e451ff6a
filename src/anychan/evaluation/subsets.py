"""The subset report: one model's accuracy on every subset of its channels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import track
from torch import Tensor

from anychan.channels import ChannelSet
from anychan.data.batches import Batch
from anychan.evaluation.accuracy import correct_images, wilson_interval
from anychan.models.base import AnyChannelModel
from anychan.nn.batch_norm import measure_batch_norm

__all__ = ["SubsetReport", "SubsetRow", "default_subsets", "evaluate_subsets"]

_ALL_SUBSETS_UP_TO = 7  # channels: 127 subsets
_SENSOR_RGB = ("red", "green", "blue")


@dataclass(frozen=True, eq=False)
class SubsetRow:
    """Accuracy on one subset of the channels.

    Args:
        channels: names (identities where names would clash), in the model's order.
        correct: (N,) bool, which images were classified right.
    """

    channels: tuple[str, ...]
    correct: Tensor

    @property
    def n(self) -> int:
        """Number of images."""
        return len(self.correct)

    @property
    def accuracy(self) -> float:
        """Share of images classified right, 0 to 1."""
        return int(self.correct.sum()) / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy."""
        return wilson_interval(int(self.correct.sum()), self.n)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON and CSV."""
        low, high = self.interval
        return {
            "channels": list(self.channels),
            "accuracy": self.accuracy,
            "low": low,
            "high": high,
            "n": self.n,
        }


@dataclass(frozen=True, eq=False)
class SubsetReport:
    """Accuracy on many subsets.

    Args:
        rows: one a subset.
        possible: how many subsets there are in all, 2^C - 1.
        batch_norm: `"own"` when each subset had batch-norm statistics measured for it, `"shared"` when the model's were
            used throughout.
    """

    rows: tuple[SubsetRow, ...]
    possible: int
    batch_norm: str

    def row(self, channels: Iterable[str]) -> SubsetRow:
        """The row of one subset, whatever the order of its names."""
        wanted = frozenset(channels)
        return next(row for row in self.rows if frozenset(row.channels) == wanted)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        rows = [row.to_dict() for row in self.rows]
        return {"batch_norm": self.batch_norm, "possible_subsets": self.possible, "subsets": rows}


def default_subsets(channels: ChannelSet) -> list[ChannelSet]:
    """All subsets of up to 7 channels; of more, these: all, red + green + blue, all but one, one alone."""
    if len(channels) <= _ALL_SUBSETS_UP_TO:
        return sorted(channels.subsets(), key=len, reverse=True)
    chosen = [channels]
    if all(name in channels for name in _SENSOR_RGB):
        chosen.append(channels.select(_SENSOR_RGB))
    chosen += [channels - ChannelSet([channel]) for channel in channels]
    return [*chosen, *(ChannelSet([channel]) for channel in channels)]


def evaluate_subsets(
    model: AnyChannelModel,
    batches: Iterable[Batch],
    *,
    subsets: Sequence[ChannelSet] | None = None,
    calibration: Sequence[Tensor] | None = None,
) -> SubsetReport:
    """Accuracy of one model on subsets of its channels.

    Args:
        model: the model; it is put into eval mode.
        batches: all channels' images and labels; read once a subset.
        subsets: the subsets; `None` is `default_subsets`.
        calibration: batches of training images with all channels, on which each subset's own batch-norm statistics are
            measured; `None` uses the model's for all.

    Raises:
        ChannelError: for a subset with a channel that the model does not know.
    """
    model.eval()
    device = next(model.parameters()).device
    channels = model.channels
    chosen = list(subsets) if subsets is not None else default_subsets(channels)
    rows = []
    for subset in _progress(chosen):
        index = channels.indices(subset)
        selection = model.select(subset)
        if calibration is not None:
            measure_batch_norm(selection, (images[:, list(index)].to(device) for images in calibration))
        part = (Batch(images[:, list(index)].to(device), labels) for images, labels in batches)
        names = tuple(channels.labels[i] for i in sorted(index))
        rows.append(SubsetRow(names, correct_images(selection, part)))
    return SubsetReport(tuple(rows), 2 ** len(channels) - 1, "shared" if calibration is None else "own")


def _progress(subsets: list[ChannelSet]) -> Iterator[ChannelSet]:
    console = Console(stderr=True)
    hidden = not console.is_terminal
    yield from track(subsets, "evaluating subsets", console=console, transient=True, disable=hidden)
