"""Squeeze-and-excitation: a gate for each feature map, computed from the maps' means.

Source: Hu et al. 2018, Squeeze-and-Excitation Networks (arXiv 1709.01507). Both reports use linear layers with biases
and a reduction of 16; report 2 suggests 1×1 convolutions in their place, which compute the same.
"""

from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from anychan.errors import ConfigError

__all__ = ["SqueezeExcite"]


class SqueezeExcite(nn.Module):
    """y = x · sigmoid(W₂ relu(W₁ mean_hw(x) + b₁) + b₂)

    Shapes: (N, C, H, W) → the same.

    Args:
        channels: C.
        reduction: the hidden width is C // reduction.
        as_conv: write the two layers as 1×1 convolutions; from the same random state they start from the same weights.

    Raises:
        ConfigError: for a reduction that leaves no hidden unit.

    Example:
        >>> import torch
        >>> from anychan.nn import SqueezeExcite
        >>> SqueezeExcite(64)(torch.randn(2, 64, 8, 8)).shape
        torch.Size([2, 64, 8, 8])
    """

    def __init__(self, channels: int, *, reduction: int = 16, as_conv: bool = False) -> None:
        super().__init__()
        if not 1 <= reduction <= channels:
            raise ConfigError(
                f"squeeze-and-excitation of {channels} channels takes a reduction of 1 to {channels}, not {reduction}"
            )
        layer: Any = partial(nn.Conv2d, kernel_size=1) if as_conv else nn.Linear
        self.as_conv = as_conv
        self.squeeze = layer(channels, channels // reduction)
        self.excite = layer(channels // reduction, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Scale each map by its gate."""
        pooled = x.mean((2, 3), keepdim=self.as_conv)
        gate: Tensor = self.excite(functional.relu(self.squeeze(pooled))).sigmoid()  # (N, C), or (N, C, 1, 1)
        return x * (gate if self.as_conv else gate[:, :, None, None])
