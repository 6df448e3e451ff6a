"""The step from raw sensor values to what the stem takes: inside the model, so that no door can disagree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from anychan.errors import ConfigError

__all__ = ["Normalize"]


class Normalize(nn.Module):
    """y = (x − offset) / scale, a channel each, in float32 whatever x's type is (uint8, uint16, float).

    Where x holds a channel's "no data" number, y is the channel's training mean, the value that tells least.

    The constants belong to the contract, not to the state dict, so that they cannot be saved twice and differ.

    Args:
        offset: (C,) raw values.
        scale: (C,) raw values, above 0.
        no_data: (C,) the raw number that stands for no data, NaN included; `None` for a channel without one.
        mean: (C,) training means in raw values; default: the offsets.

    Raises:
        ConfigError: for lengths that differ, or a scale that is not above 0.

    Example:
        >>> import torch
        >>> from anychan.nn import Normalize
        >>> normalize = Normalize([100.0, 200.0], [10.0, 50.0], no_data=[0, None])
        >>> normalize(torch.tensor([[120, 300], [0, 0]]).view(2, 2, 1, 1)).flatten(1)
        tensor([[ 2.,  2.],
                [ 0., -4.]])
    """

    offset: Tensor
    scale: Tensor
    no_data: Tensor
    nan_is_missing: Tensor
    filling: Tensor

    def __init__(
        self,
        offset: Sequence[float],
        scale: Sequence[float],
        no_data: Sequence[float | None] = (),
        mean: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if len(offset) != len(scale) or not all(value > 0 for value in scale):
            raise ConfigError(f"normalisation needs one offset and one scale above 0 a channel, not {offset}, {scale}")
        self.register_buffer("offset", torch.tensor(offset, dtype=torch.float32), persistent=False)
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32), persistent=False)
        self.has_no_data = any(number is not None for number in no_data)
        if self.has_no_data:
            numbers = torch.tensor([math.nan if number is None else number for number in no_data])
            self.register_buffer("no_data", numbers, persistent=False)  # NaN equals nothing
            declared = torch.tensor([number is not None for number in no_data])
            self.register_buffer("nan_is_missing", declared & numbers.isnan(), persistent=False)
            filling = (torch.tensor(offset if mean is None else mean, dtype=torch.float32) - self.offset) / self.scale
            self.register_buffer("filling", filling, persistent=False)

    def forward(self, x: Tensor, index: tuple[int, ...] | None = None) -> Tensor:
        """(N, S, H, W) → the same shape in float32; `index` says which channels the S are."""
        chosen = slice(None) if index is None else torch.tensor(index, device=self.offset.device)
        offset, scale = self.offset[chosen, None, None], self.scale[chosen, None, None]
        x = x.to(offset.dtype)
        normalised = (x - offset) / scale
        if not self.has_no_data:
            return normalised
        missing = (x == self.no_data[chosen, None, None]) | (x.isnan() & self.nan_is_missing[chosen, None, None])
        return torch.where(missing, self.filling[chosen, None, None], normalised)

    def for_index(self, index: tuple[int, ...]) -> Normalize:
        """A copy for the channels at these positions, in this order."""
        chosen = deepcopy(self)
        for name, buffer in self.named_buffers():
            setattr(chosen, name, buffer[list(index)])
        return chosen
