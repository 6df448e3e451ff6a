"""What every fill has in common: it is affine in the channels that are present, x_all = M x_present + b.

M is (C, S) and b is (C,). A convolution after it is therefore one convolution with the kernel W M on the present
channels alone, so no fill costs anything at run time beyond the present channels (and one map of ones when b is not
zero, because zero padding ends b at the border).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from anychan.contract import ChannelStatistics

__all__ = ["Fill", "Fold"]


@dataclass(frozen=True)
class Fold:
    """How a kernel over all C channels becomes one over the S present ones.

    Args:
        index: positions of the present channels, in the order in which they are given.
        matrix: (C, S), or `None` when absent channels simply contribute nothing.
        offset: (C,), or `None` when it is zero.

    Example:
        >>> import torch
        >>> from anychan.nn import MeanFill
        >>> fold = MeanFill(torch.zeros(3), torch.ones(3)).fold((2, 0))
        >>> fold.kernel(torch.tensor([[1.0, 10.0, 100.0]]), axis=1)
        tensor([[100.,   1.]])
    """

    index: tuple[int, ...]
    matrix: Tensor | None = None
    offset: Tensor | None = None

    def kernel(self, weight: Tensor, axis: int) -> Tensor:
        """Replace axis `axis` of size C by one of size S, plus one for the map of ones if there is an offset."""
        if self.matrix is None and len(self.index) == 1:
            folded = weight.narrow(axis, self.index[0], 1)
        elif self.matrix is None:
            folded = weight.index_select(axis, torch.tensor(self.index, device=weight.device))
        else:
            folded = torch.tensordot(weight, self.matrix.to(weight.dtype), dims=([axis], [0])).movedim(-1, axis)
        if self.offset is None:
            return folded
        constant = torch.tensordot(weight, self.offset.to(weight.dtype), dims=([axis], [0])).unsqueeze(axis)
        return torch.cat([folded, constant], axis)

    def extend(self, x: Tensor) -> Tensor:
        """(N, S, H, W) → (N, S + 1, H, W) with the map of ones, if there is an offset."""
        if self.offset is None:
            return x
        return torch.cat([x, x.new_ones(x.shape[0], 1, *x.shape[2:])], 1)


class Fill(nn.Module):
    """An affine rule from the present channels to all channels; subclasses give `affine`.

    Args:
        offset: (C,) raw values that normalisation takes off.
        scale: (C,) raw values that make one unit after normalisation.
        statistics: of the training images; only fills that need them ask.
        labels: what to call the channels in errors; default: their numbers.

    Shapes: x (N, C, H, W) in normalised values and a mask of what is present (N, C) → (N, C, H, W).

    Example:
        >>> import torch
        >>> from anychan.nn import Fill
        >>> class OnesFill(Fill):
        ...     selects = True  # present channels stay as they are
        ...     def make_offset(self, offset, scale, statistics):
        ...         return torch.ones_like(offset)
        >>> x, present = torch.tensor([2.0, torch.nan, 3.0]).view(1, 3, 1, 1), torch.tensor([[True, False, True]])
        >>> OnesFill(torch.zeros(3), torch.ones(3))(x, present).flatten()
        tensor([2., 1., 3.])
    """

    selects: ClassVar[bool] = False  # True when absent channels contribute nothing: the kernel is only sliced
    offset: Tensor

    def __init__(
        self,
        offset: Tensor,
        scale: Tensor,
        statistics: ChannelStatistics | None = None,
        labels: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.num_channels = len(offset)
        self.register_buffer("offset", self.make_offset(offset, scale, statistics), persistent=False)
        self.has_offset = bool(self.offset.any())

    def make_offset(self, offset: Tensor, scale: Tensor, statistics: ChannelStatistics | None) -> Tensor:
        """(C,) the constants that `affine` builds b from; zeros unless a subclass says otherwise."""
        return torch.zeros_like(offset)

    def affine(self, present: Tensor) -> tuple[Tensor, Tensor]:
        """Masks (N, C) of 0 and 1 → M (N, C, C), whose columns for absent channels are zero, and b (N, C)."""
        return torch.diag_embed(present), (1 - present) * self.offset

    def fold(self, index: tuple[int, ...]) -> Fold:
        """The fold for one subset, its channels in the order of `index`."""
        if len(index) == self.num_channels or (self.selects and not self.has_offset):
            return Fold(index)
        present = self.offset.new_zeros(1, self.num_channels)
        present[0, list(index)] = 1
        matrix, offset = self.affine(present)
        return Fold(index, None if self.selects else matrix[0][:, list(index)], offset[0] if self.has_offset else None)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """Fill x (N, C, H, W) where the mask (N, C) is False; what x holds there is never read, NaN included."""
        x = torch.where(present[:, :, None, None], x, 0)
        matrix, offset = self.affine(present.to(self.offset.dtype))
        filled = x if self.selects else torch.einsum("ncd,ndhw->nchw", matrix.to(x.dtype), x)
        return filled + offset[:, :, None, None].to(x.dtype) if self.has_offset else filled
