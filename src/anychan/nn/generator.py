"""Report 1's kernel generator: one small network for each *number* of channels.

Two weaknesses, kept faithful and named: the kernel depends on how many channels there are and not on which; and when
missing channels are zeroed, as the report's training did, the input keeps all its channels, so the generators for
fewer channels never get a gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from anychan.nn.affine import Fill, Fold
from anychan.nn.folding import conv_of
from anychan.nn.stems import Stem

__all__ = ["GeneratedConv2d", "GeneratorPerCountStem", "KernelGenerator"]


class KernelGenerator(nn.Module):
    """ones(1, 1, 1, 1) → Conv1×1 to 8 → ReLU → Conv1×1 to 16 → ReLU → Linear → kernel (O, c, k, k).

    Its input is a constant, so in effect the kernel is a parameter written in a roundabout way.

    Args:
        in_channels: c.
        out_channels: O.
        kernel_size: k.

    Source: report 1.

    Example:
        >>> from anychan.nn import KernelGenerator
        >>> KernelGenerator(3, 8, kernel_size=5)().shape
        torch.Size([8, 3, 5, 5])
    """

    def __init__(self, in_channels: int, out_channels: int, *, kernel_size: int) -> None:
        super().__init__()
        self.shape = (out_channels, in_channels, kernel_size, kernel_size)
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, 1),
            nn.ReLU(),
            nn.Conv2d(8, 16, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16, out_channels * in_channels * kernel_size**2),
        )

    def forward(self) -> Tensor:
        """The kernel (O, c, k, k)."""
        first = self.layers[0]
        assert isinstance(first, nn.Conv2d)
        constant = torch.ones(1, 1, 1, 1, device=first.weight.device, dtype=first.weight.dtype)
        return self.layers(constant).view(self.shape)  # type: ignore[no-any-return]


class GeneratedConv2d(nn.Module):
    """A convolution with padding k // 2 and no bias whose kernel comes from the generator for its channel count.

    Shapes: (N, C, H, W) → (N, O, H, W) for odd k.

    Args:
        in_channels: C, the largest count; there is a generator for each of 1 … C.
        out_channels: O.
        kernel_size: k.

    Source: report 1.

    Example:
        >>> import torch
        >>> from anychan.nn import GeneratedConv2d
        >>> conv = GeneratedConv2d(3, 8)
        >>> conv(torch.randn(2, 3, 16, 16)).shape, conv.convolve_count(torch.randn(2, 1, 16, 16)).shape
        (torch.Size([2, 8, 16, 16]), torch.Size([2, 8, 16, 16]))
    """

    def __init__(self, in_channels: int, out_channels: int, *, kernel_size: int = 3) -> None:
        super().__init__()
        self.padding = kernel_size // 2
        self.generators = nn.ModuleList(
            KernelGenerator(count, out_channels, kernel_size=kernel_size) for count in range(1, in_channels + 1)
        )

    def forward(self, x: Tensor, fold: Fold | None = None) -> Tensor:
        """Convolve by the generator for all C channels, folded if asked: report 1's zeroed channels."""
        weight = self.generators[-1]()
        weight = weight if fold is None else fold.kernel(weight, 1)
        return functional.conv2d(x, weight, padding=self.padding)

    def for_fold(self, fold: Fold | None) -> nn.Conv2d:
        """A plain convolution with the generated kernel, folded if asked."""
        weight = self.generators[-1]()
        return conv_of(weight if fold is None else fold.kernel(weight, 1), padding=self.padding)

    def convolve_count(self, x: Tensor) -> Tensor:
        """Convolve x (N, c, H, W) by the generator for c channels."""
        return functional.conv2d(x, self.generators[x.shape[1] - 1](), padding=self.padding)


class GeneratorPerCountStem(Stem):
    """Report 1's generators used as they were meant: an input of c channels gets the kernel for c.

    Channels are put in the model's order first, so that the order of names does not matter.

    Shapes: (N, c, H, W) → (N, O, H, W) for odd k.

    Args:
        conv: the generated convolution.
        fill: unused for absent channels; it carries the number of channels.

    Source: report 1.

    Example:
        >>> import torch
        >>> from anychan.nn import GeneratedConv2d, GeneratorPerCountStem, MeanFill
        >>> fill = MeanFill(torch.zeros(3), torch.ones(3))
        >>> stem = GeneratorPerCountStem(GeneratedConv2d(3, 8), fill)
        >>> stem(torch.randn(2, 2, 16, 16), index=(0, 2)).shape
        torch.Size([2, 8, 16, 16])
    """

    conv: GeneratedConv2d

    def __init__(self, conv: GeneratedConv2d, fill: Fill) -> None:
        super().__init__(conv, fill)

    def forward(self, x: Tensor, *, index: tuple[int, ...] | None = None, present: Tensor | None = None) -> Tensor:
        """Feature maps (N, O, H, W); see `anychan.nn.stems` for the three ways."""
        if index is not None:
            order = sorted(range(len(index)), key=index.__getitem__)
            return self.conv.convolve_count(x if order == list(range(len(index))) else x[:, order])
        if present is None:
            return self.conv.convolve_count(x)
        if torch.compiler.is_exporting():
            return self._every_count(x, present)
        counts = present.sum(1)
        rows, maps = [], []
        for count in counts.unique().tolist():
            chosen = (counts == count).nonzero().squeeze(1)  # (n,)
            kept = present[chosen].nonzero()[:, 1].view(len(chosen), count)  # (n, c): present channels, in order
            rows.append(chosen)
            maps.append(self.conv.convolve_count(x[chosen[:, None], kept]))
        return torch.cat(maps)[torch.cat(rows).argsort()]

    def _every_count(self, x: Tensor, present: Tensor) -> Tensor:
        """The same by all C kernels, of which each image keeps one: an exported file cannot sort a batch by counts."""
        # (N, C): present channels first, each part in order; no two keys are equal, as ONNX has no stable sort
        order = torch.sort(torch.arange(present.shape[1], device=x.device) + present.shape[1] * ~present, dim=1).indices
        x = x.where(present[:, :, None, None], 0)
        x = x.gather(1, order[:, :, None, None].expand_as(x))
        kernels = [generator() for generator in self.conv.generators]  # (O, c, k, k) each
        absent = [(0, 0, 0, 0, 0, len(kernels) - kernel.shape[1]) for kernel in kernels]
        weight = torch.cat([functional.pad(*pair) for pair in zip(kernels, absent, strict=True)])  # (C·O, C, k, k)
        maps = functional.conv2d(x, weight, padding=self.conv.padding).unflatten(1, (len(kernels), -1))
        counts = torch.arange(1, len(kernels) + 1, device=x.device)
        chosen = present.sum(1, keepdim=True) == counts  # (N, C)
        return maps.where(chosen[:, :, None, None, None], 0).sum(1)  # type: ignore[no-any-return]

    def for_index(self, index: tuple[int, ...]) -> nn.Conv2d:
        """A plain convolution with the kernel for so many channels, in the order of `index`."""
        weight = self.conv.generators[len(index) - 1]()
        places = torch.tensor([sorted(index).index(position) for position in index], device=weight.device)
        return conv_of(weight.index_select(1, places), padding=self.conv.padding)
