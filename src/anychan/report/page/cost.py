"""What a model costs: parameters, MACs and effective depth."""

from __future__ import annotations

from dataclasses import dataclass

from anychan.channels import ChannelSet
from anychan.errors import ConfigError
from anychan.models.base import AnyChannelModel
from anychan.profiling.macs import profile

__all__ = ["Cost", "model_cost"]


@dataclass(frozen=True)
class Cost:
    """What one image costs.

    Args:
        input_text: the input, such as `"13×32×32"`.
        params: all parameters.
        macs: multiply-adds of convolutions and matrix products.
        uncounted: operator → values that it writes, which `macs` leaves out.
        depth: name → figure, each with what it counts; empty where it cannot be measured.
        no_depth: why, then.
    """

    input_text: str
    params: int
    macs: int
    uncounted: dict[str, int]
    depth: dict[str, int]
    no_depth: str


def model_cost(model: AnyChannelModel, channels: ChannelSet, size: int) -> Cost:
    """Profile a model on the channels that it was tested with.

    Args:
        model: the model.
        channels: some of its channels.
        size: height and width in pixels.
    """
    shape = (1, len(channels), size, size)
    depth, reason = None, ""
    try:
        found = profile(model, shape, channels=channels, depth=True)
        depth = found.depth
    except ConfigError as error:  # a module that cannot be traced
        found, reason = profile(model, shape, channels=channels), str(error)
    figures = {}
    if depth is not None:
        figures = {
            "feature layers": depth.features,
            "with gates": depth.features_with_gates,
            "in the classifier": depth.classifier,
        }
    return Cost("×".join(map(str, shape[1:])), found.params, found.macs, found.uncounted, figures, reason)
