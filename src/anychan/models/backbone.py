"""A ready-made network in an `AnyChannelModel`: its first convolution becomes the stem, its last linear layer the head.

Everything between stays as it is. The backbone still runs on the image, since ViTs check its height and width; but
where its first convolution stood it takes the stem's maps, so it never reads a pixel or counts the channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from anychan.errors import ConfigError
from anychan.models.anatomy import Anatomy, examine
from anychan.models.base import Network, StemFactory
from anychan.models.libraries import build_backbone
from anychan.nn.folding import fold_layers
from anychan.nn.stems import StemConv2d

__all__ = ["BackboneBody", "around", "backbone_network", "from_library", "redrawn"]


class Entry(nn.Module):
    """Stands where a backbone's first convolution stood, and gives the maps that the stem made of the same image."""

    maps: Tensor | None = None

    def forward(self, image: Tensor) -> Tensor:
        """The stem's maps; the image was read already."""
        assert self.maps is not None, "the backbone runs inside its model only"
        return self.maps


class BackboneBody(nn.Module):
    """A backbone from its first convolution's maps to what its last linear layer takes.

    Args:
        backbone: the network, with `entry` in the place of its first convolution.
        entry: where the maps go in.
        moved: paths of what was taken out of the backbone → paths in the model.
    """

    def __init__(self, backbone: nn.Module, entry: Entry, moved: Mapping[str, str]) -> None:
        super().__init__()
        self.entry = entry
        self.backbone = backbone
        self.moved = dict(moved)

    def our_name(self, theirs: str) -> str:
        """The backbone's own name of a tensor → the model's."""
        path, _, tensor = theirs.rpartition(".")
        return f"{self.moved[path]}.{tensor}" if path in self.moved else f"body.backbone.{theirs}"

    def forward(self, maps: Tensor, image: Tensor) -> Tensor:
        """Maps (N, F, h, w) and the image (N, S, H, W), of which only the sizes count → (N, D)."""
        self.entry.maps = maps
        try:
            return self.backbone(image)  # type: ignore[no-any-return]
        finally:
            self.entry.maps = None

    def folded(self) -> nn.Module:
        """The same for a network that is not trained any more, which this one is used up for; itself at worst.

        Batch norm is folded into convolutions, and the maps are an argument all the way, where `torch.fx` can look into
        the backbone.
        """
        try:
            network = fold_layers(self.backbone, leaves=[self.entry])
        except Exception:  # whatever a backbone makes of fx's stand-ins for tensors
            return self
        graph = network.graph
        with graph.inserting_before(next(iter(graph.nodes))):
            maps = graph.placeholder("maps")
        for node in list(graph.nodes):
            if node.op == "call_module" and network.get_submodule(str(node.target)) is self.entry:
                node.replace_all_uses_with(maps)
                graph.erase_node(node)
        network.recompile()
        return network


def backbone_network(
    make_stem: StemFactory, backbone: nn.Module, anatomy: Anatomy, *, num_channels: int, num_classes: int
) -> Network:
    """The parts of a network around a backbone, whose own first convolution and last linear layer are taken out.

    A kernel for another number of channels is drawn anew, as is a linear layer for another number of classes.

    Args:
        make_stem: first convolution → stem.
        backbone: it is changed.
        anatomy: of the backbone, by `examine`.
        num_channels: of the images.
        num_classes: number of logits.

    Raises:
        ConfigError: for another number of classes where the logits come from no linear layer.
    """
    head: nn.Module = nn.Identity()
    moved: dict[str, str] = {}
    if anatomy.head is not None:
        head = backbone.get_submodule(anatomy.head)
        moved |= dict.fromkeys(_replace(backbone, head, nn.Identity()), "head")
    if num_classes != anatomy.num_outputs:
        if not isinstance(head, nn.Linear):
            raise ConfigError(
                f"{type(backbone).__name__} gives {anatomy.num_outputs} logits, but not by a last linear layer that "
                f"could be replaced by one of {num_classes}; build it for {num_classes} classes"
            )
        weight = head.weight
        bias = head.bias is not None
        head = nn.Linear(head.in_features, num_classes, bias=bias, device=weight.device, dtype=weight.dtype)
    entry = Entry()
    conv = cast(nn.Conv2d, backbone.get_submodule(anatomy.entry))
    moved |= dict.fromkeys(_replace(backbone, conv, entry), "stem.conv")
    return Network(
        make_stem(redrawn(conv, num_channels)),
        BackboneBody(backbone, entry, moved),
        head,
        min_size=anatomy.min_size,
        size_step=anatomy.size_step,
        fixed_size=anatomy.fixed_size,
        sees_image=True,
    )


def _replace(backbone: nn.Module, old: nn.Module, new: nn.Module) -> list[str]:
    """Put a module in another's place under every name that the network has for it; gives those paths."""
    paths = [path for path, module in backbone.named_modules(remove_duplicate=False) if module is old]
    for path in paths:
        backbone.set_submodule(path, new.train(old.training))
    return paths


def redrawn(conv: nn.Conv2d, num_channels: int) -> StemConv2d:
    """A foldable convolution like `conv`, with its weights where it has as many channels.

    Else its kernel is drawn from a normal distribution of the standard deviation that `conv`'s has, and its bias kept.
    What is frozen stays frozen.
    """
    found = StemConv2d(
        num_channels,
        conv.out_channels,
        cast(Any, conv.kernel_size),
        cast(Any, conv.stride),
        cast(Any, conv.padding),
        bias=conv.bias is not None,
        device="meta",  # draws nothing
    )
    weight = conv.weight.detach()
    if num_channels != conv.in_channels:
        shape = (conv.out_channels, num_channels, *conv.kernel_size)
        weight = torch.randn(shape, device=weight.device, dtype=weight.dtype) * weight.std()
    found.weight = nn.Parameter(weight.clone(), conv.weight.requires_grad)
    if conv.bias is not None:
        found.bias = nn.Parameter(conv.bias.detach().clone(), conv.bias.requires_grad)
    return found.train(conv.training)


def around(backbone: nn.Module, anatomy: Anatomy) -> Callable[..., Network]:
    """A builder of the catalogue's kind around a module, which it changes.

    Args:
        backbone: the module; its weights stay.
        anatomy: of it, by `examine`.
    """

    def builder(stem: StemFactory, *, num_channels: int, num_classes: int) -> Network:
        return backbone_network(stem, backbone, anatomy, num_channels=num_channels, num_classes=num_classes)

    return builder


def from_library(name: str) -> Callable[..., Network]:
    """A builder of the catalogue's kind for a library's network with fresh weights, such as `"timm:resnet18"`."""

    def builder(stem: StemFactory, *, num_channels: int, num_classes: int, **options: Any) -> Network:
        backbone = build_backbone(name, options, num_classes=num_classes)
        anatomy = examine(backbone)
        return backbone_network(stem, backbone, anatomy, num_channels=num_channels, num_classes=num_classes)

    return builder
