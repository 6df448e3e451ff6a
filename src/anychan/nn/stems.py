"""Stems: layers that turn the channels that are present into a fixed number of feature maps.

Every stem takes normalised images in three ways, and the last two agree in eval mode:

    stem(x)                    x (N, C, H, W): all of the model's channels, in its order
    stem(x, index=(2, 0))      x (N, S, H, W): one subset for the whole batch, in the order given; cost linear in S
    stem(x, present=mask)      x (N, C, H, W), mask (N, C): a subset a sample; absent channels may hold anything

A module with parameters that belong to single channels has `by_channel()`: their names → a view of each, and the axis
of the view that the channels lie on. Fine-tuning carries them channel by channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from anychan.nn.affine import Fill, Fold
from anychan.nn.convolve import conv2d
from anychan.nn.folding import can_merge, conv_of, merge

__all__ = ["ChannelConv", "OnesMap", "ParallelConv", "Stem", "StemConv2d", "ordinary_convs", "side_by_side"]


class ChannelConv(Protocol):
    """A first layer that can be folded: linear in its input's channels, apart from a gate that may depend on them."""

    def __call__(self, x: Tensor, fold: Fold | None = None) -> Tensor: ...

    def for_fold(self, fold: Fold | None) -> nn.Module: ...


class StemConv2d(nn.Conv2d):
    """An ordinary convolution that can be folded onto a subset of its input channels: y = (W M) * x_S, and b's map.

    Arguments: `torch.nn.Conv2d`'s; groups, dilation and padding modes are left at their defaults.

    Shapes: (N, C, H, W), or (N, S, H, W) with a fold → (N, O, H', W').

    Example:
        >>> import torch
        >>> from anychan.nn import MeanFill, StemConv2d
        >>> conv, fill = StemConv2d(3, 8, 3, padding=1), MeanFill(torch.zeros(3), torch.ones(3))
        >>> conv(torch.randn(2, 2, 16, 16), fill.fold((0, 2))).shape
        torch.Size([2, 8, 16, 16])
    """

    def forward(self, x: Tensor, fold: Fold | None = None) -> Tensor:
        """Convolve x (N, C, H, W), or the present channels that `fold` describes."""
        weight = self.weight if fold is None else fold.kernel(self.weight, 1)
        if fold is not None and weight.shape[1] == 1 and not self.weight.is_contiguous():
            # One channel's memory format is ambiguous, and would be taken for channels-first: two copies of the maps.
            weight = weight.squeeze(1).unsqueeze(3).permute(0, 3, 1, 2)
        return conv2d(x, weight, self.bias, self.stride, self.padding)

    def for_fold(self, fold: Fold | None) -> nn.Conv2d:
        """A plain convolution of the present channels that `fold` describes, or of all, with copies of the weights."""
        weight = self.weight if fold is None else fold.kernel(self.weight, 1)
        return conv_of(weight, self.bias, self.stride, self.padding)

    def folded(self) -> nn.Conv2d:
        """A plain convolution with copies of the weights."""
        return self.for_fold(None)

    def by_channel(self) -> dict[str, tuple[Tensor, int]]:
        """The kernel, (O, C, k, k)."""
        return {"weight": (self.weight, 1)}


class ParallelConv(nn.Module):
    """Several first layers side by side on the same input, their maps stacked: for a first block with a shortcut.

    Shapes: (N, C, H, W) → (N, sum of the convolutions' maps, H', W').

    Args:
        convs: foldable convolutions whose outputs have one spatial size.

    Example:
        >>> import torch
        >>> from anychan.nn import ParallelConv, StemConv2d
        >>> conv = ParallelConv([StemConv2d(3, 8, 3, stride=2, padding=1), StemConv2d(3, 4, 1, stride=2)])
        >>> conv(torch.randn(2, 3, 16, 16)).shape
        torch.Size([2, 12, 8, 8])
    """

    def __init__(self, convs: Sequence[nn.Module]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(convs)

    def forward(self, x: Tensor, fold: Fold | None = None) -> Tensor:
        """(N, C, H, W) → (N, sum of the convolutions' maps, H', W')."""
        return torch.cat([conv(x) if fold is None else conv(x, fold) for conv in self.convs], 1)

    def for_fold(self, fold: Fold | None) -> nn.Module:
        """The same for the present channels that `fold` describes: one convolution where all are ordinary."""
        return side_by_side([conv.for_fold(fold) for conv in self.convs])  # type: ignore[operator]


def side_by_side(convs: Sequence[nn.Module]) -> nn.Module:
    """Convolutions of one input, their maps stacked: as a single one where they can merge."""
    if can_merge(convs):
        return merge(cast(Sequence[nn.Conv2d], convs), add=False)
    return ParallelConv(convs)


class OnesMap(nn.Module):
    """(N, S, H, W) → (N, S + 1, H, W): one more map, of ones, for a fill whose offset ends at zero-padded borders."""

    def forward(self, x: Tensor) -> Tensor:
        """The maps, the ones last."""
        return torch.cat([x, torch.ones_like(x[:, :1])], 1)


def ordinary_convs(conv: nn.Module) -> list[StemConv2d]:
    """The ordinary convolutions that a first layer consists of, side by side; none if it has any other kind."""
    parts = list(conv.convs) if isinstance(conv, ParallelConv) else [conv]
    ordinary = [part for part in parts if isinstance(part, StemConv2d)]
    return ordinary if len(ordinary) == len(parts) else []


class Stem(nn.Module):
    """A first layer behind a fill: any foldable convolution, any affine rule for what is absent: y = W * (M x_S + b).

    Shapes: x (N, C, H, W), or (N, S, H, W) with `index` → (N, O, H', W').

    Args:
        conv: the network's first layer over all C channels (see `ChannelConv`).
        fill: what stands in for absent channels.

    Example:
        >>> import torch
        >>> from anychan.nn import Stem, StemConv2d, ZeroFill
        >>> stem = Stem(StemConv2d(3, 8, 3, padding=1), ZeroFill(torch.full((3,), 0.5), torch.ones(3)))
        >>> x, present = torch.randn(2, 3, 16, 16), torch.tensor([[True, False, True]] * 2)
        >>> torch.allclose(stem(x[:, [2, 0]], index=(2, 0)), stem(x, present=present), atol=1e-5)
        True
    """

    def __init__(self, conv: nn.Module, fill: Fill) -> None:
        super().__init__()
        self.conv = conv
        self.fill = fill

    def forward(self, x: Tensor, *, index: tuple[int, ...] | None = None, present: Tensor | None = None) -> Tensor:
        """Feature maps (N, O, H', W'); see the module's docstring for the three ways."""
        if index is not None and index != tuple(range(self.fill.num_channels)):
            fold = self.fill.fold(index)
            return self.conv(fold.extend(x), fold)  # type: ignore[no-any-return]
        if present is not None:
            x = self.fill(x, present)
        return self.conv(x)  # type: ignore[no-any-return]

    def for_index(self, index: tuple[int, ...]) -> nn.Module:
        """A plain layer for one subset, (N, S, H, W) → (N, O, H', W'), with copies of the weights."""
        fold = None if index == tuple(range(self.fill.num_channels)) else self.fill.fold(index)
        conv: nn.Module = self.conv.for_fold(fold)  # type: ignore[operator]
        return conv if fold is None or fold.offset is None else nn.Sequential(OnesMap(), conv)
