"""The step from raw sensor values to what the stem takes: inside the model, so that no door can disagree."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from anychan.errors import ConfigError

__all__ = ["Normalize"]


class Normalize(nn.Module):
    """y = (x − offset) / scale, a channel each, in float32 whatever x's type is (uint8, uint16, float).

    The constants belong to the contract, not to the state dict, so that they cannot be saved twice and differ.

    Args:
        offset: (C,) raw values.
        scale: (C,) raw values, above 0.

    Raises:
        ConfigError: for lengths that differ, or a scale that is not above 0.
    """

    offset: Tensor
    scale: Tensor

    def __init__(self, offset: Sequence[float], scale: Sequence[float]) -> None:
        super().__init__()
        if len(offset) != len(scale) or not all(value > 0 for value in scale):
            raise ConfigError(f"normalisation needs one offset and one scale above 0 a channel, not {offset}, {scale}")
        self.register_buffer("offset", torch.tensor(offset, dtype=torch.float32), persistent=False)
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32), persistent=False)

    def forward(self, x: Tensor, index: tuple[int, ...] | None = None) -> Tensor:
        """(N, S, H, W) → the same shape in float32; `index` says which channels the S are."""
        offset, scale = self.offset, self.scale
        if index is not None:
            chosen = torch.tensor(index, device=offset.device)
            offset, scale = offset[chosen], scale[chosen]
        return (x.to(offset.dtype) - offset[:, None, None]) / scale[:, None, None]
