"""Dynamic convolution: K kernels, mixed for each image by an attention over its channel means.

Source: Chen et al. 2020, Dynamic Convolution: Attention over Convolution Kernels (arXiv 1912.03458); sizes and the
constant temperature of 30 follow report 2's DynamicConv2d. Unlike the paper's, the temperature is not annealed.
"""

from __future__ import annotations

import math
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional

from anychan.errors import ConfigError
from anychan.nn.affine import Fold
from anychan.nn.dynamic_planner import CHOICES

__all__ = ["DynamicConv2d", "softmax_of_largest"]

# O·C·k·k up to which convolutions are mostly faster than matrix products on patches (1×1 kernels lie alike either way)
SMALL = 2**16


def softmax_of_largest(logits: Tensor, count: int) -> Tensor:
    """Softmax over the `count` largest logits of each row (N, K), 0 elsewhere; of equal ones the first are kept.

    Ties are common: where the attention's hidden units are all 0, so are all logits.
    """
    # comparisons, because topk breaks ties in another way for another number of columns, and ONNX has no stable sort
    mine, other = logits[:, :, None], logits[:, None, :]
    earlier = torch.ones(logits.shape[1], logits.shape[1], dtype=torch.bool, device=logits.device).tril(-1)
    rank = ((other > mine) | ((other == mine) & earlier)).sum(2)  # (N, K)
    return functional.softmax(logits.masked_fill(rank >= count, -math.inf), 1)


def _flat(kernels: Tensor) -> Tensor:
    """Kernels (K, O, C, k, k) in the layout of the backend that is fastest for most kernels of their size.

    Small ones are (K, O·C·k·k), for `mix_then_convolve`; others (K, O, k·k·C), for `mix_then_multiply`. Neither has
    five axes, because Module.to(memory_format=torch.channels_last) fails on them.
    """
    return kernels.flatten(1) if kernels[0].numel() <= SMALL else kernels.permute(0, 1, 3, 4, 2).flatten(2)


