"""Ways to compute a convolution whose kernel is mixed for each image; equal but for rounding, unlike in cost.

y_n = (Σ_k π_nk W_k) * x_n

Shapes: x (N, C, H, W), attention π (N, K), kernels W (K, O, C, k, k) → (N, O, H', W'). `mix_then_convolve` reads
kernels whose memory runs O, C, k, k within each of the K, and `mix_then_multiply` those of O, k, k, C; each copies the
other's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from anychan.nn.convolve import conv2d

__all__ = [
    "BACKENDS",
    "Backend",
    "convolve_each",
    "convolve_stacked",
    "mix_then_convolve",
    "mix_then_multiply",
    "output_size",
]

# (x, attention, kernels, stride, padding) → y
Backend = Callable[[Tensor, Tensor, Tensor, int, int], Tensor]


def output_size(x: Tensor, kernels: Tensor, stride: int, padding: int) -> tuple[int, int]:
    """H', W'."""
    height, width = ((side + 2 * padding - kernels.shape[-1]) // stride + 1 for side in x.shape[2:])
    return height, width


def mix_then_convolve(x: Tensor, attention: Tensor, kernels: Tensor, stride: int, padding: int) -> Tensor:
    """Mix the K kernels for each image, then convolve once, a group an image: 1/K of `convolve_each`'s MACs.

    Of one image it is an ordinary convolution. It writes and reads N kernels, whatever the image's size.
    """
    images, channels, height, width = x.shape
    _, out_channels, _, kernel_size, _ = kernels.shape
    mixed = attention @ kernels.flatten(1)  # (N, O·C·k·k)
    mixed = mixed.view(images * out_channels, channels, kernel_size, kernel_size)
    if images == 1:
        return conv2d(x, mixed, None, stride, padding)
    stacked = x.reshape(1, images * channels, height, width)
    y = functional.conv2d(stacked, mixed, None, stride, padding, groups=images)
    return y.view(images, out_channels, y.shape[-2], y.shape[-1])


def mix_then_multiply(x: Tensor, attention: Tensor, kernels: Tensor, stride: int, padding: int) -> Tensor:
    """Mix the K kernels for each image, then multiply its patches by them: as few MACs as `mix_then_convolve`.

    Matrix products read a mixed kernel as it was written; convolutions bring it into a form of their own first, which
    costs more than the arithmetic where kernels are large and images small. A 1×1 convolution has no patches to copy.
    """
    images, count, size = x.shape[0], kernels.shape[0], kernels.shape[-1]
    height, width = output_size(x, kernels, stride, padding)
    rows = kernels.permute(0, 1, 3, 4, 2).reshape(count, -1)  # (K, O·k·k·C)
    mixed = (attention @ rows).view(images, kernels.shape[1], -1)  # (N, O, k·k·C)
    x = x.to(mixed.dtype)  # which autocast chose
    patches = _Patches.apply(x, size, stride, padding)  # type: ignore[no-untyped-call]  # (N, H'·W', k·k·C)
    y: Tensor = _MultiplyTransposed.apply(patches, mixed)  # type: ignore[no-untyped-call]  # (N, H'·W', O)
    return y.view(images, height, width, -1).permute(0, 3, 1, 2)


def convolve_each(x: Tensor, attention: Tensor, kernels: Tensor, stride: int, padding: int) -> Tensor:
    """Convolve with each of the K kernels and add up by attention, as report 2 does; exports with a dynamic batch."""
    parts = torch.stack([conv2d(x, kernel, None, stride, padding) for kernel in kernels])
    return (attention.T[:, :, None, None, None] * parts).sum(0)  # parts: (K, N, O, H', W')


def convolve_stacked(x: Tensor, attention: Tensor, kernels: Tensor, stride: int, padding: int) -> Tensor:
    """Convolve once with all K·O output maps and add up by attention."""
    count, out_channels = kernels.shape[:2]
    y = conv2d(x, kernels.flatten(0, 1), None, stride, padding)
    parts: Tensor = y.unflatten(1, (count, out_channels))  # (N, K, O, H', W')
    return (attention[:, :, None, None, None] * parts).sum(1)


class _Patches(torch.autograd.Function):
    """x (N, C, H, W) → what each place of the output sees, (N, H'·W', k·k·C).

    `functional.unfold` does it for channels-first images, and takes several times as long.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: int, stride: int, padding: int) -> Tensor:
        """Copies of a zero-padded, channels-last image's k·k shifts."""
        ctx.shape, ctx.options = x.shape, (size, stride, padding)
        padded = functional.pad(x.permute(0, 2, 3, 1), (0, 0, padding, padding, padding, padding)).contiguous()
        images, rows, columns, channels = padded.shape
        height, width = (rows - size) // stride + 1, (columns - size) // stride + 1
        image, row, column, _ = padded.stride()
        windows = padded.as_strided(
            (images, height, width, size, size, channels), (image, row * stride, column * stride, row, column, 1)
        )
        return windows.reshape(images, height * width, size * size * channels)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        """Each shift's part is added where it was read."""
        images, channels, rows, columns = ctx.shape
        size, stride, padding = ctx.options
        height, width = ((side + 2 * padding - size) // stride + 1 for side in (rows, columns))
        parts = gradient.reshape(images, height, width, size, size, channels)
        padded = gradient.new_zeros(images, rows + 2 * padding, columns + 2 * padding, channels)
        for row in range(size):
            for column in range(size):
                rows_read = slice(row, row + stride * (height - 1) + 1, stride)
                columns_read = slice(column, column + stride * (width - 1) + 1, stride)
                padded[:, rows_read, columns_read] += parts[:, :, :, row, column]
        inner = padded[:, padding : padding + rows, padding : padding + columns]
        return inner.permute(0, 3, 1, 2), None, None, None


class _MultiplyTransposed(torch.autograd.Function):
    """a (N, P, Q) times b (N, O, Q) transposed → (N, P, O).

    The gradient of b has b's own layout. `torch.bmm`'s would be transposed, and copied before it is used again.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        """Batched a bᵀ."""
        ctx.save_for_backward(a, b)
        return torch.bmm(a, b.transpose(1, 2))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """g b, and gᵀ a."""
        a, b = ctx.saved_tensors
        needs_a, needs_b = ctx.needs_input_grad
        of_a = torch.bmm(gradient, b) if needs_a else None
        of_b = torch.bmm(gradient.transpose(1, 2), a) if needs_b else None
        return of_a, of_b


BACKENDS: dict[str, Backend] = {
    "mix": mix_then_convolve,
    "multiply": mix_then_multiply,
    "each": convolve_each,
    "stacked": convolve_stacked,
}
