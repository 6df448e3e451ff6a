"""A dynamic first layer for networks that have an ordinary one: its attention also sees which channels there are.

Source: Chen et al. 2020, Dynamic Convolution: Attention over Convolution Kernels (arXiv 1912.03458). Unlike the
paper's, the attention sees the mask of present channels, has a fixed hidden width, and a temperature of 1 throughout.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from anychan.nn.affine import Fill, Fold
from anychan.nn.dynamic_planner import choose_backend
from anychan.nn.stems import Stem, StemConv2d

__all__ = ["DynamicStem", "MixedConv2d"]

KERNELS, HIDDEN = 4, 16


class MixedConv2d(nn.Module):
    """K kernels in place of a convolution's one, of its size, stride, padding, bias and initial scale.

    Args:
        conv: the ordinary convolution, of which the bias is kept.
    """

    def __init__(self, conv: StemConv2d) -> None:
        super().__init__()
        self.shape = conv.weight.shape  # (O, C, k, k)
        self.stride, self.padding = conv.stride[0], int(conv.padding[0])
        # three axes, because Module.to(memory_format=torch.channels_last) fails on parameters of five
        scale = conv.weight.detach().std()
        self.weight = nn.Parameter(scale * torch.randn(KERNELS, self.shape[0], self.shape[1:].numel()))
        self.bias = conv.bias

    def forward(self, x: Tensor, attention: Tensor, fold: Fold) -> Tensor:
        """Convolve x (N, S, H, W) by attention (N, K) over the kernels for the S channels of `fold`."""
        kernels = fold.kernel(self.weight.view(KERNELS, *self.shape), 2)
        y = choose_backend(x, attention, kernels, self.stride, self.padding)
        return y if self.bias is None else y + self.bias[:, None, None]

    def by_channel(self) -> dict[str, tuple[Tensor, int]]:
        """The kernels, (K, O, C, k, k)."""
        return {"weight": (self.weight.view(KERNELS, *self.shape), 2)}


class DynamicStem(Stem):
    """y = (Σ_k π_k W_k) * x on the present channels, π = softmax(E relu(Q mean_hw(x) + V m + b)), m being the mask.

    Absent channels contribute nothing, as with mean fill. The weights say which subset it is, and not only what the
    image looks like: the mean of an absent channel alone would read as an average image.

    Shapes: (N, S, H, W) → (N, O, H', W'), O being the maps of all convolutions together.

    Args:
        convs: the network's first layer: ordinary convolutions side by side, which share the attention.
        fill: gives the number of channels, and zeros for absent ones (`MeanFill`).

    Source: after Chen et al. 2020 (arXiv 1912.03458); see the module for where we differ.

    Example:
        >>> import torch
        >>> from anychan.nn import DynamicStem, MeanFill, StemConv2d
        >>> fill = MeanFill(torch.zeros(3), torch.ones(3))
        >>> stem = DynamicStem([StemConv2d(3, 8, 3, padding=1)], fill)
        >>> stem(torch.randn(2, 2, 16, 16), index=(0, 2)).shape
        torch.Size([2, 8, 16, 16])
    """

    conv: nn.ModuleList

    def __init__(self, convs: Sequence[StemConv2d], fill: Fill) -> None:
        super().__init__(nn.ModuleList(MixedConv2d(conv) for conv in convs), fill)
        self.squeeze = nn.Linear(fill.num_channels, HIDDEN)  # Q and b
        self.presence = nn.Linear(fill.num_channels, HIDDEN, bias=False)  # V
        self.excite = nn.Linear(HIDDEN, KERNELS, bias=False)  # E

    def forward(self, x: Tensor, *, index: tuple[int, ...] | None = None, present: Tensor | None = None) -> Tensor:
        """Feature maps (N, O, H', W'); see `anychan.nn.stems` for the three ways."""
        fold = Fold(tuple(range(self.fill.num_channels)) if index is None else index)
        mask = x.new_ones(1, len(fold.index))
        if present is not None:
            x, mask = self.fill(x, present), present.to(x.dtype)
        means = functional.linear(x.mean((2, 3)), fold.kernel(self.squeeze.weight, 1), self.squeeze.bias)
        hidden = functional.relu(means + functional.linear(mask, fold.kernel(self.presence.weight, 1)))
        attention = functional.softmax(self.excite(hidden), 1)  # (N, K)
        return torch.cat([conv(x, attention, fold) for conv in self.conv], 1)

    def for_index(self, index: tuple[int, ...]) -> DynamicStem:
        """A stem that takes the channels of one subset alone, in the order of `index`."""
        stem, fold = deepcopy(self), Fold(index)
        stem.fill.num_channels = len(index)
        for layer in (stem.squeeze, stem.presence):
            layer.weight = nn.Parameter(fold.kernel(layer.weight.detach(), 1))
        for conv in cast(Iterable[MixedConv2d], stem.conv):
            kernels = fold.kernel(conv.weight.detach().view(KERNELS, *conv.shape), 2)
            conv.shape, conv.weight = kernels.shape[1:], nn.Parameter(kernels.flatten(2))
        return stem

    def by_channel(self) -> dict[str, tuple[Tensor, int]]:
        """The columns of Q and V."""
        return {"squeeze.weight": (self.squeeze.weight, 1), "presence.weight": (self.presence.weight, 1)}
