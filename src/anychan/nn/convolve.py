"""Convolution as PyTorch has it, but for two cases that PyTorch computes wrongly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["conv2d", "short_strides"]


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, ...] = 1,
    padding: int | str | tuple[int, ...] = 0,
) -> Tensor:
    """`functional.conv2d`; an unpadded, strided 1×1 convolution gets the pixels that it reads, at a stride of 1.

    On CPUs PyTorch 2.13 writes past its memory in the gradient of such a kernel, for channels-last float32 images of
    under 16 channels (oneDNN issue 6035), and the process dies. First layers are where images have so few.

    Shapes: x (N, C, H, W), weight (O, C, k, l), bias (O,) → (N, O, H', W').

    Example:
        >>> import torch
        >>> from anychan.nn import conv2d
        >>> conv2d(torch.randn(2, 3, 9, 9), torch.randn(8, 3, 1, 1), stride=2).shape
        torch.Size([2, 8, 5, 5])
    """
    rows, columns = (stride, stride) if isinstance(stride, int) else stride
    if weight.shape[2:] == (1, 1) and (rows, columns) != (1, 1) and padding in (0, (0, 0), "valid"):
        return functional.conv2d(x[:, :, ::rows, ::columns], weight, bias)
    return functional.conv2d(x, weight, bias, stride, padding)


@contextmanager
def short_strides(model: nn.Module) -> Iterator[None]:
    """While a model is trained, let no plain convolution with one place on its map have a stride longer than the map.

    With one place, any stride means the same. But on CPUs with AMX, PyTorch 2.13 leaves parts
    of such a kernel's gradient in bfloat16 unwritten where the stride is longer than the map is wide: whatever lay in
    that memory joins the weights, up to 1e36.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from anychan.nn import short_strides
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4, padding=1))
        >>> with short_strides(model):
        ...     model(torch.ones(1, 3, 2, 2)).sum().backward()
        >>> type(model[0]) is nn.Conv2d  # as before
        True
    """
    convs = [part for part in model.modules() if type(part) is nn.Conv2d and max(part.stride) > 1]
    for conv in convs:
        conv.__class__ = _ShortStrideConv2d
    try:
        yield
    finally:
        for conv in convs:
            conv.__class__ = nn.Conv2d


class _ShortStrideConv2d(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        whole = self.stride
        self.stride = tuple(self._short(input.shape[axis], axis - 2) for axis in (2, 3))
        try:
            return super().forward(input)
        finally:
            self.stride = whole

    def _short(self, side: int, axis: int) -> int:
        stride = self.stride[axis]
        if side >= stride or isinstance(self.padding, str) or self.padding_mode != "zeros":
            return stride
        steps = side + 2 * int(self.padding[axis]) - self.dilation[axis] * (self.kernel_size[axis] - 1) - 1
        return steps + 1 if 0 <= steps < stride else stride
