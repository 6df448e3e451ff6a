"""The graph of a forward pass, by `torch.export`, on PyTorch's meta device: nothing is computed."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from copy import deepcopy
from dataclasses import dataclass
from io import StringIO
from operator import getitem

import torch
from torch import fx, nn
from torch._ops import OpOverload
from torch.export import ExportedProgram

from anychan.channels import ChannelSet
from anychan.errors import AnychanError, ConfigError
from anychan.models.base import AnyChannelModel, Selection

__all__ = ["ForwardGraph", "forward_graph", "meta_copy", "operator_name"]


@dataclass(frozen=True)
class ForwardGraph:
    """A forward pass as operators of PyTorch, without any that writes in place.

    Args:
        nodes: in an order in which they can run, placeholders first.
        image: the placeholder of the images.
        output: what the module gives; of several tensors the first.
        parameters: placeholder → the module's name of that parameter.
        buffers: the same for buffers and other constants.
    """

    nodes: tuple[fx.Node, ...]
    image: fx.Node
    output: fx.Node
    parameters: Mapping[str, str]
    buffers: Mapping[str, str]


def meta_copy(model: nn.Module, channels: ChannelSet | None = None) -> nn.Module:
    """A copy in eval mode on the meta device; of an `AnyChannelModel` its selection, where channels are given."""
    meta = deepcopy(model).to("meta").eval()
    return meta.select(channels) if channels is not None and isinstance(meta, AnyChannelModel) else meta


def forward_graph(
    model: nn.Module, input_shape: tuple[int, ...], *, channels: ChannelSet | None = None
) -> ForwardGraph:
    """Export a module in eval mode.

    The graph is that of two images: of a single one some layers take short cuts, and an axis of 1 says nothing.

    Args:
        model: any module that takes one tensor; it is copied, not changed.
        input_shape: (N, C, H, W); N does not matter.
        channels: for an `AnyChannelModel`, the subset, as `profile` takes it.

    Raises:
        InputShapeError: for a size that the model cannot take.
        ChannelError: for a channel that the model does not know.
        ConfigError: for a module that `torch.export` cannot trace, or whose output is no tensor.
    """
    meta = meta_copy(model, channels)
    image = torch.empty((2, *input_shape[1:]), device="meta")
    try:
        with torch.no_grad(), _quiet():
            program = torch.export.export(meta, (image,), strict=False)
            if not all(_is_plain(node) for node in program.graph.nodes):
                program = program.run_decompositions({})
    except AnychanError:
        raise
    except Exception as error:  # the module's own code runs here, so anything can come
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(
            f"{type(model).__name__} has no depth that can be measured, because torch.export does not trace it "
            f"({reason}); profile it without its depth (--no-depth)"
        ) from error
    return _read(program, "model." if isinstance(meta, Selection) else "", type(model).__name__)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what PyTorch says of its own deprecations, and what it prints besides the error where it fails."""
    logger = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    before, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings(), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before


def operator_name(node: fx.Node) -> str:
    """`conv2d`, `getitem`; with a library's name before it for operators that are not PyTorch's, `vision::roi_pool`."""
    if isinstance(node.target, OpOverload):
        return node.target._schema.name.removeprefix("aten::")
    return getattr(node.target, "__name__", str(node.target))


def _is_plain(node: fx.Node) -> bool:
    """Whether it neither writes in place nor holds a graph of its own."""
    if node.op != "call_function" or node.target is getitem:
        return node.op != "get_attr"
    return isinstance(node.target, OpOverload) and not node.target._schema.is_mutable


def _read(program: ExportedProgram, prefix: str, model: str) -> ForwardGraph:
    signature = program.graph_signature
    by_name = {node.name: node for node in program.graph.nodes}
    outputs = [by_name[name] for name in signature.user_outputs if isinstance(name, str)]
    if not outputs:
        raise ConfigError(f"{model} gives no tensor, so that it has no depth; give it logits as its first output")
    constants = {**signature.inputs_to_buffers, **signature.inputs_to_lifted_tensor_constants}
    return ForwardGraph(
        nodes=tuple(program.graph.nodes),
        image=by_name[str(signature.user_inputs[0])],
        output=outputs[0],
        parameters={key: name.removeprefix(prefix) for key, name in signature.inputs_to_parameters.items()},
        buffers={key: name.removeprefix(prefix) for key, name in constants.items()},
    )
