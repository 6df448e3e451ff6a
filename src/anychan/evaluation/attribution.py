"""Which pixels of which channel a class rests on: integrated gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["STEPS", "integrated_gradients"]

STEPS = 32
_AT_ONCE = 8  # points of the way, in memory together


def integrated_gradients(
    classify: Callable[[Tensor], Tensor], image: Tensor, baseline: Tensor, label: int, *, steps: int = STEPS
) -> Tensor:
    """How much each pixel of each channel added to a class's log-probability, on the way from a baseline to the image.

    Integrated gradients (Sundararajan, Taly and Yan 2017, https://arxiv.org/abs/1703.01365), by the midpoint rule.
    Their sum is the log-probability of the image less that of the baseline, but for the rule's error.

    Args:
        classify: (n, C, H, W) → (n, num_classes) logits, differentiable, each image's for itself.
        image: (C, H, W) raw values.
        baseline: what says nothing, such as each channel's training mean; broadcast to the image.
        label: the class.
        steps: points on the way; more are more exact.

    Returns:
        (C, H, W) float32, in nats.
    """
    image = image.float()
    way = image - baseline
    total = torch.zeros_like(image)
    for shares in ((torch.arange(steps, device=image.device) + 0.5) / steps).split(_AT_ONCE):
        points = (baseline + shares.view(-1, 1, 1, 1) * way).requires_grad_()
        with torch.enable_grad():
            score = classify(points).float().log_softmax(1)[:, label].sum()
        total += torch.autograd.grad(score, points)[0].sum(0)
    return total / steps * way
