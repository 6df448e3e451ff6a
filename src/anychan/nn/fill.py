"""Fills: what a network is given in place of the channels that are absent; each is affine (see `anychan.nn.affine`).

All values are normalised ones: 0 is the normalisation's offset, often the training mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from anychan.contract import ChannelStatistics
from anychan.errors import ChannelError, ConfigError
from anychan.nn.affine import Fill, Fold
from anychan.nn.exporting import solve

RIDGE = 0.01  # of completion: new models take it, the contract keeps it
__all__ = [
    "FILLS",
    "CompletionFill",
    "LearnedPaddingFill",
    "MeanFill",
    "PresentMeanFill",
    "RescaledFill",
    "ZeroFill",
]


class MeanFill(Fill):
    """Absent channels take the normalisation's offset (their training mean when normalised by it): x_M = 0 afterwards.

    Arguments and shapes: see `Fill`.

    Report 2's zero padding to `max_in_channels` is this fill, because it pads after normalisation.

    Example:
        >>> import torch
        >>> from anychan.nn import MeanFill
        >>> x, present = torch.tensor([2.0, torch.nan, 3.0]).view(1, 3, 1, 1), torch.tensor([[True, False, True]])
        >>> MeanFill(torch.zeros(3), torch.ones(3))(x, present).flatten()
        tensor([2., 0., 3.])
    """

    selects = True


class ZeroFill(Fill):
    """Absent channels take the raw value 0 before normalisation: x_M = −offset / scale.

    Arguments and shapes: see `Fill`.

    Source: report 1's zeroed channels.

    Example:
        >>> import torch
        >>> from anychan.nn import ZeroFill
        >>> x, present = torch.tensor([2.0, torch.nan, 3.0]).view(1, 3, 1, 1), torch.tensor([[True, False, True]])
        >>> ZeroFill(torch.tensor([10.0, 20.0, 30.0]), torch.tensor([2.0, 4.0, 5.0]))(x, present).flatten()
        tensor([ 2., -5.,  3.])
    """

    selects = True

    def make_offset(self, offset: Tensor, scale: Tensor, statistics: ChannelStatistics | None) -> Tensor:
        """What a raw 0 is after normalisation."""
        return -offset / scale


class LearnedPaddingFill(Fill):
    """Absent channels take a value that is learned, one a channel, in normalised values; 0 (mean fill) at the start.

    x_M = `padding`, a parameter (C,). Arguments and shapes: see `Fill`.

    Source: report 2's suggestion of learned padding.

    Example:
        >>> import torch
        >>> from anychan.nn import LearnedPaddingFill
        >>> x, present = torch.tensor([2.0, torch.nan, 3.0]).view(1, 3, 1, 1), torch.tensor([[True, False, True]])
        >>> fill = LearnedPaddingFill(torch.zeros(3), torch.ones(3))
        >>> fill(x, present).sum().backward()
        >>> fill.padding.grad
        tensor([0., 1., 0.])
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
    """Mean fill with the kernel multiplied by C / S, as dropout rescales what it keeps.

    x_S ← (C / S) x_S, x_M = 0. Arguments and shapes: see `Fill`.

    Example:
        >>> import torch
        >>> from anychan.nn import RescaledFill
        >>> x, present = torch.tensor([2.0, torch.nan, 4.0]).view(1, 3, 1, 1), torch.tensor([[True, False, True]])
        >>> RescaledFill(torch.zeros(3), torch.ones(3))(x, present).flatten()
        tensor([3., 0., 6.])
    """

    def affine(self, present: Tensor) -> tuple[Tensor, Tensor]:
        """M = C/S on the diagonal."""
        share = self.num_channels / present.sum(1, keepdim=True)
        return torch.diag_embed(present * share), torch.zeros_like(present)


class PresentMeanFill(Fill):
    """Absent channels take the mean of the present ones, pixel by pixel: x_M = (Σ x_S) / S.

    Arguments and shapes: see `Fill`.


    Example:
        >>> import torch
        >>> from anychan.nn import PresentMeanFill
        >>> x, present = torch.tensor([2.0, torch.nan, 3.0]).view(1, 3, 1, 1), torch.tensor([[True, False, True]])
        >>> PresentMeanFill(torch.zeros(3), torch.ones(3))(x, present).flatten()
        tensor([2.0000, 2.5000, 3.0000])
    """

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
    Other arguments and shapes: see `Fill`.

    Raises:
        ConfigError: without statistics, or for a ridge that is not above 0.
        ChannelError: when two channels were never seen together, naming the pair.

    Source: the conditional mean of a multivariate normal; no paper.

    Example:
        >>> import torch
        >>> import numpy as np
        >>> from anychan import ChannelStatistics
        >>> from anychan.nn import CompletionFill
        >>> seen = ChannelStatistics(np.zeros(2), np.array([[1.0, 0.8], [0.8, 1.0]]), np.full((2, 2), 1000))
        >>> x, present = torch.tensor([2.0, torch.nan]).view(1, 2, 1, 1), torch.tensor([[True, False]])
        >>> CompletionFill(torch.zeros(2), torch.ones(2), seen)(x, present).flatten()
        tensor([2.0000, 1.5842])
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
        guess = solve(seen, keep[:, :, None] * covariance).mT  # (N, C, C): A, columns of absent ones 0
        matrix = torch.diag_embed(keep) + (1 - keep)[:, :, None] * guess * keep[:, None, :]
        mean = self.offset.double()
        offset = (1 - keep) * (mean - (matrix @ mean[:, None]).squeeze(-1))
        return matrix.to(present.dtype), offset.to(present.dtype)


FILLS: dict[str, Callable[..., Fill]] = {
    "completion": CompletionFill,
    "learned_padding": LearnedPaddingFill,
    "mean": MeanFill,
    "present_mean": PresentMeanFill,
    "rescaled": RescaledFill,
    "zero": ZeroFill,
}
