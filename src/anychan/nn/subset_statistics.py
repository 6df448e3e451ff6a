"""Batch-norm statistics of a model's own for each subset of its channels, kept with its weights.

Under channel sampling one running mean and variance is an average over subsets that fits none of them. Slimmable
networks met the same with widths, and gave each width statistics of its own: Yu et al. 2019, Slimmable Neural Networks
(arXiv 1812.08928), §3.3. There is one set for each subset up to 16 subsets, and above that one for each number of
channels: 8,191 subsets of 13 bands would need 8,191 sets, and those of equal size differ least. Of many channels, some
numbers share what was measured for one of them (see `measure_subsets`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anychan.nn.batch_norm import batch_norm_buffers

__all__ = ["SubsetStatistics", "rule_for"]

_SETS_UP_TO = 16


def rule_for(num_channels: int) -> str:
    """`"subset"` where 2^C − 1 sets are few enough to keep, else `"size"`."""
    return "subset" if 2**num_channels - 1 <= _SETS_UP_TO else "size"


class SubsetStatistics(nn.Module):
    """The running statistics of every batch norm, a row for each subset or each number of channels.

    Shapes: for a batch norm of F maps, (rows, F) for its means and (rows, F) for its variances.

    Args:
        model: whose batch norms they are for; each row starts as a copy of its own.
        num_channels: C.
        rule: `"subset"`: 2^C − 1 rows; `"size"`: C rows. All channels are the last row of both.

    Source: statistics by width in Yu et al. 2019, Slimmable Neural Networks (arXiv 1812.08928), §3.3.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from anychan.nn import SubsetStatistics
        >>> saved = SubsetStatistics(nn.BatchNorm2d(8), num_channels=3, rule="subset")
        >>> saved.row((0, 2)), saved.read(4)["running_mean"].shape
        (4, torch.Size([8]))
    """

    def __init__(self, model: nn.Module, *, num_channels: int, rule: str) -> None:
        super().__init__()
        self.rule = rule
        self.num_channels = num_channels
        self.num_rows = num_channels if rule == "size" else 2**num_channels - 1
        self._names: dict[str, str] = {}  # the model's buffer name → ours, which must not hold dots
        for name, buffer in batch_norm_buffers(model).items():
            if buffer.is_floating_point():  # not num_batches_tracked, which only training reads
                self._names[name] = name.replace(".", "__")
                self.register_buffer(self._names[name], buffer.expand(self.num_rows, *buffer.shape).clone())

    def row(self, index: tuple[int, ...]) -> int:
        """The row of one subset, given as positions in any order."""
        return len(index) - 1 if self.rule == "size" else sum(1 << position for position in index) - 1

    def rows(self, present: Tensor) -> Tensor:
        """(N,) the row of each image's subset; `present` is (N, C) bool."""
        weights = [1 if self.rule == "size" else 1 << position for position in range(self.num_channels)]
        return (present * present.new_tensor(weights, dtype=torch.long)).sum(1) - 1

    def take_from(self, known: SubsetStatistics) -> None:
        """Fill the rows from those of fewer channels, which are the first of ours; the rule is the same.

        A subset has what its known part had, a size what it had; without any known channel, or beyond the known number,
        it has what all known channels had.
        """
        everything = 2**known.num_channels - 1
        for row in range(self.num_rows):
            source = min(row, known.num_rows - 1) if self.rule == "size" else ((row + 1) & everything) - 1
            for ours in self._names.values():
                getattr(self, ours)[row] = getattr(known, ours)[source]  # -1 is the last row, all known channels

    def read(self, row: int | Tensor) -> dict[str, Tensor]:
        """One row by the names of the model's buffers, (F,) each; or of each image's row (N,), (N, F) each."""
        return {name: getattr(self, ours)[row] for name, ours in self._names.items()}

    def write(self, row: int, model: nn.Module) -> None:
        """Keep what the model's batch norms hold now as one row."""
        for name, buffer in batch_norm_buffers(model).items():
            if name in self._names:
                getattr(self, self._names[name])[row] = buffer
