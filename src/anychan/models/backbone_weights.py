"""Weights of a backbone, by its own names, into a model around such a backbone."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from anychan.channels import ChannelSet
from anychan.errors import ConfigError
from anychan.models.backbone import BackboneBody
from anychan.models.base import AnyChannelModel
from anychan.models.channel_mapping import MappedChannel, map_channels, mapped_kernel
from anychan.models.stem_choice import DYNAMIC_STEM, EXPANSION_STEM, WAVELENGTH_STEM
from anychan.nn.fill import FILLS
from anychan.presets import RGB

__all__ = ["check_takes_kernel", "load_backbone_weights", "set_kernel"]


def check_takes_kernel(stem: str) -> None:
    """See that a stem can begin with the kernel of a first layer that is trained already.

    Raises:
        ConfigError: for one that makes its kernels itself.
    """
    if stem in (DYNAMIC_STEM, WAVELENGTH_STEM):
        raise ConfigError(
            f"stem {stem!r} makes its own kernels, so it cannot begin with those of a trained first layer; choose one "
            f"of {', '.join(FILLS)}, {EXPANSION_STEM}"
        )


@torch.no_grad()
def set_kernel(model: AnyChannelModel, mapping: tuple[MappedChannel, ...], sources: ChannelSet, kernel: Tensor) -> None:
    """Give a model's first layer the kernel that a mapping says, and tell the model of it.

    Args:
        model: with an ordinary convolution first, whose bias stays.
        mapping: from `map_channels`, for the model's channels.
        sources: what `kernel` takes.
        kernel: (O, S, k, k); `"random"` channels are drawn anew, as PyTorch initialises a convolution.
    """
    conv = cast(nn.Conv2d, model.stem.conv)
    if any(row.how == "random" for row in mapping):
        conv_bias = None if conv.bias is None else conv.bias.clone()
        conv.reset_parameters()
        if conv.bias is not None and conv_bias is not None:
            conv.bias.copy_(conv_bias)
    conv.weight.copy_(mapped_kernel(mapping, sources.identities, kernel, conv.weight))
    model.mapping = mapping


def load_backbone_weights(
    model: AnyChannelModel, path: Path, *, source_channels: ChannelSet = RGB, new_channels: str = "error"
) -> None:
    """Give a fresh timm or torchvision model the weights of a local safetensors file in the library's own layout.

    Args:
        model: the model; its head keeps its fresh weights where the file has another number of classes, as does what
            its stem learns beside the first kernel.
        path: the file.
        source_channels: what the file's first kernel takes.
        new_channels: as for `adapt`.

    Raises:
        ConfigError: for a model of the catalogue, a stem that makes its own kernels, a file that cannot be read, or one
            of another network.
        ChannelError: as for `adapt`.
    """
    if not isinstance(model.body, BackboneBody):
        raise ConfigError(f"model.pretrained is for networks of timm and torchvision, not for {model.name}")
    check_takes_kernel(model.contract.stem)
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: the pretrained weights cannot be read ({reason}); it takes safetensors") from None
    weights = {model.body.our_name(name): value for name, value in weights.items()}
    kernel = weights.pop("stem.conv.weight", None)
    state = model.state_dict()
    expected = {name for name in state if name.startswith("stem.conv.") or not name.startswith("stem.")}
    for name in sorted((expected - {"stem.conv.weight"}) ^ set(weights)):
        problem = "lacks" if name in state else "has an unknown"
        raise ConfigError(f"{path}: the file {problem} {name!r}; it holds another network than {model.name}")
    if kernel is None or kernel.shape[1] != len(source_channels):
        found = "no first kernel" if kernel is None else f"a first kernel of {kernel.shape[1]} channels"
        raise ConfigError(f"{path}: the file has {found}, not one of {', '.join(source_channels.labels)}")
    other = sorted(name for name, value in weights.items() if value.shape != state[name].shape)
    if any(not name.startswith("head.") for name in other):
        raise ConfigError(f"{path}: {other[0]!r} has another shape; the file holds another network than {model.name}")
    mapping = map_channels(model.channels, source_channels, new_channels=new_channels)
    model.load_state_dict({name: value for name, value in weights.items() if name not in other}, strict=False)
    set_kernel(model, mapping, source_channels, kernel)
