"""ChannelViT: a vision transformer whose tokens are patches of single channels."""

from __future__ import annotations

from typing import Any

from torch import nn

from anychan.errors import ConfigError
from anychan.models.base import Network, StemFactory
from anychan.nn.tokens import ChannelTokens
from anychan.nn.transformer import ClassTokenEncoder

__all__ = ["channel_vit_tiny"]

_MOST = 65_536  # of any of its numbers


def channel_vit_tiny(
    stem: StemFactory,
    *,
    num_channels: int,
    num_classes: int,
    patch_size: int = 8,
    image_size: int = 32,
    width: int = 192,
    depth: int = 12,
    heads: int = 3,
    dropout: float = 0.0,
    drop_path: float = 0.0,
) -> Network:
    """Patches of each channel alone as tokens, 12 blocks, and a linear layer on the class token.

    A subset costs its own tokens: S channels of an H×W image are 1 + S·ceil(H / patch_size)·ceil(W / patch_size). The
    feature maps are the class token's after the last layer norm, (N, width, 1, 1), which is all that the head reads.
    Any size from `patch_size` works: patches that the image does not fill are filled up with 0 after normalisation, at
    the bottom and right, and the positions are interpolated (see `ChannelTokens`).

    The paper trains it by hierarchical channel sampling: for each batch a number of channels, uniform from 1 to C, and
    then a subset of that size, uniform too. That is `train.channel_sampling: uniform_size`.

    Args:
        stem: makes the stem of the tokens.
        num_channels: of the images.
        num_classes: number of logits.
        patch_size: in pixels. The paper's 16 is for images of 224; 8 leaves 16 tokens a channel at 32×32, and 4
            leaves 64, for 4.4 times the MACs with three channels.
        image_size: that the positions are learned for, in pixels; other sizes interpolate them. Set it to the
            training images' own.
        width: D, of the tokens.
        depth: number of blocks.
        heads: of the attention, a divisor of the width.
        dropout: share of the tokens' and linear layers' values that is dropped in training.
        drop_path: probability that an image skips a branch of the last block in training; less in earlier blocks.

    Raises:
        ConfigError: for sizes that do not divide each other, numbers that are not whole from 1, or a share outside
            [0, 1).

    Source: Bao, Sivanandan and Karaletsos 2024, Channel Vision Transformers: An Image Is Worth C x 16 x 16 Words
        (arXiv 2309.16108), in the authors' tiny size. Attention dropout, 0 there, is left out.
    """
    whole = {"patch_size": patch_size, "image_size": image_size, "width": width, "depth": depth, "heads": heads}
    _check(whole, {"dropout": dropout, "drop_path": drop_path})
    tokens = ChannelTokens(num_channels, width, patch_size=patch_size, image_size=image_size, dropout=dropout)
    body = ClassTokenEncoder(width, depth=depth, heads=heads, dropout=dropout, drop_path=drop_path)
    linear = nn.Linear(width, num_classes)
    nn.init.trunc_normal_(linear.weight, std=0.02)
    nn.init.zeros_(linear.bias)
    return Network(stem(tokens), body, nn.Sequential(nn.Flatten(), linear), min_size=patch_size)


def _check(whole: dict[str, Any], shares: dict[str, Any]) -> None:
    for name, value in whole.items():
        if type(value) is not int or not 1 <= value <= _MOST:
            raise ConfigError(f"channel_vit_tiny's {name} is a whole number from 1 to {_MOST:,}, not {value!r}")
    for name, value in shares.items():
        if not isinstance(value, int | float) or not 0 <= value < 1:
            raise ConfigError(f"channel_vit_tiny's {name} is a share from 0 and below 1, not {value!r}")
    for name, part in (("image_size", "patch_size"), ("width", "heads")):
        if whole[name] % whole[part]:
            raise ConfigError(
                f"channel_vit_tiny's {name} is a multiple of its {part}, but {whole[name]} is none of {whole[part]}"
            )
