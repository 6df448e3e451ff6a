"""`AnyChannelModel`: normalisation → stem → body → head, for any subset of the channels it knows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import functional_call

from anychan.channels import Channel, ChannelSet
from anychan.contract import Contract
from anychan.errors import ChannelError, InputShapeError
from anychan.models.channel_mapping import MappedChannel
from anychan.models.frozen import FrozenModel, freeze
from anychan.models.hub import HubMethods
from anychan.nn.batch_norm import batch_norm_buffers
from anychan.nn.normalize import Normalize
from anychan.nn.stems import Stem
from anychan.nn.subset_statistics import SubsetStatistics
from anychan.nn.tokens import ChannelTokens

if TYPE_CHECKING:
    from anychan.models.warm_start import WarmStart

__all__ = [
    "AnyChannelModel",
    "Network",
    "Selection",
    "StemFactory",
    "pooled_head",
    "weights_without_subsets",
]

# first layer over all channels → stem; the catalogue's builders call it so that they need not know about fills
StemFactory = Callable[[nn.Module], Stem | ChannelTokens]


@dataclass(frozen=True)
class Network:
    """What a builder gives: the parts of a network, none of which knows a channel's name.

    Args:
        stem: raw channels → feature maps, or tokens.
        body: what the stem gives → feature maps (N, F, h, w).
        head: feature maps → logits (N, num_classes).
        min_size: the smallest height and width that the body can take.
        size_step: heights and widths are multiples of it.
        fixed_size: the only height and width, for a body that takes but one.
        sees_image: the body also takes the image, of which it reads the sizes alone (see `models.backbone`).
    """

    stem: Stem | ChannelTokens
    body: nn.Module
    head: nn.Module
    min_size: int = 1
    size_step: int = 1
    fixed_size: tuple[int, int] | None = None
    sees_image: bool = False


def pooled_head(*widths: int, dropout: float = 0.0, pool: nn.Module | None = None) -> nn.Sequential:
    """Global pooling, dropout if asked for, then linear layers of these widths with ReLU between them.

    Args:
        widths: values that the pooling gives, those between the layers, and logits.
        dropout: share of the pooled values that is dropped in training.
        pool: maps (N, C, H, W) → (N, first width); default: their means.
    """
    pooling = [nn.AdaptiveAvgPool2d(1), nn.Flatten()] if pool is None else [pool]
    layers: list[nn.Module] = [*pooling, *([nn.Dropout(dropout)] if dropout else [])]
    for number, (before, after) in enumerate(pairwise(widths)):
        layers += [nn.ReLU()] * (number > 0) + [nn.Linear(before, after)]
    return nn.Sequential(*layers)


class AnyChannelModel(HubMethods, nn.Module):
    """A classifier for any subset of its named channels.

    Shapes: N images, C channels of the model, S channels given, F feature maps.

    Args:
        network: the parts.
        contract: what the model says of itself; its offset and scale normalise the input.
    """

    mapping: tuple[MappedChannel, ...] = ()  # of an adapted model: where each channel's first kernel came from
    warm_start: WarmStart | None = None  # of a model that began with a saved one's weights: what it took of them

    def __init__(self, network: Network, contract: Contract) -> None:
        super().__init__()
        self.contract = contract
        self.min_size, self.size_step, self.fixed_size = network.min_size, network.size_step, network.fixed_size
        self.sees_image = network.sees_image
        self.normalize = Normalize(
            contract.offset,
            contract.scale,
            [encoding.no_data for encoding in contract.encodings],
            None if contract.statistics is None else contract.statistics.mean.tolist(),
        )
        self.stem = network.stem
        self.body = network.body
        self.head = network.head
        self.subset_statistics: SubsetStatistics | None = None
        if contract.batch_norm != "shared":
            self.subset_statistics = SubsetStatistics(
                self, num_channels=len(contract.channels), rule=contract.batch_norm
            )

    @property
    def name(self) -> str:
        """The network's name in the catalogue."""
        return self.contract.model

    @property
    def channels(self) -> ChannelSet:
        """The channels that the model knows, in its order."""
        return self.contract.channels

    def forward(
        self,
        x: Tensor,
        *,
        present: Tensor | None = None,
        index: tuple[int, ...] | None = None,
        features: bool = False,
        saved: bool = True,
    ) -> Tensor:
        """Logits (N, num_classes).

        Args:
            x: raw sensor values of any number type, (N, C, H, W), or (N, S, H, W) with `index`.
            present: (N, C) bool, a subset a sample; what x holds in absent channels is never read.
            index: positions of the S channels given; for `select`, which takes names.
            features: give the body's feature maps instead, as `forward_features`.
            saved: with `present` in eval mode, take for each image the batch-norm statistics that were saved for its
                subset, where there are any, as a selection does.

        Raises:
            InputShapeError: for a wrong number of channels, an image below `min_size`, or a training batch that leaves
                batch norm one value a channel.
            ChannelError: for an image with no channel present, or for both `present` and `index`.
        """
        self._check(x, present, index)
        if present is not None and saved and not self.training and self.subset_statistics is not None:
            return self._by_statistics(x, present, self.subset_statistics, features)
        maps = self._features(x, present, index)
        return maps if features else self.head(maps)

    def forward_features(
        self, x: Tensor, *, present: Tensor | None = None, index: tuple[int, ...] | None = None
    ) -> Tensor:
        """The body's feature maps (N, F, h, w), before pooling; arguments and errors as `forward`."""
        return self.forward(x, present=present, index=index, features=True)

    def _by_statistics(self, x: Tensor, present: Tensor, statistics: SubsetStatistics, features: bool) -> Tensor:
        """A pass for the images of each row of the saved statistics, put back in order."""
        x = x.to(self.normalize.offset.dtype)  # PyTorch cannot index uint16 on a GPU
        rows, order, parts = statistics.rows(present), [], []
        for row in rows.unique().tolist():
            order.append((rows == row).nonzero().squeeze(1))  # (n,)
            arguments = {"present": present[order[-1]], "features": features, "saved": False}
            parts.append(functional_call(self, statistics.read(row), (x[order[-1]],), arguments))
        return torch.cat(parts)[torch.cat(order).argsort()]

    def _features(self, x: Tensor, present: Tensor | None, index: tuple[int, ...] | None) -> Tensor:
        x = self.normalize(x, index)
        try:
            maps = self.stem(x, index=index, present=present)
            return self.body(maps, x) if self.sees_image else self.body(maps)  # type: ignore[no-any-return]
        except ValueError as error:
            if not str(error).startswith("Expected more than 1 value per channel"):
                raise
            raise InputShapeError(
                f"a training batch of {x.shape[0]} image of {x.shape[2]}x{x.shape[3]} leaves batch norm one value a "
                f"channel in {self.name}; use a batch of 2 or more, or larger images"
            ) from None

    def _check(self, x: Tensor, present: Tensor | None, index: tuple[int, ...] | None) -> None:
        expected = len(self.channels) if index is None else len(index)
        if x.ndim != 4 or x.shape[1] != expected:
            names = self.channels.names if index is None else [self.channels[i].name for i in index]
            raise InputShapeError(
                f"{self.name} takes (N, {expected}, H, W) with the channels {', '.join(names)}, "
                f"not {tuple(x.shape)}; use select() for a subset"
            )
        self.check_size(*x.shape[2:])
        if present is None:
            return
        if index is not None:
            raise ChannelError("both present and index were given; give one: index says which channels all images have")
        if present.dtype != torch.bool or present.shape != x.shape[:2]:
            raise InputShapeError(
                f"present must be a bool mask of shape {tuple(x.shape[:2])}, not {present.dtype} {tuple(present.shape)}"
            )
        if not torch.compiler.is_compiling() and not bool(present.any(1).all()):
            row = int((~present.any(1)).nonzero()[0])
            raise ChannelError(f"image number {row} of the batch has no channel present; give at least one")

    def check_size(self, height: int, width: int) -> None:
        """Check an image size before there is an image.

        Raises:
            InputShapeError: below `min_size`, not a multiple of `size_step`, or not the `fixed_size`.
        """
        if self.fixed_size is not None and (height, width) != self.fixed_size:
            only = "x".join(map(str, self.fixed_size))
            raise InputShapeError(f"{self.name} takes images of {only} pixels alone, not {height}x{width}")
        if height < self.min_size or width < self.min_size:  # min() would compare them, and an export tie them
            raise InputShapeError(
                f"{self.name} takes images of at least {self.min_size}x{self.min_size} pixels, not {height}x{width}"
            )
        if height % self.size_step or width % self.size_step:
            raise InputShapeError(
                f"{self.name} takes heights and widths that are multiples of {self.size_step} pixels, not "
                f"{height}x{width}"
            )

    def select(self, channels: Iterable[str | Channel], *, saved: bool = True) -> Selection:
        """A live view for one subset: shares the parameters, owns its batch-norm statistics.

        Args:
            channels: names, aliases or identities, in the order in which images will come.
            saved: start from the batch-norm statistics that were saved for this subset, where there are any (see
                `measure_subsets`); else from the model's own, those of all channels.

        Raises:
            ChannelError: for a channel that the model does not know, or one asked for twice.
        """
        return Selection(self, self.channels.indices(channels), saved=saved)

    def for_channels(self, channels: Iterable[str | Channel]) -> FrozenModel:
        """A frozen plain copy for one subset, to compile, export and serve; see `FrozenModel`.

        Args:
            channels: names, aliases or identities, in the order in which images will come.

        Raises:
            ChannelError: for a channel that the model does not know, or one asked for twice.
        """
        return freeze(self, self.channels.indices(channels))


