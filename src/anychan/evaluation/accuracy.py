"""Accuracy with its uncertainty."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from anychan.data.batches import Batch

__all__ = ["correct_images", "wilson_interval"]

_Z95 = 1.959963984540054


def wilson_interval(successes: int, n: int, *, z: float = _Z95) -> tuple[float, float]:
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


@torch.no_grad()
def correct_images(classify: Callable[[Tensor], Tensor], batches: Iterable[Batch]) -> Tensor:
    """Which images are classified right.

    Args:
        classify: raw images (N, C, H, W) → logits (N, num_classes).
        batches: images and labels.

    Returns:
        (N,) bool, on the CPU, in the batches' order.
    """
    return torch.cat([classify(images).argmax(1).cpu() == labels.cpu() for images, labels in batches])
