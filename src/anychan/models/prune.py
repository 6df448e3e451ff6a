"""Pruning of a dynamic network's kernels: those that top-k selection never chooses are taken out.

Source: report 2, section I-D ("pruning or kernel selection strategies").
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from anychan.errors import ConfigError
from anychan.models.base import AnyChannelModel
from anychan.models.catalog import model_from_contract
from anychan.nn.dynamic_conv import DynamicConv2d

__all__ = ["kernel_shares", "prune_kernels"]


@torch.no_grad()
def kernel_shares(model: AnyChannelModel, batches: Iterable[Tensor]) -> dict[str, Tensor]:
    """How often each kernel of each dynamic layer is chosen.

    Args:
        model: a network of dynamic convolutions; it is put into eval mode.
        batches: raw images (N, C, H, W) with all of the model's channels.

    Returns:
        Layer → (K,), the share of images for which the kernel has any weight: 1 for all without `top_k`.

    Raises:
        ConfigError: for a network without dynamic convolutions, or without any images.
    """
    layers = {name: module for name, module in model.eval().named_modules() if isinstance(module, DynamicConv2d)}
    if not layers:
        raise ConfigError(f"{model.name} has no dynamic convolution, so there are no kernels to choose from")
    chosen = {name: torch.zeros(layer.kernel_shape[0], dtype=torch.int64) for name, layer in layers.items()}

    def count(name: str, layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        assert isinstance(layer, DynamicConv2d)
        chosen[name] += (layer.attention(inputs[0]) > 0).sum(0).cpu()

    hooks = [layer.register_forward_pre_hook(partial(count, name)) for name, layer in layers.items()]
    images = 0
    try:
        for batch in batches:
            model(batch)
            images += len(batch)
    finally:
        for hook in hooks:
            hook.remove()
    if not images:
        raise ConfigError("there are no images to choose kernels for; an iterator can be read only once")
    return {name: counts / images for name, counts in chosen.items()}


def prune_kernels(model: AnyChannelModel, batches: Iterable[Tensor], *, max_share: float = 0.0) -> AnyChannelModel:
    """A smaller copy without the kernels that are never chosen; on `batches` it gives the same logits.

    Args:
        model: a network of dynamic convolutions with the option `top_k`.
        batches: raw images (N, C, H, W) that stand for all that will come, such as the training images.
        max_share: take out kernels that are chosen for at most this share of images; above 0, logits change.

    Returns:
        The copy, in eval mode; its contract holds the number of kernels left in each layer.

    Raises:
        ConfigError: for a network without dynamic convolutions, or without `top_k`, where every kernel counts; or
            without any images.
    """
    top_k = model.contract.options.get("top_k")
    if top_k is None:
        raise ConfigError(f"{model.name} has no top_k, so each image uses every kernel and none can be taken out")
    shares = kernel_shares(model, batches)
    keep = {name: _kept(share, max_share, min(top_k, len(share))) for name, share in shares.items()}
    weights = model.state_dict()
    for name, rows in keep.items():
        for part in ("weight", "excite"):
            weights[f"{name}.{part}"] = weights[f"{name}.{part}"][rows]
    contract = model.contract.replace_options(num_kernels=[len(rows) for rows in keep.values()])
    parameter = next(model.parameters())
    smaller = model_from_contract(contract).to(parameter.device, parameter.dtype)  # first, or float64 is rounded
    smaller.load_state_dict(weights)
    return smaller.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload, no-any-return]


def _kept(share: Tensor, max_share: float, at_least: int) -> Tensor:
    """Kernels chosen often enough, in order; never fewer than are kept for one image."""
    count = max(int((share > max_share).sum()), at_least)
    return share.topk(count).indices.sort().values
