"""Squeeze-and-excitation: a gate for each feature map, computed from the maps' means.

Source: Hu et al. 2018, Squeeze-and-Excitation Networks (arXiv 1709.01507). Both reports use linear layers with biases
and a reduction of 16.
"""

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["SqueezeExcite"]


class SqueezeExcite(nn.Module):
    """y = x · sigmoid(W₂ relu(W₁ mean_hw(x) + b₁) + b₂)

    Shapes: (N, C, H, W) → the same.

    Args:
        channels: C.
        reduction: the hidden width is C // reduction.
    """

    def __init__(self, channels: int, *, reduction: int = 16) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // reduction)
        self.excite = nn.Linear(channels // reduction, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Scale each map by its gate."""
        gate: Tensor = self.excite(functional.relu(self.squeeze(x.mean((2, 3))))).sigmoid()  # (N, C)
        return x * gate[:, :, None, None]
