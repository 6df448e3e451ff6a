"""Networks of two and four layers: wide convolutions at full size, each followed by max pooling and gates.

WideCNN4 (report 2) halves the size by strides, which leave three of four places out. These look at every place and keep
the largest response, a nonlinearity without weights: it adds no layer, and it is what a few layers lack most. What each
step from WideCNN4 to here gives is measured by `benchmarks/shallow.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional

from anychan.errors import ConfigError
from anychan.models.base import Network, StemFactory, pooled_head
from anychan.nn.drop_block import DropBlock2d, check_shares
from anychan.nn.local_gate import LocalGate
from anychan.nn.squeeze_excite import SqueezeExcite
from anychan.nn.stems import StemConv2d

__all__ = ["SHALLOW", "AfterConv", "Branches", "MeanMaxPool", "shallow_cnn"]


class AfterConv(nn.Module):
    """What follows a layer's convolution: max pooling → batch norm → ReLU → local gate → squeeze-and-excitation.

    Batch norm comes after the pooling, where it has a quarter of the values to read.

    Shapes: (N, width, H, W) → (N, width, ceil(H / stride), ceil(W / stride)).

    Args:
        width: maps.
        stride: of the max pooling, whose window is the next odd size; 1 for none.
        local_gate: whether there is a `LocalGate`.
        squeeze_excite: whether there is squeeze-and-excitation.
    """

    def __init__(self, width: int, *, stride: int, local_gate: bool, squeeze_excite: bool = True) -> None:
        super().__init__()
        window = stride + 1 - stride % 2  # odd, so that the padding is the same at both ends
        self.pool = nn.MaxPool2d(window, stride, window // 2) if stride > 1 else nn.Identity()
        self.bn = nn.BatchNorm2d(width)
        self.local_gate = LocalGate(width) if local_gate else nn.Identity()
        self.gate = SqueezeExcite(width, as_conv=True) if squeeze_excite else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output."""
        return self.gate(self.local_gate(functional.relu(self.bn(self.pool(x)))))  # type: ignore[no-any-return]


class Branches(nn.Module):
    """Convolutions of k×k, 1×k, k×1 and 1×1 pixels with batch norm each, added up: one convolution once it is frozen.

    Shapes: (N, C, H, W) → (N, width, ceil(H / stride), ceil(W / stride)).

    Args:
        channels: C.
        width: maps.
        kernel: k, odd.
        stride: of all.

    Source: Ding et al. 2019, ACNet (arXiv 1908.03930), and the branch of 1×1 of RepVGG (arXiv 2101.03697).
    """

    def __init__(self, channels: int, width: int, kernel: int, stride: int) -> None:
        super().__init__()
        sizes = dict.fromkeys([(kernel, kernel), (1, kernel), (kernel, 1), (1, 1)])
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, width, size, stride, (size[0] // 2, size[1] // 2), bias=False),
                nn.BatchNorm2d(width),
            )
            for size in sizes
        )

    def forward(self, x: Tensor) -> Tensor:
        """The sum."""
        total: Tensor = reduce(torch.add, (branch(x) for branch in self.branches))
        return total


class MeanMaxPool(nn.Module):
    """Mean and maximum of each map: (N, C, H, W) → (N, 2·C)."""

    def forward(self, x: Tensor) -> Tensor:
        """The means, then the maxima."""
        return torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)


