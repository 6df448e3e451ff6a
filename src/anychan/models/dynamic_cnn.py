"""Report 1's DynamicCNN v1 and v2: a first layer whose kernel is generated for the number of channels."""

from torch import nn

from anychan.models.base import Network, StemFactory, pooled_head
from anychan.nn.generator import GeneratedConv2d

__all__ = ["dynamic_cnn_v1", "dynamic_cnn_v2"]


def dynamic_cnn_v1(stem: StemFactory, *, num_channels: int, num_classes: int) -> Network:
    """Generated convolution, 32 maps → BN → ReLU → pooling → linear. Source: report 1, problem A."""
    body = nn.Sequential(nn.BatchNorm2d(32), nn.ReLU())
    return Network(stem(GeneratedConv2d(num_channels, 32)), body, pooled_head(32, num_classes))


def dynamic_cnn_v2(stem: StemFactory, *, num_channels: int, num_classes: int) -> Network:
    """v1's first layer, then 3×3 convolution, 64 maps → BN → ReLU → pooling → two linear layers.

    Source: report 1, problem A.
    """
    body = nn.Sequential(
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.BatchNorm2d(64),
        nn.ReLU(),
    )
    return Network(stem(GeneratedConv2d(num_channels, 32)), body, pooled_head(64, 128, num_classes))
