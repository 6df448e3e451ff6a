"""Losses beside that of the labels: a teacher's soft labels, and what the passes of one step teach each other."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

__all__ = ["distillation_loss", "never_hurt_loss", "soft_label_loss"]


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


def soft_label_loss(logits: Tensor, probabilities: Tensor, *, temperature: float = 1.0) -> Tensor:
    """How far a student's softened prediction is from a teacher's.

    T² mean_n Σ_k p_nk log(p_nk / softmax(logits_n / T)_k); with T², gradients are about as large at any temperature.

    Args:
        logits: (N, K') of the student; outputs beyond the teacher's classes are classes that the teacher gives nothing.
        probabilities: (N, K) of the teacher, softened by the same temperature.
        temperature: T, above 0.

    Source: Hinton, Vinyals and Dean 2015, Distilling the Knowledge in a Neural Network (arXiv 1503.02531), §2; the
    divergence in place of their cross-entropy, whose gradient is the same, as Beyer et al. 2022 (arXiv 2106.05237), §3.
    """
    logs = functional.log_softmax(logits.float() / temperature, 1)[:, : probabilities.shape[1]]
    return temperature**2 * functional.kl_div(logs, probabilities, reduction="batchmean")
