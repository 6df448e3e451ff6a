"""Accuracy with its uncertainty."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from anychan.data.batches import Batch

__all__ = ["Classified", "classified", "pack_bits", "paired_ratio", "unpack_bits", "wilson_interval"]

Z95 = 1.959963984540054  # standard errors to either end of a normal 95 % interval


def wilson_interval(successes: int, n: int, *, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a proportion; it stays inside [0, 1] and is right for small n.

    Args:
        successes: 0 to n.
        n: 1 or more.
        z: normal quantile; 1.96 gives 95 %.

    Source: Wilson 1927, Probable Inference, JASA 22(158).

    Example:
        >>> low, high = wilson_interval(297, 450)
        >>> print(f"{low:.3f} to {high:.3f}")
        0.615 to 0.702
    """
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


class Classified(NamedTuple):
    """(N,) bool, which images were classified right; (N,) float32, the largest softmax value of each. On the CPU."""

    correct: Tensor
    confidence: Tensor


@torch.no_grad()
def classified(classify: Callable[[Tensor], Tensor], batches: Iterable[Batch]) -> Classified:
    """Which images are classified right, and how sure the network is.

    Args:
        classify: raw images (N, C, H, W) → logits (N, num_classes).
        batches: images and labels.

    Returns:
        In the batches' order.
    """
    correct, confidence = [], []
    for images, labels, *_ in batches:
        logits = classify(images)
        correct.append((logits.argmax(1) == labels.to(logits.device)).cpu())
        confidence.append(logits.float().softmax(1).amax(1).cpu())
    return Classified(torch.cat(correct), torch.cat(confidence))


def paired_ratio(ours: Tensor, rival: Tensor) -> tuple[float, float, float] | None:
    """Our accuracy over a rival's on the same images, with its 95 % interval.

    With a images that both get right, b only ours and c only the rival, the ratio is (a + b) / (a + c), and its
    logarithm has the variance (b + c) / ((a + b)(a + c)): images that both get right or wrong say nothing about which
    is better.

    Args:
        ours: (N,) bool, which images we classify right.
        rival: (N,) bool, of the same images in the same order.

    Returns:
        Ratio, lower and upper end; `None` when one of the two gets no image right, or no image tells them apart.

    Source: Nam and Blackwelder 2002, ratio of marginal probabilities in a matched-pair setting, Statistics in Medicine
    21(5).

    Example:
        >>> ours, rival = torch.arange(100) < 60, (torch.arange(100) >= 10) & (torch.arange(100) < 60)
        >>> print("{:.2f} ({:.2f} to {:.2f})".format(*paired_ratio(ours, rival)))
        1.20 (1.07 to 1.34)
    """
    both = int((ours & rival).sum())
    mine, theirs = int(ours.sum()), int(rival.sum())
    if mine == 0 or theirs == 0 or mine + theirs == 2 * both:
        return None
    spread = math.exp(Z95 * math.sqrt((mine + theirs - 2 * both) / (mine * theirs)))
    return mine / theirs, mine / theirs / spread, mine / theirs * spread


def pack_bits(correct: Tensor) -> str:
    """(N,) bool → base64, so that paired intervals can be computed again from a file."""
    return base64.b64encode(np.packbits(correct.numpy()).tobytes()).decode()


def unpack_bits(text: str, n: int) -> Tensor:
    """The inverse of `pack_bits`: (n,) bool."""
    bits = np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8), count=n)
    return torch.from_numpy(bits.astype(bool))
