"""Report 1's plain networks: the baseline of problem A, and the two- and four-layer networks of problem B.

Where the report's prose and its own counts disagree (strides, pooling), the structure is the one whose parameters and
MACs equal the report's numbers.
"""

from torch import nn

from anychan.models.base import Network, StemFactory, pooled_head
from anychan.nn.squeeze_excite import SqueezeExcite
from anychan.nn.stems import StemConv2d

__all__ = ["baseline_cnn", "se_2layer_cnn", "simple_2layer_cnn", "simple_4layer_cnn"]


def baseline_cnn(stem: StemFactory, *, num_channels: int, num_classes: int) -> Network:
    """Two 3×3 convolutions with ReLU before batch norm, a max pooling between. Source: report 1, problem A."""
    body = nn.Sequential(
        nn.ReLU(),
        nn.BatchNorm2d(32),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.BatchNorm2d(64),
    )
    first = StemConv2d(num_channels, 32, 3, padding=1)
    return Network(stem(first), body, pooled_head(64, num_classes), min_size=2)


def simple_2layer_cnn(stem: StemFactory, *, num_channels: int, num_classes: int) -> Network:
    """7×7 stride 4 → max pooling → 5×5 stride 3 without padding. Source: report 1, problem B."""
    return _two_layers(stem, num_channels, num_classes, gated=False)


def se_2layer_cnn(stem: StemFactory, *, num_channels: int, num_classes: int) -> Network:
    """`simple_2layer_cnn` with squeeze-and-excitation after each layer. Source: report 1, problem B."""
    return _two_layers(stem, num_channels, num_classes, gated=True)


def _two_layers(stem: StemFactory, num_channels: int, num_classes: int, *, gated: bool) -> Network:
    def gate(width: int) -> list[nn.Module]:
        return [SqueezeExcite(width)] if gated else []

    body = nn.Sequential(
        nn.BatchNorm2d(64),
        nn.ReLU(),
        *gate(64),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 128, 5, stride=3),
        nn.BatchNorm2d(128),
        nn.ReLU(),
        *gate(128),
    )
    first = StemConv2d(num_channels, 64, 7, stride=4, padding=3)
    # 37 pixels → 10 after the first layer → 5 after pooling: the 5×5 kernel's own size
    return Network(stem(first), body, pooled_head(128, 128, num_classes), min_size=37)


def simple_4layer_cnn(stem: StemFactory, *, num_channels: int, num_classes: int) -> Network:
    """7×7 stride 1, 5×5 stride 4, 3×3 stride 4, 3×3 stride 2, with two max poolings. Source: report 1, problem B."""
    body = nn.Sequential(
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, stride=4, padding=2),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 128, 3, stride=4, padding=1),
        nn.BatchNorm2d(128),
        nn.ReLU(),
        nn.Conv2d(128, 128, 3, stride=2, padding=1),
        nn.BatchNorm2d(128),
        nn.ReLU(),
    )
    first = StemConv2d(num_channels, 32, 7, padding=3)
    # 10 pixels → 5 after pooling → 2 after the second layer, which the second pooling needs
    return Network(stem(first), body, pooled_head(128, 128, num_classes), min_size=10)
