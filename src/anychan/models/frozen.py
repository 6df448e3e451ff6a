"""Frozen plain copies: a model for one subset of its channels as an ordinary network, with nothing left to choose."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from anychan.channels import ChannelSet
from anychan.errors import InputShapeError
from anychan.nn.folding import fold_layers

if TYPE_CHECKING:
    from anychan.models.base import AnyChannelModel

__all__ = ["FrozenModel", "freeze"]


class FrozenModel(nn.Module):
    """A model's copy for one subset; made by `AnyChannelModel.for_channels`.

    Its logits are those of the model's selection of the same channels in eval mode, up to rounding, with fewer
    operations: the fill is folded into the first kernel, the batch-norm statistics are those saved for the subset, and
    batch norm and parallel branches are folded into convolutions (see `anychan.nn.folding`). It shares nothing with
    the model, cannot be trained, and stays in eval mode.

    Shapes: raw sensor values of any number type (N, S, H, W) → logits (N, num_classes).

    Args:
        layers: the network.
        channels: the S channels, in the order in which images come.
    """

    def __init__(self, layers: nn.Module, channels: ChannelSet) -> None:
        super().__init__()
        self.layers = layers
        self.channels = channels
        self.requires_grad_(False).train(False)

    def train(self, mode: bool = True) -> Self:
        """Stays in eval mode: batch norm is folded, so training could only spoil the copy."""
        return super().train(False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits.

        Raises:
            InputShapeError: for another number of channels.
        """
        if x.ndim != 4 or x.shape[1] != len(self.channels):
            raise InputShapeError(
                f"this copy takes (N, {len(self.channels)}, H, W) with the channels {', '.join(self.channels.names)}, "
                f"not {tuple(x.shape)}; make another with for_channels() for other channels"
            )
        return self.layers(x)  # type: ignore[no-any-return]


class _Chain(nn.Module):
    """Normalisation → stem → body → head."""

    def __init__(
        self, normalize: nn.Module, stem: nn.Module, body: nn.Module, head: nn.Module, *, sees_image: bool
    ) -> None:
        super().__init__()
        self.normalize, self.stem, self.body, self.head = normalize, stem, body, head
        self.sees_image = sees_image

    def forward(self, x: Tensor) -> Any:
        x = self.normalize(x)
        maps = self.stem(x)
        return self.head(self.body(maps, x) if self.sees_image else self.body(maps))


@torch.no_grad()
def freeze(model: AnyChannelModel, index: tuple[int, ...]) -> FrozenModel:
    """A frozen plain copy of a model for the channels at these positions, in this order."""
    copy = deepcopy(model).eval()
    if copy.subset_statistics is not None:
        for name, value in copy.subset_statistics.read(copy.subset_statistics.row(index)).items():
            copy.get_buffer(name).copy_(value)
    body: Any = copy.body.folded() if model.sees_image else copy.body  # type: ignore[operator]
    stem = copy.stem.for_index(index)
    chain = _Chain(copy.normalize.for_index(index), stem, body, copy.head, sees_image=model.sees_image).eval()
    # a body that takes the image, and could not be folded, cannot be looked into
    layers = fold_layers(chain, leaves=[body] if model.sees_image and body is copy.body else [])
    return FrozenModel(layers, ChannelSet(model.channels[i] for i in index))
