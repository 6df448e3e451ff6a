"""A model in a form that can be written as one graph of operators, for any number and size of images.

Two forms: `AnySubset` takes a mask of the channels that each image has, `OneSubset` the channels of one subset alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.func import functional_call

from anychan.channels import Channel
from anychan.errors import ConfigError
from anychan.models.base import AnyChannelModel
from anychan.nn.batch_norm import batch_norm_buffers
from anychan.nn.dynamic_conv import DynamicConv2d
from anychan.profiling.engines import OPSET, to_onnx

__all__ = ["AnySubset", "OneSubset", "graph_of"]

_EXAMPLE = 16  # pixels above the smallest size, and 8 more for the width, so that nothing is square by chance


def graph_of(model: AnyChannelModel, channels: Iterable[str | Channel] | None = None, *, opset: int = OPSET) -> Any:
    """An `onnx.ModelProto` of a model: float32 raw values → logits (N, classes).

    Inputs are `images` (N, C, H, W) of all channels and `present` (N, C) bool, or `images` (N, S, H, W) alone. N, H and
    W are free where the model takes any.

    Args:
        model: the model, which stays as it is.
        channels: the only ones that images will have, in their order; `None`: all, or what `present` says.
        opset: version of ONNX's operators.

    Raises:
        ConfigError: when PyTorch cannot write it, or only for one size.
        ChannelError: for a channel that the model does not know, or one named twice.
    """
    chosen = None if channels is None else model.channels.select(channels)
    network = (AnySubset(_writable(model)) if chosen is None else OneSubset(_writable(model), chosen)).eval()
    batch, sides = Dim("batch"), _free_sides(model)
    images = torch.zeros(2, len(chosen or model.channels), *(model.fixed_size or _example_size(model)))
    inputs, free = {"images": images}, [{0: batch, **sides}]
    if chosen is None:
        inputs["present"] = torch.ones(images.shape[:2], dtype=torch.bool)
        free.append({0: batch})
    try:
        proto = to_onnx(network, inputs, output="logits", free=free, opset=opset)
    except Exception as error:  # whatever an exporter raises
        reason = str(error.__cause__ or error).strip().partition("\n")[0]
        raise ConfigError(f"{model.name} cannot be written as ONNX ({reason})") from error
    _check(model, proto, [0, *sides], opset)
    return proto


class AnySubset(nn.Module):
    """images (N, C, H, W), present (N, C) bool → logits (N, classes), as `model(images, present=present)`.

    Batch-norm statistics that were saved for each subset are looked up for each image.

    Args:
        model: a copy that may be changed, in eval mode.
    """

    def __init__(self, model: AnyChannelModel) -> None:
        super().__init__()
        self.model = model
        self.num_classes = len(model.contract.classes)
        if model.subset_statistics is not None:
            norms = {path.rpartition(".")[0] for path in batch_norm_buffers(model)}
            for path in norms:
                model.set_submodule(path, _BatchNormByImage(model.get_submodule(path)))

    def forward(self, images: Tensor, present: Tensor) -> Tensor:
        """The logits; what `images` holds in absent channels is never read."""
        statistics = self.model.subset_statistics
        own = {} if statistics is None else statistics.read(statistics.rows(present))  # (N, F) each
        logits: Tensor = functional_call(self.model, own, (images,), {"present": present, "saved": False})
        return logits[:, : self.num_classes]


class OneSubset(nn.Module):
    """images (N, S, H, W) → logits (N, classes), as `model.for_channels(channels)`.

    Args:
        model: the model.
        channels: the S channels, in the order in which images come.
    """

    def __init__(self, model: AnyChannelModel, channels: Iterable[str | Channel]) -> None:
        super().__init__()
        self.frozen = model.for_channels(channels)
        self.num_classes = len(model.contract.classes)

    def forward(self, images: Tensor) -> Tensor:
        """The logits."""
        logits: Tensor = self.frozen(images)
        return logits[:, : self.num_classes]


class _BatchNormByImage(nn.Module):
    """A batch norm, of whatever kind, whose statistics (N, F) are each image's own.

    They stand where the batch norm had its own, whose mean is 0 and variance 1 from here on.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.register_buffer("running_mean", norm.running_mean.clone())
        self.register_buffer("running_var", norm.running_var.clone())
        self.eps = norm.eps
        norm.running_mean.zero_()
        norm.running_var.fill_(1 - norm.eps)
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        places = (..., *[None] * (x.ndim - 2))
        mean, var = self.running_mean[places], self.running_var[places]
        return self.norm((x - mean) / torch.sqrt(var + self.eps))  # type: ignore[no-any-return]


def _writable(model: AnyChannelModel) -> AnyChannelModel:
    """A copy in float32, which is all that ONNX Runtime convolves in, whose convolutions suit any number of images."""
    copy = deepcopy(model).cpu().float().eval().requires_grad_(False)
    for module in copy.modules():
        if isinstance(module, DynamicConv2d):
            module.backend = "auto"
    return copy


def _free_sides(model: AnyChannelModel) -> dict[int, Any]:
    """The axes of height and width, where these are free."""
    if model.fixed_size is not None:
        return {}
    step = model.size_step
    sides = {2: Dim("height", min=-(-model.min_size // step)), 3: Dim("width", min=-(-model.min_size // step))}
    return sides if step == 1 else {axis: step * side for axis, side in sides.items()}


def _example_size(model: AnyChannelModel) -> tuple[int, int]:
    height = -(-(model.min_size + _EXAMPLE) // model.size_step) * model.size_step
    return height, height + 8 * model.size_step


def _check(model: AnyChannelModel, proto: Any, free: list[int], opset: int) -> None:
    """The exporter fixes a size silently where it must, and keeps an opset that it cannot leave."""
    shape = proto.graph.input[0].type.tensor_type.shape.dim
    fixed = [axis for axis in free if not shape[axis].dim_param]
    if fixed:
        names = ", ".join(("batch", "channels", "height", "width")[axis] for axis in fixed)
        raise ConfigError(f"{model.name} cannot be written as ONNX for any {names}, which its operators fix")
    written = next(item.version for item in proto.opset_import if item.domain == "")
    if written != opset:
        raise ConfigError(f"{model.name} cannot be written in opset {opset}, but in {written}; say --opset {written}")
