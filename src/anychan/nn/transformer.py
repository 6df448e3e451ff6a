"""A pre-norm transformer encoder over the tokens of an image.

Source: Dosovitskiy et al. 2021, An Image is Worth 16x16 Words (arXiv 2010.11929).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from anychan.errors import ConfigError
from anychan.nn.drop_path import DropPath
from anychan.nn.tokens import Tokens

__all__ = ["Attention", "ClassTokenEncoder", "TransformerBlock"]

EPSILON = 1e-6  # of every layer norm, as vision transformers have it


class Attention(nn.Module):
    """Multi-head self-attention: softmax(q kᵀ / √d) v for each head, then a linear layer; d = D / heads.

    Shapes: (N, T, D) → the same.

    Args:
        width: D.
        heads: a divisor of `width`.

    Raises:
        ConfigError: for another number of heads.

    Example:
        >>> import torch
        >>> from anychan.nn import Attention
        >>> Attention(16, heads=4)(torch.randn(2, 33, 16)).shape
        torch.Size([2, 33, 16])
    """

    def __init__(self, width: int, *, heads: int) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise ConfigError(f"attention of width {width} cannot be divided among {heads} heads; take a divisor of it")
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)

    def forward(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        """Attend to all tokens, or to those that the mask (N, T) names."""
        qkv = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (3, N, heads, T, d)
        mask = None if present is None else present[:, None, None]  # (N, 1, 1, T)
        q, k, v = qkv.unbind(0)
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)  # (N, heads, T, d)
        return self.project(y.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class TransformerBlock(nn.Module):
    """x ← x + attention(LN(x)), then x ← x + MLP(LN(x)); the MLP is Linear to 4 D → GELU → Linear.

    Shapes: (N, T, D) → the same.

    Args:
        width: D.
        heads: of the attention.
        dropout: share of each linear layer's values, after attention and in the MLP, that is dropped in training.
        drop_path: probability that an image skips a branch in training.

    Raises:
        ConfigError: as `Attention` and `DropPath`.

    Example:
        >>> import torch
        >>> from anychan.nn import TransformerBlock
        >>> TransformerBlock(16, heads=4)(torch.randn(2, 33, 16)).shape
        torch.Size([2, 33, 16])
    """

    def __init__(self, width: int, *, heads: int, dropout: float = 0.0, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPSILON)
        self.attention = Attention(width, heads=heads)
        self.dropout = nn.Dropout(dropout)
        self.norm2 = nn.LayerNorm(width, eps=EPSILON)
        hidden, out = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.mlp = nn.Sequential(hidden, nn.GELU(), nn.Dropout(dropout), out, nn.Dropout(dropout))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        """The block's output; `present` as `Attention`'s."""
        x = x + self.drop_path(self.dropout(self.attention(self.norm1(x), present)))
        return x + self.drop_path(self.mlp(self.norm2(x)))  # type: ignore[no-any-return]


class ClassTokenEncoder(nn.Module):
    """Blocks, a last layer norm, and of the result the class token, as D maps of one pixel.

    Drop path grows linearly from 0 in the first block to `drop_path` in the last.

    Shapes: `Tokens` of (N, T, D) → (N, D, 1, 1).

    Args:
        width: D.
        depth: number of blocks.
        heads: of every block.
        dropout: of every block.
        drop_path: of the last block.

    Raises:
        ConfigError: as `TransformerBlock`.

    Example:
        >>> import torch
        >>> from anychan.nn import ChannelTokens, ClassTokenEncoder
        >>> stem = ChannelTokens(3, 16, patch_size=8, image_size=32)
        >>> ClassTokenEncoder(16, depth=2, heads=4)(stem(torch.randn(2, 3, 32, 32))).shape
        torch.Size([2, 16, 1, 1])
    """

    def __init__(self, width: int, *, depth: int, heads: int, dropout: float = 0.0, drop_path: float = 0.0) -> None:
        super().__init__()
        shares = [drop_path * number / max(1, depth - 1) for number in range(depth)]
        self.blocks = nn.ModuleList(
            TransformerBlock(width, heads=heads, dropout=dropout, drop_path=share) for share in shares
        )
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, tokens: Tokens) -> Tensor:
        """The class token's D values, which saw every present token."""
        x = tokens.values
        for block in self.blocks:
            x = block(x, tokens.present)
        return self.norm(x[:, 0])[:, :, None, None]  # type: ignore[no-any-return]
