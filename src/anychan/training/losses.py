"""Losses between the passes of one step: what all channels say teaches what a subset of them says, or the other way."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

__all__ = ["distillation_loss", "never_hurt_loss"]


def distillation_loss(logits: Tensor, teacher: Tensor) -> Tensor:
    """Cross-entropy of a subset's prediction to the prediction that all channels made in the same step.

    −mean_n Σ_k softmax(teacher)_nk log softmax(logits)_nk; the teacher gets no gradient.

    Args:
        logits: (N, K) of the subset.
        teacher: (N, K) of all channels.

    Source: in-place distillation of Yu and Huang 2019, Universally Slimmable Networks (arXiv 1903.05134), §4.2.
    """
    return functional.cross_entropy(logits, teacher.detach().float().softmax(1))


def never_hurt_loss(logits: Tensor, fewer: Tensor, labels: Tensor) -> Tensor:
    """How much worse all channels do than a subset of them, image by image: "more channels never hurt" as a loss.

    mean_n max(0, ℓ(all)_n − ℓ(subset)_n) with the cross-entropy ℓ. Only all channels get a gradient: a model that lets
    the subset do worse has gained nothing.

    Args:
        logits: (N, K) of all channels.
        fewer: (N, K) of the subset.
        labels: (N,), or (N, K) shares of an image's classes, as of mixed images.
    """
    more_loss = functional.cross_entropy(logits, labels, reduction="none")
    fewer_loss = functional.cross_entropy(fewer.detach(), labels, reduction="none")
    return (more_loss - fewer_loss).clamp(min=0).mean()