def shallow_cnn(
    stem: StemFactory,
    *,
    num_channels: int,
    num_classes: int,
    widths: Sequence[int],
    kernels: Sequence[int],
    strides: Sequence[int],
    shrink: str = "max",
    local_gate: bool = False,
    squeeze_excite: bool = True,
    branches: bool = False,
    head: str = "mean",
    dropout: float = 0.0,
    drop_block: float = 0.0,
) -> Network:
    """A layer for each width: convolution → max pooling → batch norm → ReLU → gates; then one linear layer.

    Args:
        stem: makes the stem of the first layer.
        num_channels: of the images.
        num_classes: number of logits.
        widths: maps of each layer, 16 or more.
        kernels: height and width of each layer's kernel, odd.
        strides: by how much each layer shrinks its maps.
        shrink: `"max"`: convolve every place, then max pooling; `"stride"`: the convolutions' own strides.
        local_gate: whether each layer has a `LocalGate`.
        squeeze_excite: whether each layer has squeeze-and-excitation, after a local gate.
        branches: whether convolutions after the first are trained as `Branches`.
        head: what the linear layer takes of the last maps: their `"mean"`, or `"mean_max"`, the maxima too.
        dropout: share of the pooled features that is dropped in training.
        drop_block: share of the last layer's maps that DropBlock drops in training, in blocks of 3×3.

    Raises:
        ConfigError: for lists of unequal length or other values, another `shrink` or `head`, or a share outside [0, 1).
    """
    _check_lists(widths, kernels=kernels, strides=strides)
    for name, value, allowed in (("shrink", shrink, ("max", "stride")), ("head", head, ("mean", "mean_max"))):
        if value not in allowed:
            raise ConfigError(f"a shallow network's {name} is {' or '.join(map(repr, allowed))}, not {value!r}")
    check_shares("a shallow network", dropout=dropout, drop_block=drop_block)
    layers: list[nn.Module] = []
    before = num_channels
    for width, kernel, stride in zip(widths, kernels, strides, strict=True):
        step = stride if shrink == "stride" else 1
        conv = Branches if branches and layers else partial(_conv, nn.Conv2d if layers else StemConv2d)
        layers.append(conv(before, width, kernel, step))
        pooled = stride if shrink == "max" else 1
        layers.append(AfterConv(width, stride=pooled, local_gate=local_gate, squeeze_excite=squeeze_excite))
        before = width
    if drop_block:
        layers.append(DropBlock2d(drop_block, block_size=3))
    if head == "mean_max":
        classifier = pooled_head(2 * before, num_classes, dropout=dropout, pool=MeanMaxPool())
    else:
        classifier = pooled_head(before, num_classes, dropout=dropout)
    return Network(stem(layers[0]), nn.Sequential(*layers[1:]), classifier)


def _conv(kind: type[nn.Conv2d], channels: int, width: int, kernel: int, stride: int) -> nn.Module:
    return kind(channels, width, kernel, stride, kernel // 2, bias=False)


def _check_lists(widths: Sequence[int], **others: Sequence[int]) -> None:
    """One number a layer in each list."""
    for name, values, least in (("widths", widths, 16), *((name, values, 1) for name, values in others.items())):
        whole = isinstance(values, list | tuple) and all(type(value) is int and value >= least for value in values)
        if not whole or not values or len(values) != len(widths):
            raise ConfigError(
                f"a shallow network's {name} is a list of whole numbers from {least}, one a layer, not {values!r}"
            )
    if any(size % 2 == 0 for size in others["kernels"]):
        raise ConfigError(f"a shallow network's kernels have odd sizes, not {others['kernels']!r}")


_four = partial(shallow_cnn, kernels=(5, 3, 3, 3), strides=(2, 2, 2, 2))
_two = partial(shallow_cnn, kernels=(9, 5), strides=(4, 1), local_gate=True, head="mean_max")
# the catalogue's names
SHALLOW: Mapping[str, Callable[..., Network]] = MappingProxyType(
    {
        "shallow4_s": partial(_four, widths=(48, 112, 224, 384)),
        "shallow4_m": partial(_four, widths=(96, 192, 384, 768)),
        "shallow4_l": partial(_four, widths=(128, 256, 512, 1024)),
        "shallow2_s": partial(_two, widths=(64, 192)),
        "shallow2_m": partial(_two, widths=(96, 320)),
        "shallow2_l": partial(_two, widths=(192, 512)),
    }
)
