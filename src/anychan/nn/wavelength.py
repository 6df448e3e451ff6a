"""Kernels from wavelengths: a first layer that can meet a channel it was never trained on.

The idea of kernels generated from wavelengths is that of DOFA (Xiong et al. 2024, Neural Plasticity-Inspired Multimodal
Foundation Model for Earth Observation, arXiv 2403.15356). Unlike theirs, the network is two layers, a learned vector by
channel identity joins in, and the kernels are those of a convolution, not of patches.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from anychan.channels import Channel
from anychan.nn.affine import Fill
from anychan.nn.convolve import conv2d
from anychan.nn.folding import conv_of
from anychan.nn.stems import Stem, StemConv2d, side_by_side

__all__ = ["CodedConv2d", "WavelengthStem", "spectral_features"]

HIDDEN, NAME = 64, 16
# in octaves: the longest tells 400 nm from 12 µm, the shortest Sentinel-2's red edge bands from each other
CENTRE_PERIODS = (8.0, 4.0, 2.0, 1.0, 0.5)
WIDTH_PERIODS = (8.0, 4.0)


def _waves(ratio: float | None, periods: Sequence[float]) -> list[float]:
    if ratio is None:
        return [0.0] * 2 * len(periods)
    angles = [2 * math.pi * math.log2(ratio) / period for period in periods]
    return [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]


def spectral_features(channel: Channel) -> list[float]:
    """Sines and cosines of log₂(λ / µm) and of log₂(width / λ): 14 numbers of norm 1, or all 0 without a wavelength.

    Those of the width are 0 where it is not known, which no width gives.

    Example:
        >>> from anychan import Channel
        >>> from anychan.nn import spectral_features
        >>> red = spectral_features(Channel("red", "drone", wavelength_nm=660, width_nm=30))
        >>> len(red), round(sum(number**2 for number in red), 6)
        (14, 1.0)
    """
    centre, width = channel.wavelength_nm, channel.width_nm
    waves = _waves(None if centre is None else centre / 1000, CENTRE_PERIODS)
    waves += _waves(None if centre is None or width is None else width / centre, WIDTH_PERIODS)
    norm = math.hypot(*waves)
    return [wave / norm for wave in waves] if norm else waves


class CodedConv2d(nn.Module):
    """A convolution whose kernel for a channel is linear in the channel's code: kernel = W code, of shape (O, k, k).

    It has the size, stride, padding and bias of an ordinary convolution, and its initial scale for codes of norm 1.

    Args:
        conv: the ordinary convolution.
        code_size: numbers in a code.
    """

    def __init__(self, conv: StemConv2d, code_size: int) -> None:
        super().__init__()
        self.shape = (conv.out_channels, *conv.kernel_size)
        self.stride, self.padding = conv.stride, conv.padding
        self.weight = nn.Parameter(conv.weight.detach().std() * torch.randn(math.prod(self.shape), code_size))
        self.bias = conv.bias

    def kernel(self, codes: Tensor) -> Tensor:
        """Codes (S, code_size) → (O, S, k, k)."""
        return functional.linear(codes, self.weight).view(-1, *self.shape).transpose(0, 1)

    def forward(self, x: Tensor, codes: Tensor, share: float) -> Tensor:
        """Convolve x (N, S, H, W) by the kernels of S codes, times `share`."""
        return conv2d(x, share * self.kernel(codes), self.bias, self.stride, self.padding)


class WavelengthStem(Stem):
    """kernel_c = U relu(P φ(λ_c, width_c)) + V n_c on the present channels, times T/S.

    φ: see `spectral_features`; n_c: a vector learned for the channel's name, 0 at the start; [U V]: `CodedConv2d`. A
    channel without a wavelength has φ = 0, so its kernel is that of its name alone, which starts at random. A channel
    that was never trained (`interpolated`) has no name vector, so its kernel is that of its wavelength alone. Nothing
    in training leaves the names out: the two parts share a kernel as the gradient divides it, so how good a kernel from
    the wavelength alone is must be measured, by leaving a known channel out of the training.

    T is the number of channels trained, not of all known: more channels known later leave the answers for the old ones
    as they are. What it costs beyond the convolution of the present channels: their kernels, (64 + 16) · O · k²
    multiply-adds each, whatever the image's size.

    Shapes: (N, S, H, W) → (N, O, H', W'), O being the maps of all convolutions together.

    Args:
        convs: the network's first layer: ordinary convolutions side by side, which share the codes.
        fill: gives the number of channels, and zeros for absent ones (`MeanFill`).
        channels: the C channels, in order.
        interpolated: identities of those that were never trained.

    Source: after DOFA, Xiong et al. 2024 (arXiv 2403.15356); see the module for where we differ.

    Example:
        >>> import torch
        >>> from anychan import Channel
        >>> from anychan.nn import MeanFill, StemConv2d, WavelengthStem
        >>> bands = [Channel(f"{nm} nm", "drone", wavelength_nm=nm) for nm in (475, 560, 668, 840)]
        >>> fill, conv = MeanFill(torch.zeros(4), torch.ones(4)), StemConv2d(4, 8, 3, padding=1)
        >>> stem = WavelengthStem([conv], fill, bands, interpolated={"drone:840 nm"})  # never trained
        >>> stem(torch.randn(2, 1, 16, 16), index=(3,)).shape
        torch.Size([2, 8, 16, 16])
    """

    conv: nn.ModuleList
    features: Tensor

    def __init__(
        self, convs: Sequence[StemConv2d], fill: Fill, channels: Sequence[Channel], interpolated: Collection[str] = ()
    ) -> None:
        super().__init__(nn.ModuleList(CodedConv2d(conv, HIDDEN + NAME) for conv in convs), fill)
        trained = [channel for channel in channels if channel.identity not in interpolated]
        self.num_trained = len(trained)
        # a channel's row in the name vectors; one row beyond them is 0
        self.rows = tuple(trained.index(c) if c in trained else self.num_trained for c in channels)
        features = torch.tensor([spectral_features(channel) for channel in channels])  # (C, F)
        self.register_buffer("features", features, persistent=False)
        # relu halves the square: codes have a norm of 1 on average
        self.spectrum = nn.Parameter(torch.randn(HIDDEN, features.shape[1]) * math.sqrt(2 / HIDDEN))  # P
        self.names = nn.Parameter(torch.zeros(self.num_trained, NAME))  # n
        for row, channel in enumerate(trained):
            if channel.wavelength_nm is None:
                nn.init.normal_(self.names.data[row], std=1 / math.sqrt(NAME))

    def codes(self, index: tuple[int, ...]) -> Tensor:
        """(S, 80): what the kernels of the channels at these positions are made of."""
        device = self.features.device
        features = self.features.index_select(0, torch.tensor(index, device=device))
        names = functional.pad(self.names, (0, 0, 0, 1))
        names = names.index_select(0, torch.tensor([self.rows[position] for position in index], device=device))
        return torch.cat([functional.relu(functional.linear(features, self.spectrum)), names], 1)

    def forward(self, x: Tensor, *, index: tuple[int, ...] | None = None, present: Tensor | None = None) -> Tensor:
        """Feature maps (N, O, H', W'); see `anychan.nn.stems` for the three ways."""
        codes = self.codes(tuple(range(self.fill.num_channels)) if index is None else index)
        share = self.num_trained / len(codes)
        if present is not None:
            counts = present.sum(1).to(x.dtype)[:, None, None, None]
            x, share = self.fill(x, present) * (self.num_trained / counts), 1.0
        return torch.cat([conv(x, codes, share) for conv in self.conv], 1)

    def for_index(self, index: tuple[int, ...]) -> nn.Module:
        """Plain convolutions for one subset, (N, S, H, W) → (N, O, H', W'), with the kernels that its codes make."""
        codes = self.codes(index)
        share = self.num_trained / len(codes)
        parts = cast(Iterable[CodedConv2d], self.conv)
        return side_by_side([conv_of(share * p.kernel(codes), p.bias, p.stride, p.padding) for p in parts])

    def by_channel(self) -> dict[str, tuple[Tensor, int]]:
        """The name vectors of the trained channels, (T, 16)."""
        return {"names": (self.names, 0)}
