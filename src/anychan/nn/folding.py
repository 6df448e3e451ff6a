"""Layers with nothing nonlinear between them as one convolution, for networks that are not trained any more.

Batch norm in eval mode is linear, as are a convolution, a sum of branches and a chain of convolutions. A module that
knows how it folds says so by a method `folded() -> nn.Module`, whose result computes the same in eval mode; a module
that a convolution before it can absorb, by a method `fold_into(conv) -> nn.Conv2d`.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Sequence
from typing import Any, TypeGuard, cast

import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

__all__ = ["SumOfHalves", "can_merge", "conv_of", "fold_layers", "merge"]

_SUMS = (operator.add, operator.iadd, torch.add)


def conv_of(weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0) -> nn.Conv2d:
    """A convolution with copies of this kernel (O, C, k, l) and bias (O,), in eval mode."""
    out_channels, in_channels, *size = weight.shape
    conv = nn.Conv2d(
        in_channels,
        out_channels,
        (size[0], size[1]),
        stride,
        padding,
        bias=bias is not None,
        device="meta",  # draws nothing
    )
    conv.weight = nn.Parameter(weight.detach().clone())
    if bias is not None:
        conv.bias = nn.Parameter(bias.detach().clone())
    return conv.eval()


def _is_plain(module: object) -> TypeGuard[nn.Conv2d]:
    return type(module) is nn.Conv2d  # what inherits from it may do anything with its kernel


def can_merge(convs: Sequence[nn.Module]) -> bool:
    """Whether these are ordinary convolutions whose kernels, put centre on centre, see the same places of an image."""
    kinds = set()
    for conv in convs:
        if not _is_plain(conv) or isinstance(conv.padding, str) or conv.padding_mode != "zeros":
            return False
        margins = tuple(2 * added - size for added, size in zip(conv.padding, conv.kernel_size, strict=True))
        kinds.add((conv.stride, conv.dilation, conv.groups, margins))
    return len(kinds) == 1 and all(kind[1:3] == ((1, 1), 1) for kind in kinds)


def merge(convs: Sequence[nn.Conv2d], *, add: bool) -> nn.Conv2d:
    """One convolution for several on the same input, whose maps are added up, or else stacked.

    It has the largest kernel's size; smaller ones get a frame of zeros.

    Args:
        convs: see `can_merge`.
        add: add the maps; else stack them in order.
    """
    height, width = (max(conv.kernel_size[axis] for conv in convs) for axis in (0, 1))
    kernels = []
    for conv in convs:
        rows, columns = (height - conv.kernel_size[0]) // 2, (width - conv.kernel_size[1]) // 2
        kernels.append(functional.pad(conv.weight, (columns, columns, rows, rows)))
    biases = [conv.weight.new_zeros(conv.out_channels) if conv.bias is None else conv.bias for conv in convs]
    has_bias = any(conv.bias is not None for conv in convs)
    combine: Any = (lambda parts: torch.stack(parts).sum(0)) if add else torch.cat
    largest = max(convs, key=lambda conv: conv.kernel_size)
    padding = tuple(max(int(conv.padding[axis]) for conv in convs) for axis in (0, 1))
    return conv_of(combine(kernels), combine(biases) if has_bias else None, largest.stride, padding)


class SumOfHalves(nn.Module):
    """The first half of the maps plus the second: (N, 2·C, H, W) → (N, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """The sum."""
        first, second = x.chunk(2, dim=1)
        return first + second

    def fold_into(self, conv: nn.Conv2d) -> nn.Conv2d:
        """A convolution that gives the sum of `conv`'s halves."""
        weight, bias = (None if part is None else sum(part.chunk(2)) for part in (conv.weight, conv.bias))
        return conv_of(cast(Tensor, weight), cast(Tensor | None, bias), conv.stride, conv.padding)


class _Tracer(fx.Tracer):
    """Looks into modules that hold convolutions, batch norm or a leaf, and takes all others as they are."""

    def __init__(self, leaves: Collection[nn.Module] = ()) -> None:
        super().__init__()
        self.leaves = leaves

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether to take a module as one operation."""
        if isinstance(m, nn.Conv2d) or m in self.leaves:
            return True
        holds_any = any(isinstance(part, nn.Conv2d | nn.BatchNorm2d) or part in self.leaves for part in m.modules())
        return not holds_any or super().is_leaf_module(m, module_qualified_name)


def fold_layers(module: nn.Module, leaves: Collection[nn.Module] = ()) -> fx.GraphModule:
    """A network that computes the same with fewer layers.

    What is folded: modules that say how (`folded`); batch norm into the convolution before it, as any module with
    `fold_into`; and sums of two convolutions of the same input. Max pooling may stand between a convolution and its
    batch norm if no scale is negative, as the largest value then stays the largest. Modules are looked into by
    `torch.fx` where they hold ordinary convolutions or batch norm, so these may not branch on what comes in.

    Args:
        module: the network, in eval mode; it is changed.
        leaves: modules in it that are not looked into.

    Raises:
        torch.fx.proxy.TraceError: for a module with convolutions that branches on what comes in.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from anychan.nn import fold_layers
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()).eval()
        >>> sorted(type(layer).__name__ for layer in fold_layers(network).children())
        ['Conv2d', 'ReLU']
    """
    _replace(module, leaves)
    graph = _Tracer(leaves).trace(module)
    network = fx.GraphModule(module, graph)
    for number, node in enumerate(list(graph.nodes)):
        node.type = None  # annotations are strings here, and torch.fx cannot pickle these
        if type(_layer(network, node)) is nn.Identity:
            node.replace_all_uses_with(node.all_input_nodes[0])
            graph.erase_node(node)
            continue
        pool = _pool_before(network, node)
        before = _convs_before(network, pool or node)
        merged = _merged(network, node, before)
        if merged is None:
            continue
        path = f"folded_{number}"
        network.add_submodule(path, merged)
        with graph.inserting_before(pool or node):
            conv = graph.call_module(path, before[0].args)
        if pool is not None:
            pool.args = (conv,)
        node.replace_all_uses_with(pool or conv)
        for old in (node, *before):
            graph.erase_node(old)
    network.delete_all_unused_submodules()
    network.recompile()
    return network


def _replace(module: nn.Module, leaves: Collection[nn.Module]) -> None:
    for name, child in module.named_children():
        if child in leaves:
            continue
        if hasattr(child, "folded"):
            module.add_module(name, cast(Any, child).folded())
        else:
            _replace(child, leaves)


def _layer(network: fx.GraphModule, node: fx.Node) -> Any:
    """The module that a node calls, if it calls one."""
    return network.get_submodule(str(node.target)) if node.op == "call_module" else None


def _pool_before(network: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    """The max pooling before a batch norm, if it may as well come after it."""
    norm, inputs = _layer(network, node), node.all_input_nodes
    if type(norm) is not nn.BatchNorm2d or (norm.weight is not None and bool((norm.weight < 0).any())):
        return None
    pool = _layer(network, inputs[0])
    alone = len(inputs[0].users) == 1 and not inputs[0].kwargs
    return inputs[0] if type(pool) is nn.MaxPool2d and not pool.return_indices and alone else None


def _convs_before(network: fx.GraphModule, node: fx.Node) -> list[fx.Node]:
    """The convolutions that a node's inputs come from, if all do and nothing else takes what they give."""
    inputs = node.all_input_nodes
    for before in inputs:
        if not _is_plain(_layer(network, before)) or before.kwargs or len(before.users) > 1:
            return []
    return inputs


def _merged(network: fx.GraphModule, node: fx.Node, before: Sequence[fx.Node]) -> nn.Conv2d | None:
    """One convolution for a node and those before it, if there is one."""
    convs, layer = [_layer(network, conv) for conv in before], _layer(network, node)
    if layer is not None and len(convs) == 1:
        if type(layer) is nn.BatchNorm2d and layer.running_mean is not None:
            return cast(nn.Conv2d, fuse_conv_bn_eval(convs[0], layer))
        absorbs = hasattr(layer, "fold_into") and can_merge(convs)
        return cast(nn.Conv2d, layer.fold_into(convs[0])) if absorbs else None
    if node.op == "call_function" and node.target in _SUMS and not node.kwargs and len(convs) == 2:
        alike = before[0].args == before[1].args and convs[0].out_channels == convs[1].out_channels
        return merge(convs, add=True) if alike and can_merge(convs) else None
    return None
