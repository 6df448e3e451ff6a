"""Report 2's WideCNN4 ("MyNet"): four wide convolutions, each with a shortcut and squeeze-and-excitation."""

from __future__ import annotations

from torch import Tensor, nn

from anychan.models.base import Network, StemFactory, pooled_head
from anychan.nn.squeeze_excite import SqueezeExcite
from anychan.nn.stems import ParallelConv, StemConv2d

__all__ = ["ConvBlock", "FirstConvBlock", "wide_cnn4"]


class FirstConvBlock(nn.Module):
    """The first block after its two convolutions, which are the stem's: relu(BN(main) + BN(shortcut)).

    Shapes: (N, 2·width, H, W), main and shortcut stacked → (N, width, H, W).

    Args:
        width: maps.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(width)
        self.shortcut_bn = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """The block's output."""
        main, shortcut = x.chunk(2, dim=1)
        return nn.functional.relu(self.bn(main) + self.shortcut_bn(shortcut))


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


def wide_cnn4(stem: StemFactory, *, num_channels: int, num_classes: int, width: int = 256) -> Network:
    """7×7 stride 2, then three 3×3 stride 2, all of `width` maps, each with a gate. Source: report 2, task B."""
    main = StemConv2d(num_channels, width, 7, 2, 3, bias=False)
    shortcut = StemConv2d(num_channels, width, 1, 2, bias=False)
    layers: list[nn.Module] = [FirstConvBlock(width), SqueezeExcite(width)]
    for _ in range(3):
        layers += [ConvBlock(width, kernel_size=3, stride=2), SqueezeExcite(width)]
    return Network(stem(ParallelConv([main, shortcut])), nn.Sequential(*layers), pooled_head(width, num_classes))