def weights_without_subsets(model: AnyChannelModel) -> dict[str, Tensor]:
    """A model's state dict without the batch-norm statistics that were saved for each subset."""
    return {name: value for name, value in model.state_dict().items() if not name.startswith("subset_statistics.")}


class Selection(nn.Module):
    """A model bound to one subset of its channels; made by `AnyChannelModel.select`.

    Parameters, mode and constants are the model's own; only the batch-norm buffers are this view's, starting as a copy
    of those saved for the subset, or else of the model's. Training the view trains the model.

    Args:
        model: the model.
        index: positions of the channels, in the order in which images will come.
        saved: whether to start from saved statistics.
    """

    def __init__(self, model: AnyChannelModel, index: tuple[int, ...], *, saved: bool = True) -> None:
        super().__init__()
        self.model = model
        self.index = index
        self.channels: ChannelSet = ChannelSet(model.channels[i] for i in index)
        self._statistics: dict[str, str] = {}  # the model's buffer name → ours, which must not hold dots
        kept = model.subset_statistics if saved else None
        own = {} if kept is None else kept.read(kept.row(index))
        for name, buffer in batch_norm_buffers(model).items():
            self._statistics[name] = name.replace(".", "__")
            self.register_buffer(self._statistics[name], own.get(name, buffer).clone())

    def _call(self, x: Tensor, features: bool) -> Tensor:
        self._follow_model()
        own = {name: getattr(self, ours) for name, ours in self._statistics.items()}
        found: Tensor = functional_call(self.model, own, (x,), {"index": self.index, "features": features})
        return found

    def _follow_model(self) -> None:
        """Move our buffers to where the model has gone since, as `model.to(...)` does not know of them."""
        for name, ours in self._statistics.items():
            mine, theirs = getattr(self, ours), self.model.get_buffer(name)
            if mine.device == theirs.device and (mine.dtype == theirs.dtype or not mine.is_floating_point()):
                return  # they all move together
            setattr(self, ours, mine.to(theirs.device, theirs.dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes) of x (N, S, H, W), its channels in the order of `channels`."""
        return self._call(x, features=False)

    def forward_features(self, x: Tensor) -> Tensor:
        """Feature maps (N, F, h, w), before pooling."""
        return self._call(x, features=True)
