"""DropBlock: dropout of whole squares of a feature map, because its neighbours tell what one dropped value was.

Source: Ghiasi et al. 2018, DropBlock (arXiv 1810.12890). The share dropped is constant; the paper's schedule, which
lets it grow during training, is left out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from anychan.errors import ConfigError

__all__ = ["DropBlock2d", "check_shares"]


def check_shares(network: str, **options: float) -> None:
    """Check a network's options that say what share of something is dropped.

    Args:
        network: its name.
        options: by name.

    Raises:
        ConfigError: for one that is not a number from 0 and below 1.
    """
    for name, share in options.items():
        if not isinstance(share, int | float) or not 0 <= share < 1:
            raise ConfigError(f"{network}'s {name} is a share from 0 and below 1, not {share!r}")


class DropBlock2d(nn.Module):
    """In training, zero random squares of each map and scale the rest up, so that the batch's sum of weights stays.

    Squares lie wholly inside the map; each of the (H − b + 1)(W − b + 1) places starts one with probability
    γ = p · HW / (b² (H − b + 1)(W − b + 1)). Overlaps make the dropped share a little smaller than p.

    Shapes: (N, C, H, W) → the same.

    Args:
        probability: p, the share of values to drop.
        block_size: b, in pixels of the map; smaller maps use their smaller side.

    Raises:
        ConfigError: for a probability outside [0, 1), or a block size below 1.

    Source: Ghiasi et al. 2018, DropBlock (arXiv 1810.12890), without the paper's schedule.

    Example:
        >>> import torch
        >>> from anychan.nn import DropBlock2d
        >>> y = DropBlock2d(0.1, block_size=3)(torch.ones(2, 8, 16, 16))
        >>> y.min().item(), round(y.mean().item(), 4)
        (0.0, 1.0)
    """

    def __init__(self, probability: float, *, block_size: int = 7) -> None:
        super().__init__()
        if not 0 <= probability < 1 or block_size < 1:
            raise ConfigError(
                f"DropBlock takes a probability of 0 or more and below 1 and a block size of 1 or more, not "
                f"{probability} and {block_size}"
            )
        self.probability, self.block_size = probability, block_size

    def forward(self, x: Tensor) -> Tensor:
        """Drop, in training; the random numbers are torch's."""
        if not self.training or not self.probability:
            return x
        count, maps, height, width = x.shape
        block = min(self.block_size, height, width)
        places = (height - block + 1, width - block + 1)
        gamma = self.probability * height * width / (block**2 * places[0] * places[1])
        corners = torch.rand(count, maps, *places, device=x.device) < gamma
        dropped = functional.max_pool2d(functional.pad(corners.float(), [block - 1] * 4), block, stride=1)
        kept = 1 - dropped  # (N, C, H, W)
        return x * (kept * (kept.numel() / kept.sum().clamp(min=1))).to(x.dtype)

    def extra_repr(self) -> str:
        """The sizes that `print(model)` shows."""
        return f"{self.probability}, block_size={self.block_size}"
