"""What PyTorch's operators do to the depth of a path: which are linear, which multiply by weights, which are gates.

An operator that no table here names ends the layer, as an activation does: a depth may come out too large for it, but
never too small.
"""

from __future__ import annotations

from torch import Tensor, fx

from anychan.profiling.graph import operator_name

__all__ = [
    "BOUNDED",
    "ELEMENTWISE",
    "KERNELS",
    "addends",
    "attended",
    "factors",
    "is_constant",
    "is_linear",
    "pools_places",
    "value_shape",
]

# y(a·x + b·z) = a·y(x) + b·y(z), up to a constant: they move, add or average values
_LINEAR = frozenset(
    [
        "_adaptive_avg_pool2d",
        "_adaptive_avg_pool3d",
        "_native_batch_norm_legit_no_training",
        "_reshape_alias",
        "_to_copy",
        "_unsafe_index",
        "_unsafe_view",
        "adaptive_avg_pool1d",
        "adaptive_avg_pool2d",
        "adaptive_avg_pool3d",
        "add",
        "alias",
        "alpha_dropout",
        "as_strided",
        "avg_pool1d",
        "avg_pool2d",
        "avg_pool3d",
        "batch_norm",
        "cat",
        "channel_shuffle",
        "chunk",
        "clone",
        "col2im",
        "concat",
        "constant_pad_nd",
        "contiguous",
        "copy",
        "cumsum",
        "detach",
        "diag_embed",
        "diagonal",
        "dropout",
        "expand",
        "expand_as",
        "feature_dropout",
        "flatten",
        "flip",
        "gather",
        "getitem",
        "im2col",
        "index",
        "index_add",
        "index_put",
        "index_select",
        "masked_fill",
        "mean",
        "moveaxis",
        "movedim",
        "narrow",
        "neg",
        "pad",
        "permute",
        "pixel_shuffle",
        "pixel_unshuffle",
        "reflection_pad1d",
        "reflection_pad2d",
        "repeat",
        "repeat_interleave",
        "replication_pad1d",
        "replication_pad2d",
        "reshape",
        "roll",
        "rot90",
        "rsub",
        "scatter",
        "scatter_add",
        "select",
        "select_scatter",
        "slice",
        "slice_scatter",
        "split",
        "split_with_sizes",
        "squeeze",
        "stack",
        "sub",
        "sum",
        "swapaxes",
        "t",
        "tensor_split",
        "tile",
        "to",
        "transpose",
        "tril",
        "triu",
        "type_as",
        "unbind",
        "unflatten",
        "unfold",
        "unsqueeze",
        "view",
        "view_as",
        "where",
    ]
)
# What they write depends on their input's shape alone.
_CONSTANT = frozenset(
    [
        "_assert_tensor_metadata",
        "empty_like",
        "full_like",
        "new_empty",
        "new_full",
        "new_ones",
        "new_zeros",
        "ones_like",
        "sym_numel",
        "sym_size",
        "zeros_like",
    ]
)
# Nonlinearities that gates end in. relu6 is none: it is an ordinary activation.
BOUNDED = frozenset(["_safe_softmax", "_softmax", "erf", "hardsigmoid", "sigmoid", "softmax", "tanh"])

ELEMENTWISE = frozenset(["div", "divide", "mul", "multiply", "true_divide"])
# The second operand is a kernel.
KERNELS = frozenset(
    ["conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolution", "linear"]
)
_SUMS_AND_PRODUCTS = frozenset(["addbmm", "addmm", "addmv", "baddbmm"])
_PRODUCTS = ELEMENTWISE | KERNELS | _SUMS_AND_PRODUCTS | frozenset(["bmm", "dot", "matmul", "mm", "mv", "tensordot"])
_POOLINGS = frozenset(["amax", "amin", "logsumexp", "max", "mean", "min", "sum"])


def factors(node: fx.Node) -> list[fx.Node]:
    """The tensors that an operator multiplies with each other; none for one that is no product."""
    name = operator_name(node)
    if name == "einsum":
        operands = node.args[1]
        assert isinstance(operands, list | tuple)
    elif name not in _PRODUCTS or node.kwargs.get("rounding_mode"):
        return []
    else:
        operands = node.args[1:3] if name in _SUMS_AND_PRODUCTS else node.args[:2]
    return [operand for operand in operands if isinstance(operand, fx.Node)]


def addends(node: fx.Node) -> list[fx.Node]:
    """The tensors that a product's operator adds to it, such as a bias."""
    name = operator_name(node)
    added = node.args[:1] if name in _SUMS_AND_PRODUCTS else node.args[2:3] if name in KERNELS else ()
    return [operand for operand in added if isinstance(operand, fx.Node)]


def attended(node: fx.Node) -> list[fx.Node]:
    """Queries, keys and values of an operator that is the whole of softmax(q kᵀ) v; none for another."""
    operands = node.args[:3] if "scaled_dot_product" in operator_name(node) else ()
    return [operand for operand in operands if isinstance(operand, fx.Node)]


def is_constant(node: fx.Node) -> bool:
    """Whether it reads no values."""
    return operator_name(node) in _CONSTANT


def is_linear(node: fx.Node, signals: set[fx.Node]) -> bool:
    """Whether it is linear in those of its inputs that depend on the image, `signals`.

    A choice by the image is not: an index, a mask or a condition among them.
    """
    name = operator_name(node)
    if name == "batch_norm" and node.args[5]:  # by the batch's own statistics
        return False
    if name not in _LINEAR and not name.startswith(("upsample_", "_upsample_")):
        return False
    data = None if name == "where" or not node.args else node.args[0]
    choices = [other for other in node.all_input_nodes if other in signals and other is not data]
    return all(_is_float(other) for other in choices)


def pools_places(node: fx.Node) -> bool:
    """Whether it leaves one value for all of an image's places, also where there was but one place."""
    before = value_shape(node.all_input_nodes[0]) if node.all_input_nodes else ()
    name = operator_name(node)
    if name in _POOLINGS:
        axes = node.args[1] if len(node.args) > 1 else None
        return len(before) == 4 and isinstance(axes, list | tuple) and len(axes) >= 2
    return "adaptive_" in name and set(value_shape(node)[2:]) == {1}


def value_shape(node: fx.Node) -> tuple[int, ...]:
    """Of what it gives; of several tensors that of the first, and () for what is no tensor."""
    value = node.meta.get("val")
    if isinstance(value, list | tuple) and value:
        value = value[0]
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def _is_float(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return not isinstance(value, Tensor) or value.dtype.is_floating_point or value.dtype.is_complex
