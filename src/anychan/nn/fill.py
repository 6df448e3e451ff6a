"""Fills: what a network is given in place of the channels that are absent.

Every fill here is affine in the channels that are present: x_all = M x_present + b, with M (C, S) and b (C,). A
convolution after it is therefore one convolution with the kernel W M on the present channels alone, so no fill costs
anything at run time beyond the present channels (and one map of ones when b is not zero, because zero padding ends b
at the border). All values are normalised ones: 0 is the normalisation's offset, often the training mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from anychan.contract import ChannelStatistics
from anychan.errors import ChannelError, ConfigError

RIDGE = 0.01  # of completion: new models take it, the contract keeps it
__all__ = [
    "FILLS",
    "CompletionFill",
    "Fill",
    "Fold",
    "LearnedPaddingFill",
    "MeanFill",
    "PresentMeanFill",
    "RescaledFill",
    "ZeroFill",
]


@dataclass(frozen=True)
class Fold:
    """How a kernel over all C channels becomes one over the S present ones.

    Args:
        index: positions of the present channels, in the order in which they are given.
        matrix: (C, S), or `None` when absent channels simply contribute nothing.
        offset: (C,), or `None` when it is zero.
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

    Shapes: C channels of the model, S present ones, N samples.
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


class MeanFill(Fill):
    """Absent channels take the normalisation's offset (their training mean when normalised by it): 0 afterwards.

    Report 2's zero padding to `max_in_channels` is this fill, because it pads after normalisation.
    """

    selects = True


class ZeroFill(Fill):
    """Absent channels take the raw value 0 before normalisation (report 1's zeroed channels)."""

    selects = True

    def make_offset(self, offset: Tensor, scale: Tensor, statistics: ChannelStatistics | None) -> Tensor:
        """What a raw 0 is after normalisation."""
        return -offset / scale


class LearnedPaddingFill(Fill):
    """Absent channels take a value that is learned, one a channel, in normalised values; 0 (mean fill) at the start.

    Source: report 2's suggestion of learned padding.
    """

    selects = True

    def __init__(
        self,
        offset: Tensor,
        scale: Tensor,
        statistics: ChannelStatistics | None = None,
        labels: Sequence[str] | None = None,
    ) -> None:
        super().__init__(offset, scale, statistics, labels)
        self.padding = nn.Parameter(torch.zeros_like(self.offset))
        self.has_offset = True  # also while it is 0, or it would never get a gradient

    def affine(self, present: Tensor) -> tuple[Tensor, Tensor]:
        """M = identity on present rows, b = the padding on absent ones."""
        return torch.diag_embed(present), (1 - present) * self.padding

    def by_channel(self) -> dict[str, tuple[Tensor, int]]:
        """The padding, (C,); see `anychan.nn.stems`."""
        return {"padding": (self.padding, 0)}


class RescaledFill(Fill):
    """Mean fill with the kernel multiplied by C / S, as dropout rescales what it keeps."""

    def affine(self, present: Tensor) -> tuple[Tensor, Tensor]:
        """M = C/S on the diagonal."""
        share = self.num_channels / present.sum(1, keepdim=True)
        return torch.diag_embed(present * share), torch.zeros_like(present)


class PresentMeanFill(Fill):
    """Absent channels take the mean of the present ones, pixel by pixel, in normalised values."""

    def affine(self, present: Tensor) -> tuple[Tensor, Tensor]:
        """M = identity for present rows, 1/S for absent ones."""
        share = present / present.sum(1, keepdim=True)
        rows = torch.diag_embed(present) + (1 - present)[:, :, None] * share[:, None, :]
        return rows, torch.zeros_like(present)