class DynamicConv2d(nn.Module):
    """A convolution whose kernel is mixed for each image.

    π = softmax(W₂ relu(W₁ mean_hw(x)) / T),  y = (Σ_k π_k W_k) * x

    Shapes: x (N, C, H, W) → (N, O, H', W'); π (N, K).

    Args:
        in_channels: C.
        out_channels: O.
        kernel_size: height and width of the kernel.
        stride: step in pixels.
        padding: zeros added at each border.
        num_kernels: K.
        reduction: the attention's hidden width is max(C // reduction, 1).
        temperature: T; a buffer, so that it travels with the weights.
        backend: one of `CHOICES`; they compute the same function.
        top_k: for each image, keep only so many kernels of largest attention: another function, and for k = 1 one
            whose choice gets no gradient. Of a single image, the other kernels are then never touched. Where C is below
            2 · `reduction`, the attention has one hidden unit and no bias, so the choice hardly follows the image.

    Raises:
        ConfigError: for an unknown backend, no kernel, or a `top_k` that is not between 1 and K.

    Source: Chen et al. 2020 (arXiv 1912.03458), as in report 2; see the module for where we differ.

    Example:
        >>> import torch
        >>> from anychan.nn import DynamicConv2d
        >>> conv, x = DynamicConv2d(3, 8, kernel_size=3, padding=1), torch.randn(2, 3, 16, 16)
        >>> conv(x).shape, conv.attention(x).shape
        (torch.Size([2, 8, 16, 16]), torch.Size([2, 4]))
    """

    temperature: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        num_kernels: int = 4,
        reduction: int = 4,
        temperature: float = 30.0,
        backend: str = "auto",
        top_k: int | None = None,
    ) -> None:
        super().__init__()
        if backend not in CHOICES:
            raise ConfigError(f"dynamic convolution has no backend {backend!r}; it has {', '.join(CHOICES)}")
        if type(num_kernels) is not int or num_kernels < 1:
            raise ConfigError(f"num_kernels is {num_kernels!r}, but a dynamic convolution has 1 kernel or more")
        if top_k is not None and (type(top_k) is not int or not 1 <= top_k <= num_kernels):
            raise ConfigError(f"top_k is {top_k!r}, but a layer of {num_kernels} kernels keeps 1 to {num_kernels}")
        self.stride, self.padding, self.backend, self.top_k = stride, padding, backend, top_k
        hidden = max(in_channels // reduction, 1)
        self.kernel_shape: tuple[int, ...] = (num_kernels, out_channels, in_channels, kernel_size, kernel_size)
        self.weight = nn.Parameter(_flat(torch.empty(self.kernel_shape)))
        self.squeeze = nn.Parameter(torch.empty(hidden, in_channels))
        self.excite = nn.Parameter(torch.empty(num_kernels, hidden))
        self.register_buffer("temperature", torch.tensor(float(temperature)))
        for kernel in (*self.weight.data.view(num_kernels, out_channels, -1), self.squeeze, self.excite):
            nn.init.kaiming_uniform_(kernel, a=math.sqrt(5))  # what nn.Conv2d does, for each kernel by itself

    @property
    def kernels(self) -> Tensor:
        """The weight as (K, O, C, k, k); channels are innermost in memory where kernels are large."""
        if self.weight.ndim == 2:
            return self.weight.view(self.kernel_shape)
        count, out_channels, in_channels, size, _ = self.kernel_shape
        return self.weight.view(count, out_channels, size, size, in_channels).permute(0, 1, 4, 2, 3)

    def attention(self, x: Tensor, squeeze: Tensor | None = None) -> Tensor:
        """Attention over the kernels, (N, K); each row sums to 1, and is 0 for kernels that `top_k` leaves out."""
        pooled = x.mean((2, 3))  # (N, C)
        hidden = functional.relu(functional.linear(pooled, self.squeeze if squeeze is None else squeeze))
        logits = functional.linear(hidden, self.excite) / self.temperature
        return functional.softmax(logits, 1) if self.top_k is None else softmax_of_largest(logits, self.top_k)

    def forward(self, x: Tensor, fold: Fold | None = None) -> Tensor:
        """Convolve x (N, C, H, W), or the present channels that `fold` describes."""
        kernels: Tensor = self.kernels
        squeeze: Tensor = self.squeeze
        if fold is not None:
            kernels, squeeze = fold.kernel(kernels, 2), fold.kernel(squeeze, 1)
        attention = self.attention(x, squeeze)
        # x.shape, because len(x) would make an exported batch a constant
        if self.top_k is not None and x.shape[0] == 1:
            chosen = attention[0].topk(self.top_k).indices  # all others are 0
            attention, kernels = attention[:, chosen], kernels[chosen]
        return CHOICES[self.backend](x, attention, kernels, self.stride, self.padding)

    def for_fold(self, fold: Fold | None) -> DynamicConv2d:
        """A copy for the present channels that `fold` describes, or for all."""
        layer = deepcopy(self)
        if fold is not None:
            kernels = fold.kernel(self.kernels, 2)
            layer.kernel_shape = tuple(kernels.shape)
            layer.weight = nn.Parameter(_flat(kernels.detach()))
            layer.squeeze = nn.Parameter(fold.kernel(self.squeeze, 1).detach())
        return layer

    def by_channel(self) -> dict[str, tuple[Tensor, int]]:
        """The kernels, (K, O, C, k, k), and the columns of W₁."""
        return {"weight": (self.kernels, 2), "squeeze": (self.squeeze, 1)}

    def extra_repr(self) -> str:
        """The sizes that `print(model)` shows."""
        kernels, out_channels, in_channels, size, _ = self.kernel_shape
        shape = f"{in_channels}, {out_channels}, kernel_size={size}, stride={self.stride}, num_kernels={kernels}"
        return shape if self.top_k is None else f"{shape}, top_k={self.top_k}"
