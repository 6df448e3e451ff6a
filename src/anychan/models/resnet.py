"""ResNets of basic blocks whose convolution is a parameter: ResNet18/34, the small resnet8, and DynamicResNet12.

Source: He et al. 2016, Deep Residual Learning (arXiv 1512.03385), laid out as torchvision's; the dynamic one is
report 2's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from anychan.errors import ConfigError
from anychan.models.base import Network, StemFactory, pooled_head
from anychan.nn.drop_block import DropBlock2d, check_shares
from anychan.nn.dynamic_conv import DynamicConv2d
from anychan.nn.stems import StemConv2d

__all__ = ["BasicBlock", "Conv", "ResNetBody", "dynamic_resnet12", "resnet8", "resnet18", "resnet34"]

DYNAMIC_LAYERS = 22  # of dynamic_resnet12: 19 on the main path, and 3 shortcuts


class Conv(Protocol):
    """Builds a convolution without bias, such as `plain_conv` or `DynamicConv2d`."""

    def __call__(
        self, in_channels: int, out_channels: int, *, kernel_size: int, stride: int = 1, padding: int = 0
    ) -> nn.Module: ...


def plain_conv(
    in_channels: int, out_channels: int, *, kernel_size: int, stride: int = 1, padding: int = 0
) -> StemConv2d:
    """An ordinary convolution without bias, initialised as torchvision's ResNets are."""
    conv = StemConv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


class BasicBlock(nn.Module):
    """relu(BN(conv3×3(relu(BN(conv3×3(x))))) + shortcut(x)); the shortcut is conv1×1 + BN where the shape changes.

    Shapes: (N, in_channels, H, W) → (N, out_channels, ceil(H / stride), ceil(W / stride)).

    Args:
        conv: builds the three convolutions.
        in_channels: maps that come in.
        out_channels: maps that go out.
        stride: of the first convolution and the shortcut.
    """

    def __init__(self, conv: Conv, in_channels: int, out_channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, out_channels, kernel_size=3, stride=stride, padding=1)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()
        self.conv2 = conv(out_channels, out_channels, kernel_size=3, padding=1)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            shortcut = conv(in_channels, out_channels, kernel_size=1, stride=stride)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """The block's output."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y)) + self.downsample(x)
        return self.relu(y)  # type: ignore[no-any-return]


class ResNetBody(nn.Module):
    """What follows the first convolution: BN → ReLU → pooling → stages.

    Args:
        conv: builds the blocks' convolutions.
        entry: maps that the first convolution gives.
        widths: maps of each stage.
        blocks: blocks of each stage.
        strides: stride of each stage's first block.
        pool: what stands between ReLU and the first stage.
        drop_block: share of the last two stages' maps that DropBlock drops in training, in blocks of 3×3.
    """

    def __init__(
        self,
        conv: Conv,
        *,
        entry: int,
        widths: Sequence[int],
        blocks: Sequence[int],
        strides: Sequence[int],
        pool: nn.Module | None = None,
        drop_block: float = 0.0,
    ) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(entry)
        self.relu = nn.ReLU()
        self.maxpool = pool or nn.Identity()
        stages = []
        for width, count, stride in zip(widths, blocks, strides, strict=True):
            first = BasicBlock(conv, entry, width, stride=stride)
            stages.append(nn.Sequential(first, *(BasicBlock(conv, width, width) for _ in range(count - 1))))
            entry = width
        if drop_block:
            for stage in stages[-2:]:
                stage.append(DropBlock2d(drop_block, block_size=3))
        self.stages = nn.Sequential(*stages)

    def forward(self, x: Tensor) -> Tensor:
        """(N, entry, H, W) → (N, last width, h, w)."""
        return self.stages(self.maxpool(self.relu(self.bn1(x))))  # type: ignore[no-any-return]


def _imagenet_resnet(
    stem: StemFactory,
    num_channels: int,
    num_classes: int,
    *,
    name: str,
    blocks: Sequence[int],
    entry: str,
    dropout: float,
    drop_block: float,
) -> Network:
    check_shares(name, dropout=dropout, drop_block=drop_block)
    pool: nn.Module | None = None
    if entry == "7x7":
        first = plain_conv(num_channels, 64, kernel_size=7, stride=2, padding=3)
        pool = nn.MaxPool2d(3, stride=2, padding=1)
    elif entry in ("3x3s2", "3x3"):
        first = plain_conv(num_channels, 64, kernel_size=3, stride=2 if entry == "3x3s2" else 1, padding=1)
    else:
        raise ConfigError(f"option 'entry' is {entry!r}, but a ResNet's first layer is '7x7', '3x3s2' or '3x3'")
    widths, strides = (64, 128, 256, 512), (1, 2, 2, 2)
    body = ResNetBody(
        plain_conv, entry=64, widths=widths, blocks=blocks, strides=strides, pool=pool, drop_block=drop_block
    )
    return Network(stem(first), body, pooled_head(512, num_classes, dropout=dropout))


def resnet18(
    stem: StemFactory,
    *,
    num_channels: int,
    num_classes: int,
    entry: str = "7x7",
    dropout: float = 0.0,
    drop_block: float = 0.0,
) -> Network:
    """ResNet18.

    Args:
        stem: makes the stem of the first layer.
        num_channels: of the images.
        num_classes: number of logits.
        entry: the first layer: torchvision's `"7x7"` of stride 2 with max pooling; or without pooling, for small
            images, `"3x3s2"` of stride 2, or `"3x3"` at full size.
        dropout: share of the pooled features that is dropped in training.
        drop_block: share of the last two stages' maps that DropBlock drops in training, in blocks of 3×3.

    Raises:
        ConfigError: for another entry, or a share outside [0, 1).
    """
    return _imagenet_resnet(
        stem,
        num_channels,
        num_classes,
        name="resnet18",
        blocks=(2, 2, 2, 2),
        entry=entry,
        dropout=dropout,
        drop_block=drop_block,
    )


def resnet34(
    stem: StemFactory,
    *,
    num_channels: int,
    num_classes: int,
    entry: str = "7x7",
    dropout: float = 0.0,
    drop_block: float = 0.0,
) -> Network:
    """ResNet34, both reports' rival, with the entry `"7x7"` there. Arguments and errors as `resnet18`."""
    return _imagenet_resnet(
        stem,
        num_channels,
        num_classes,
        name="resnet34",
        blocks=(3, 4, 6, 3),
        entry=entry,
        dropout=dropout,
        drop_block=drop_block,
    )


