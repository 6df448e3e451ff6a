"""Stochastic depth: in training, a residual branch is left out for some of the images.

Source: Huang et al. 2016, Deep Networks with Stochastic Depth (arXiv 1603.09382); the branch is scaled up in training
and not down afterwards, so that nothing is left of it in use.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anychan.errors import ConfigError

__all__ = ["DropPath"]


class DropPath(nn.Module):
    """In training, y = x · b / (1 − p) with b from {0, 1}, P(b = 0) = p, drawn for each image; else y = x.

    Shapes: (N, ...) → the same.

    Args:
        probability: p, of leaving the branch out.

    Raises:
        ConfigError: for a probability outside [0, 1).

    Source: Huang et al. 2016, Deep Networks with Stochastic Depth (arXiv 1603.09382).

    Example:
        >>> import torch
        >>> from anychan.nn import DropPath
        >>> DropPath(0.5)(torch.ones(64, 8, 4, 4)).unique()  # left out, or twice as much
        tensor([0., 2.])
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        if not 0 <= probability < 1:
            raise ConfigError(f"DropPath takes a probability of 0 or more and below 1, not {probability}")
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """Drop, in training; the random numbers are torch's."""
        if not self.training or not self.probability:
            return x
        kept = torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device) >= self.probability  # (N, 1, ...)
        return x * (kept / (1 - self.probability)).to(x.dtype)

    def extra_repr(self) -> str:
        """The number that `print(model)` shows."""
        return f"{self.probability}"