class CompletionFill(Fill):
    """Absent channels take their best linear guess from the present ones, by the training covariance.

    x_M = μ_M + A (x_S − μ_S) with A = Σ_MS (Σ_SS + λI)⁻¹, in normalised values; μ is 0 there when the network is
    normalised by its training mean, and otherwise ends in b. λ (`ridge`, above 0) is in units of a normalised channel's
    variance; it makes equal or constant channels harmless: of several that say the same, each counts in part.

    Raises:
        ConfigError: without statistics, or for a ridge that is not above 0.
        ChannelError: when two channels were never seen together, naming the pair.

    Source: the conditional mean of a multivariate normal; no paper.
    """

    covariance: Tensor

    def __init__(
        self,
        offset: Tensor,
        scale: Tensor,
        statistics: ChannelStatistics | None = None,
        labels: Sequence[str] | None = None,
        *,
        ridge: float = RIDGE,
    ) -> None:
        if statistics is None:
            raise ConfigError("stem 'completion' needs the training images' statistics; train the model, or give them")
        if not ridge > 0:
            raise ConfigError(f"stem 'completion' has a ridge of {ridge}, but it must be above 0, such as {RIDGE}")
        unseen = torch.from_numpy(statistics.covariance).isnan().nonzero()
        if len(unseen):
            first, second = (labels[i] if labels else f"number {i + 1}" for i in unseen[0].tolist())
            raise ChannelError(
                f"channels {first} and {second} were never seen together, so stem 'completion' cannot guess one from "
                "the other; use stem 'mean', train on images that hold both, or say data.unseen_pairs wavelength"
            )
        super().__init__(offset, scale, statistics, labels)
        self.ridge = ridge
        covariance = torch.from_numpy(statistics.covariance) / torch.outer(scale, scale).double()
        self.register_buffer("covariance", covariance, persistent=False)
        self._last: tuple[tuple[object, ...], Fold] | None = None  # what it depends on, and the fold

    def fold(self, index: tuple[int, ...]) -> Fold:
        """The fold for one subset; the last one is kept, as its solve can cost more than the batch that it is for."""
        if torch.compiler.is_compiling():
            return super().fold(index)
        # what is made in inference mode must not come into training
        key = (index, self.offset.dtype, self.offset.device, torch.is_inference_mode_enabled())
        if self._last is None or self._last[0] != key:
            self._last = key, super().fold(index)
        return self._last[1]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move where the model moves, but stay in float64: in bfloat16, a covariance may have negative eigenvalues."""
        covariance = self.covariance
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.covariance = covariance.to(self.covariance.device)
        return self

    def make_offset(self, offset: Tensor, scale: Tensor, statistics: ChannelStatistics | None) -> Tensor:
        """The training mean in normalised values; exact zeros when the network is normalised by it."""
        assert statistics is not None
        mean = torch.from_numpy(statistics.mean).to(offset.dtype)
        return (mean - offset) / scale

    def affine(self, present: Tensor) -> tuple[Tensor, Tensor]:
        """One solve a mask, in float64: absent rows and columns are replaced by those of the identity."""
        keep = present.double()
        both = keep[:, :, None] * keep[:, None, :]
        eye = torch.eye(self.num_channels, dtype=keep.dtype, device=keep.device)
        covariance = self.covariance
        seen = both * (covariance + self.ridge * eye) + torch.diag_embed(1 - keep)
        guess = _solve(seen, keep[:, :, None] * covariance).mT  # (N, C, C): A, columns of absent ones 0
        matrix = torch.diag_embed(keep) + (1 - keep)[:, :, None] * guess * keep[:, None, :]
        mean = self.offset.double()
        offset = (1 - keep) * (mean - (matrix @ mean[:, None]).squeeze(-1))
        return matrix.to(present.dtype), offset.to(present.dtype)


def _solve(a: Tensor, b: Tensor) -> Tensor:
    """a⁻¹ b for positive definite a (N, C, C), b (N, C, D).

    ONNX has no operator for it, so a file gets the steps of Gauss and Jordan in a loop. Positive definite matrices need
    no search for pivots.
    """
    if not torch.compiler.is_exporting():
        return torch.linalg.solve(a, b)  # type: ignore[no-any-return]
    from torch._higher_order_ops.scan import scan  # a loop that is exported as one, where Python's would be unrolled

    count = a.shape[1]

    def step(rows: Tensor, unit: Tensor) -> tuple[Tensor, Tensor]:
        """Row k, of which `unit` is the unit vector, becomes the pivot row; column k becomes the unit vector."""
        row = torch.einsum("nij,i->nj", rows, unit)
        pivot = row / (row[:, :count] @ unit)[:, None]
        column = torch.einsum("nij,j->ni", rows[:, :, :count], unit)
        return rows - (column - unit)[:, :, None] * pivot[:, None], row[:, 0].clone()  # every step must give something

    units = torch.eye(count, dtype=a.dtype, device=a.device)
    solved: tuple[Tensor, Tensor] = scan(step, torch.cat([a, b], 2), units)
    return solved[0][:, :, count:]


FILLS: dict[str, Callable[..., Fill]] = {
    "completion": CompletionFill,
    "learned_padding": LearnedPaddingFill,
    "mean": MeanFill,
    "present_mean": PresentMeanFill,
    "rescaled": RescaledFill,
    "zero": ZeroFill,
}
