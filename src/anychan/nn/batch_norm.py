"""Batch-norm statistics measured anew, for a subset of channels or for changed weights.

Source: "precise BN", Wu and Johnson 2021, Rethinking "Batch" in BatchNorm (arXiv 2105.07576), §3: the mean over batches
of each batch's mean and variance, with the weights fixed. Batches count alike, so they should have one size.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["batch_norm_buffers", "measure_batch_norm"]


def batch_norm_buffers(model: nn.Module) -> dict[str, Tensor]:
    """Every batch norm's running mean, variance and count, by the name that the model knows them under."""
    found = {}
    for path, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for name, buffer in module.named_buffers(recurse=False):
                found[f"{path}.{name}" if path else name] = buffer
    return found


@torch.no_grad()
def measure_batch_norm(model: nn.Module, inputs: Iterable[Any]) -> None:
    """Replace every batch norm's running statistics of `model` (or of a selection: its own) by those of the inputs.

    They become the means over batches of each batch's mean and variance. Only batch norm runs in training mode
    meanwhile, so dropout stays off. A network without it is left as it is.

    Args:
        model: a module that takes one argument, such as a tensor.
        inputs: batches for it, without labels.

    Source: "precise BN", Wu and Johnson 2021 (arXiv 2105.07576), §3.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from anychan.nn import measure_batch_norm
        >>> norm = nn.BatchNorm2d(2)
        >>> measure_batch_norm(norm, [torch.full((4, 2, 3, 3), 5.0)])
        >>> norm.running_mean
        tensor([5., 5.])
    """
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    modes = [(module, module.training) for module in model.modules()]
    momenta = [norm.momentum for norm in norms]
    model.eval()
    try:
        for number, batch in enumerate(inputs, 1):
            for norm in norms:
                norm.train()
                norm.momentum = 1 / number  # the first batch replaces what was there, the k-th has weight 1/k
            model(batch)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, training in modes:
            module.training = training
