"""Channel expansion: a small network a pixel guesses the channels that are absent from those that are present.

Source: report 2's suggestion of channel expansion by an MLP.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from anychan.nn.affine import Fill, Fold
from anychan.nn.folding import conv_of
from anychan.nn.stems import Stem

__all__ = ["ExpansionStem"]

HIDDEN = 32


class ExpansionStem(Stem):
    """x_all = x where present, else W₂ relu(W₁ x_present + V m + b₁) + b₂, m being the mask; then the first layer.

    W₂ and b₂ start at 0, so that it starts as mean fill. Present channels stay as they are: only absent ones are
    guessed. What it costs: with h = 32 hidden units, h · S + h · (C - S) = h · C multiply-adds a pixel, and then the
    first layer over all C channels, whatever S is, where an affine fill costs the S alone; training keeps h maps of
    the image's size. With all channels present it is the first layer and no more.

    Shapes: (N, S, H, W) → (N, O, H', W').

    Args:
        conv: the network's first layer over all C channels, of any kind.
        fill: gives the number of channels, and zeros for absent ones (`MeanFill`).

    Source: report 2's suggestion of channel expansion by an MLP.

    Example:
        >>> import torch
        >>> from anychan.nn import ExpansionStem, MeanFill, StemConv2d
        >>> fill = MeanFill(torch.zeros(3), torch.ones(3))
        >>> stem = ExpansionStem(StemConv2d(3, 8, 3, padding=1), fill)
        >>> stem(torch.randn(2, 2, 16, 16), index=(0, 2)).shape
        torch.Size([2, 8, 16, 16])
    """

    def __init__(self, conv: nn.Module, fill: Fill) -> None:
        super().__init__(conv, fill)
        self.values = nn.Conv2d(fill.num_channels, HIDDEN, 1, bias=False)  # W₁
        self.presence = nn.Linear(fill.num_channels, HIDDEN)  # V and b₁
        self.guess = nn.Conv2d(HIDDEN, fill.num_channels, 1)  # W₂ and b₂
        nn.init.zeros_(self.guess.weight)
        assert self.guess.bias is not None
        nn.init.zeros_(self.guess.bias)

    def forward(self, x: Tensor, *, index: tuple[int, ...] | None = None, present: Tensor | None = None) -> Tensor:
        """Feature maps (N, O, H', W'); see `anychan.nn.stems` for the three ways."""
        if index is not None:
            x = self._expand(x, index)
        elif present is not None:
            x = self.fill(x, present)
            hidden = functional.conv2d(x, self.values.weight) + self.presence(present.to(x.dtype))[:, :, None, None]
            x = torch.where(present[:, :, None, None], x, self.guess(functional.relu(hidden)))
        return self.conv(x)  # type: ignore[no-any-return]

    def _expand(self, x: Tensor, index: tuple[int, ...]) -> Tensor:
        """x (N, S, H, W) in the order of `index` → (N, C, H, W) in the model's; absent channels cost W₁ nothing."""
        absent = tuple(sorted(set(range(self.fill.num_channels)) - set(index)))
        given, missing = Fold(index), Fold(absent)
        if absent:
            mask = functional.linear(
                x.new_ones(1, len(index)), given.kernel(self.presence.weight, 1), self.presence.bias
            )
            hidden = functional.conv2d(x, given.kernel(self.values.weight, 1)) + mask[:, :, None, None]
            assert self.guess.bias is not None
            weight, bias = (missing.kernel(part, 0) for part in (self.guess.weight, self.guess.bias))
            x = torch.cat([x, functional.conv2d(functional.relu(hidden), weight, bias)], 1)
        order = index + absent
        if order == tuple(range(len(order))):
            return x
        places = sorted(range(len(order)), key=order.__getitem__)
        return x.index_select(1, torch.tensor(places, device=x.device))

    def for_index(self, index: tuple[int, ...]) -> nn.Module:
        """Plain layers for one subset, (N, S, H, W) → (N, O, H', W')."""
        absent = tuple(sorted(set(range(self.fill.num_channels)) - set(index)))
        conv: nn.Module = self.conv.for_fold(Fold(index + absent))  # type: ignore[operator]
        if not absent:
            return conv
        given, missing = Fold(index), Fold(absent)
        assert self.guess.bias is not None
        mask = given.kernel(self.presence.weight, 1).sum(1) + self.presence.bias
        hidden = conv_of(given.kernel(self.values.weight, 1), mask)
        guess = conv_of(missing.kernel(self.guess.weight, 0), missing.kernel(self.guess.bias, 0))
        return nn.Sequential(_WithGuess(nn.Sequential(hidden, nn.ReLU(), guess)), conv)

    def by_channel(self) -> dict[str, tuple[Tensor, int]]:
        """The columns of W₁ and V, the rows of W₂ and b₂."""
        assert self.guess.bias is not None
        into = {"values.weight": (self.values.weight, 1), "presence.weight": (self.presence.weight, 1)}
        return {**into, "guess.weight": (self.guess.weight, 0), "guess.bias": (self.guess.bias, 0)}


class _WithGuess(nn.Module):
    """Maps (N, S, H, W) and those that a network guesses from them, stacked."""

    def __init__(self, guess: nn.Module) -> None:
        super().__init__()
        self.guess = guess

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.guess(x)], 1)
