"""Convolution as PyTorch has it, but for one case that PyTorch computes wrongly."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

__all__ = ["conv2d"]


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
    """
    rows, columns = (stride, stride) if isinstance(stride, int) else stride
    if weight.shape[2:] == (1, 1) and (rows, columns) != (1, 1) and padding in (0, (0, 0), "valid"):
        return functional.conv2d(x[:, :, ::rows, ::columns], weight, bias)
    return functional.conv2d(x, weight, bias, stride, padding)