def resnet8(stem: StemFactory, *, num_channels: int, num_classes: int) -> Network:
    """3×3 first layer of 24 maps at full size, then three blocks of 32, 64 and 128 maps, each of stride 2."""
    first = plain_conv(num_channels, 24, kernel_size=3, padding=1)
    body = ResNetBody(plain_conv, entry=24, widths=(32, 64, 128), blocks=(1, 1, 1), strides=(2, 2, 2))
    return Network(stem(first), body, pooled_head(128, num_classes))


def dynamic_resnet12(
    stem: StemFactory,
    *,
    num_channels: int,
    num_classes: int,
    backend: str = "auto",
    num_kernels: int | Sequence[int] = 4,
    top_k: int | None = None,
) -> Network:
    """Report 2's DynamicResNet12: every convolution dynamic (19 on the main path, whatever the name says).

    Args:
        stem: makes the stem of the first layer.
        num_channels: of the images.
        num_classes: number of logits.
        backend: `DynamicConv2d`'s; the report's is `"each"`, K convolutions.
        num_kernels: of every layer, or a number for each in the order of the layers (see `models.prune`).
        top_k: keep so many kernels of largest attention for each image, or all where a layer has fewer.

    Raises:
        ConfigError: for numbers of kernels that are not as many as the layers, or a `top_k` above all of them.
    """
    counts: list[Any] = list(num_kernels) if isinstance(num_kernels, list | tuple) else [num_kernels] * DYNAMIC_LAYERS
    if any(type(count) is not int or count < 1 for count in counts):
        raise ConfigError(f"num_kernels is {num_kernels!r}, but a dynamic convolution has 1 kernel or more")
    if len(counts) != DYNAMIC_LAYERS:
        raise ConfigError(f"num_kernels has {len(counts)} numbers, but dynamic_resnet12 has {DYNAMIC_LAYERS} layers")
    if top_k is not None and (type(top_k) is not int or not 1 <= top_k <= max(counts)):
        raise ConfigError(f"top_k is {top_k!r}, but dynamic_resnet12 keeps 1 to {max(counts)} kernels here")
    rest = iter(counts)

    def conv(
        in_channels: int, out_channels: int, *, kernel_size: int, stride: int = 1, padding: int = 0
    ) -> DynamicConv2d:
        return DynamicConv2d(
            in_channels,
            out_channels,
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            num_kernels=(count := next(rest)),
            backend=backend,
            top_k=None if top_k is None else min(top_k, count),
        )

    first = conv(num_channels, 64, kernel_size=3, padding=1)
    widths, strides = (64, 128, 256), (2, 2, 2)
    body = ResNetBody(conv, entry=64, widths=widths, blocks=(3, 3, 3), strides=strides, pool=nn.MaxPool2d(2))
    return Network(stem(first), body, pooled_head(256, num_classes), min_size=2)
