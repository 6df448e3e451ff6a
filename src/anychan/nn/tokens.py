"""Tokens of single channels: the stem of networks that attend to channels instead of mixing them in a first layer.

Nothing stands in for an absent channel: it has no tokens. The three ways of `anychan.nn.stems` hold here too, and the
last two agree in eval mode.
"""

from __future__ import annotations

from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from anychan.errors import ConfigError
from anychan.nn.exporting import is_free

__all__ = ["ChannelTokens", "Tokens"]


class Tokens(NamedTuple):
    """What `ChannelTokens` gives: T = 1 + S·h·w tokens an image, the class token first, then channel by channel.

    Attributes:
        values: (N, T, D).
        present: (N, T) bool, the tokens that may be attended to; `None` for all.

    Example:
        >>> import torch
        >>> from anychan.nn import ChannelTokens
        >>> stem, present = ChannelTokens(3, 16, patch_size=8, image_size=16), torch.tensor([[True, False, True]])
        >>> stem(torch.randn(1, 3, 16, 16), present=present).present.sum()  # 1 + 2 * 2 * 2 of 13
        tensor(9)
    """

    values: Tensor
    present: Tensor | None


class ChannelTokens(nn.Module):
    """token(c, i, j) = W x[c, patch (i, j)] + b + channel[c] + position[i, j], and one class token before all.

    W, b and the positions are shared by all channels. Positions are learned for images of `image_size`; for a patch
    grid of another shape they are interpolated (bicubic, as in the authors' code). A last row or column of patches
    that the image does not fill is filled up with 0, each channel's offset in raw values, at the bottom and right.

    Shapes: (N, S, H, W) → (N, 1 + S·h·w, D), h = ceil(H / patch_size), w = ceil(W / patch_size).

    Args:
        num_channels: C, of the model.
        width: D.
        patch_size: in pixels.
        image_size: height and width that the positions are learned for, in pixels, a multiple of `patch_size`.
        dropout: share of the tokens' values that is dropped in training.

    Raises:
        ConfigError: for an image size that is not a multiple of the patch size.

    Source: Bao et al. 2024, ChannelViT (arXiv 2309.16108). In the authors' code the class token has a position too; the
    sum of two parameters is one parameter here.

    Example:
        >>> import torch
        >>> from anychan.nn import ChannelTokens
        >>> stem = ChannelTokens(3, 16, patch_size=8, image_size=32)
        >>> stem(torch.randn(2, 2, 32, 32), index=(0, 2)).values.shape
        torch.Size([2, 33, 16])
    """

    def __init__(
        self, num_channels: int, width: int, *, patch_size: int, image_size: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if patch_size < 1 or image_size < 1 or image_size % patch_size:
            raise ConfigError(
                f"tokens need an image_size that is a multiple of patch_size, not {image_size} and {patch_size}"
            )
        self.patch_size = patch_size
        grid = image_size // patch_size
        self.project = nn.Linear(patch_size**2, width)
        self.channels = nn.Parameter(torch.empty(num_channels, width))
        self.positions = nn.Parameter(torch.empty(grid, grid, width))
        self.class_token = nn.Parameter(torch.empty(width))
        self.dropout = nn.Dropout(dropout)
        for parameter in (self.channels, self.positions, self.class_token):
            nn.init.trunc_normal_(parameter, std=0.02)

    def forward(self, x: Tensor, *, index: tuple[int, ...] | None = None, present: Tensor | None = None) -> Tokens:
        """Tokens of normalised images; what x holds in absent channels is never read. A masked image costs as a whole.

        Args:
            x: (N, C, H, W), or (N, S, H, W) with `index`.
            index: positions of the S channels given.
            present: (N, C) bool, a subset a sample.
        """
        if present is not None:
            x = x.where(present[:, :, None, None], 0)  # NaN would pass through attention, even with weight 0
        patches = self._patches(x)
        height, width = patches.shape[2:4]
        channels = self.channels if index is None else self.channels[torch.tensor(index, device=x.device)]
        values = self.project(patches) + channels[:, None, None] + self._positions(height, width)  # (N, S, h, w, D)
        values = torch.cat([self.class_token.expand(x.shape[0], 1, -1), values.flatten(1, 3)], 1)
        if present is not None:
            present = present[:, :, None].expand(-1, -1, height * width).flatten(1)
            present = torch.cat([present.new_ones(x.shape[0], 1), present], 1)
        return Tokens(self.dropout(values), present)

    def for_index(self, index: tuple[int, ...]) -> ChannelTokens:
        """A copy that takes the channels of one subset alone, in the order of `index`."""
        tokens = deepcopy(self)
        tokens.channels = nn.Parameter(self.channels.detach()[list(index)])
        return tokens

    def by_channel(self) -> dict[str, tuple[Tensor, int]]:
        """What is added to each channel's tokens, (C, D); see `anychan.nn.stems`."""
        return {"channels": (self.channels, 0)}

    def _patches(self, x: Tensor) -> Tensor:
        """(N, S, H, W) → (N, S, h, w, patch_size²)."""
        size, (height, width) = self.patch_size, x.shape[2:]
        rows, columns = (height + size - 1) // size, (width + size - 1) // size
        if is_free(height) or (rows * size, columns * size) != (height, width):
            x = functional.pad(x, (0, columns * size - width, 0, rows * size - height))
        x = x.reshape(*x.shape[:2], rows, size, columns, size)
        return x.transpose(3, 4).flatten(4)

    def _positions(self, height: int, width: int) -> Tensor:
        """(h, w, D)."""
        if not is_free(height) and self.positions.shape[:2] == (height, width):
            return self.positions
        maps = self.positions.permute(2, 0, 1)[None]  # (1, D, grid, grid)
        maps = functional.interpolate(maps, (height, width), mode="bicubic")
        return maps[0].permute(1, 2, 0)
