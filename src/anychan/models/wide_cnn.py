"""Report 2's WideCNN4 ("MyNet"): four wide convolutions, each with a shortcut and squeeze-and-excitation."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from anychan.errors import ConfigError
from anychan.models.base import Network, StemFactory, pooled_head
from anychan.nn.drop_block import DropBlock2d, check_shares
from anychan.nn.folding import SumOfHalves
from anychan.nn.squeeze_excite import SqueezeExcite
from anychan.nn.stems import ParallelConv, StemConv2d

__all__ = ["ConvBlock", "FirstConvBlock", "wide_cnn4"]


class FirstConvBlock(nn.Module):
    """The first block after its two convolutions, which are the stem's: relu(BN(main) + BN(shortcut)).

    Both batch norms are one over the stacked maps: on a CPU, the backward pass of batch norm took 1.17 s on each slice
    (128 images, 256 of 512 maps of 32×32, channels last, bfloat16) and takes 0.08 s on the whole.

    Shapes: (N, 2·width, H, W), main and shortcut stacked → (N, width, H, W).

    Args:
        width: maps.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(2 * width)
        self.sum = SumOfHalves()

    def forward(self, x: Tensor) -> Tensor:
        """The block's output."""
        return nn.functional.relu(self.sum(self.bn(x)))


class ConvBlock(nn.Module):
    """relu(BN(conv(x)) + BN(conv1×1(x))), both convolutions with the same stride.

    Shapes: (N, width, H, W) → (N, width, ceil(H / stride), ceil(W / stride)).

    Args:
        width: maps in and out.
        kernel_size: of the main convolution, padded by half.
        stride: of both convolutions.
    """

    def __init__(self, width: int, *, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, kernel_size, stride, kernel_size // 2, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.shortcut = nn.Sequential(nn.Conv2d(width, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """The block's output."""
        return nn.functional.relu(self.bn(self.conv(x)) + self.shortcut(x))


def wide_cnn4(
    stem: StemFactory,
    *,
    num_channels: int,
    num_classes: int,
    width: int = 256,
    strides: Sequence[int] = (2, 2, 2, 2),
    gate: str = "linear",
    dropout: float = 0.0,
    drop_block: float = 0.0,
) -> Network:
    """7×7 stride 2, then three 3×3 stride 2, all of `width` maps, each with a gate. Source: report 2, task B.

    The other options are the report's own suggestions (its section II-D).

    Args:
        stem: makes the stem of the first layer.
        num_channels: of the images.
        num_classes: number of logits.
        width: maps of every layer.
        strides: of the four layers; `(1, 2, 2, 2)` keeps the image's size in the first.
        gate: the gates' layers, `"linear"` or `"conv"` (1×1 convolutions, the same function).
        dropout: share of the pooled features that is dropped in training.
        drop_block: share of the last two layers' maps that DropBlock drops in training, in blocks of 3×3.

    Raises:
        ConfigError: for strides that are not 4 whole numbers from 1, a width below 16, another gate, or a share
            outside [0, 1).
    """
    whole = isinstance(strides, list | tuple) and all(type(stride) is int and stride >= 1 for stride in strides)
    if not whole or len(strides) != 4:
        raise ConfigError(f"wide_cnn4 has 4 strides, whole numbers from 1, not {strides!r}")
    if gate not in ("linear", "conv"):
        raise ConfigError(f"wide_cnn4 has a gate of 'linear' or 'conv', not {gate!r}")
    if type(width) is not int or width < 16:
        raise ConfigError(f"wide_cnn4 has a width of 16 maps or more, for its gates' sake, not {width!r}")
    check_shares("wide_cnn4", dropout=dropout, drop_block=drop_block)
    main = StemConv2d(num_channels, width, 7, strides[0], 3, bias=False)
    shortcut = StemConv2d(num_channels, width, 1, strides[0], bias=False)
    layers: list[nn.Module] = [FirstConvBlock(width), SqueezeExcite(width, as_conv=gate == "conv")]
    for number, stride in enumerate(strides[1:], start=2):
        block = ConvBlock(width, kernel_size=3, stride=stride)
        layers += [block, SqueezeExcite(width, as_conv=gate == "conv")]
        if drop_block and number >= 3:
            layers.append(DropBlock2d(drop_block, block_size=3))
    head = pooled_head(width, num_classes, dropout=dropout)
    return Network(stem(ParallelConv([main, shortcut])), nn.Sequential(*layers), head)
