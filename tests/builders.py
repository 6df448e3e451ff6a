"""What many tests build: statistics, models, and the subsets of their channels."""

from itertools import combinations

import numpy as np
import torch
from torch import nn

from anychan.contract import ChannelStatistics
from anychan.models.base import AnyChannelModel
from anychan.models.catalog import create_model


def training_statistics(num_channels: int, *, mean: float = 4.0) -> ChannelStatistics:
    """Correlated channels, each with a mean of its own; every number is exact in float32."""
    rng = np.random.default_rng(num_channels)
    factors = rng.normal(size=(num_channels, 2 * num_channels))
    covariance = (factors @ factors.T).astype(np.float32).astype(np.float64)
    means = mean + np.arange(num_channels, dtype=np.float64)
    return ChannelStatistics(means, covariance, np.full((num_channels, num_channels), 100))


def subsets(num_channels: int) -> list[tuple[int, ...]]:
    """All subsets that are not empty, as positions."""
    return [chosen for size in range(1, num_channels + 1) for chosen in combinations(range(num_channels), size)]


def mask(num_channels: int, *rows: tuple[int, ...]) -> torch.Tensor:
    """(N, C) bool: the channels present in each image."""
    return torch.tensor([[channel in row for channel in range(num_channels)] for row in rows])


def build_model(name: str, stem: str | None = None, **options: object) -> AnyChannelModel:
    """A network for R, G, B and 5 classes, in float64 and eval mode.

    The training means are not the normalisation's offsets, so that every fill that can have an offset has one; the
    batch-norm statistics are not the fresh ones, so that leaving one out shows.
    """
    torch.manual_seed(3)
    model = create_model(
        name,
        num_classes=5,
        stem=stem,
        options=options,
        offset=(3.0, 5.0, 7.0),
        scale=(2.0, 4.0, 8.0),
        statistics=training_statistics(3),
    )
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return model.double().eval()


def raw_images(num_images: int, height: int, width: int) -> torch.Tensor:
    """(N, 3, H, W) in float64: noise around a constant of its own for each channel."""
    constants = torch.tensor([5.0, -3.0, 20.0], dtype=torch.float64).view(1, 3, 1, 1)
    return constants + 2 * torch.randn(num_images, 3, height, width, dtype=torch.float64)


def conv_macs(in_channels: int, out_channels: int, kernel_size: int, height: int, width: int) -> int:
    """Multiply-adds of a convolution, by the formula, from its *output's* size."""
    return in_channels * out_channels * kernel_size**2 * height * width
