"""A gate for each feature map and place, computed from what is around it.

Squeeze-and-excitation asks what is in the whole image; this asks what is near, as spatial attention modules do.

Source: the bottleneck of BAM (Park et al. 2018, arXiv 1807.06514) without dilation, per map instead of one map for all.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["LocalGate"]


class LocalGate(nn.Module):
    """y = x · sigmoid(BN(conv3×3(relu(BN(conv1×1(x))))))

    Shapes: (N, C, H, W) → the same.

    Args:
        channels: C.
        reduction: the hidden width is C // reduction, at least 16.

    Source: after the bottleneck of BAM, Park et al. 2018 (arXiv 1807.06514); see the module.

    Example:
        >>> import torch
        >>> from anychan.nn import LocalGate
        >>> LocalGate(64)(torch.randn(2, 64, 8, 8)).shape
        torch.Size([2, 64, 8, 8])
    """

    def __init__(self, channels: int, *, reduction: int = 4) -> None:
        super().__init__()
        hidden = max(channels // reduction, 16)
        self.reduce = nn.Sequential(nn.Conv2d(channels, hidden, 1, bias=False), nn.BatchNorm2d(hidden))
        self.expand = nn.Sequential(nn.Conv2d(hidden, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Scale each value by its gate."""
        gate: Tensor = self.expand(functional.relu(self.reduce(x))).sigmoid()
        return x * gate
