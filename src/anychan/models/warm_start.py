"""Warm start: a model begins with the weights of a saved one, whose channels and classes may be others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from anychan.channels import ChannelSet
from anychan.contract import Contract
from anychan.errors import ChannelError, ConfigError
from anychan.models.base import AnyChannelModel, weights_without_subsets
from anychan.models.channel_mapping import MappedChannel, map_channels, mapped_kernel, mapping_table
from anychan.models.stem_choice import EXPANSION_STEM, WAVELENGTH_STEM
from anychan.nn.fill import FILLS
from anychan.nn.generator import GeneratedConv2d

__all__ = ["WarmStart", "check_stem", "known_channels", "start_constants", "start_warm"]

_OWN_WAVELENGTH = "made from its wavelength"


@dataclass(frozen=True)
class WarmStart:
    """What a model took from a saved one.

    Args:
        saved: name and stem of the saved model.
        mapping: where each channel's part of the first layer comes from.
        kept: identities of the channels that are normalised as the saved model did it.
        left_out: identities of the saved model's channels that the model does not have.
        drawn: names of other tensors than the head's that are as they were drawn, or as their stem begins.
        classes: number of classes of the saved model, of the model, and of those that both have by name.
        same_classes: whether the classes are the same in the same order, so that the head was carried whole.
    """

    saved: str
    mapping: tuple[MappedChannel, ...]
    kept: tuple[str, ...]
    left_out: tuple[str, ...]
    drawn: tuple[str, ...]
    classes: tuple[int, int, int]
    same_classes: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        rows = [{**vars(row), "normalization": "kept" if row.channel in self.kept else "new"} for row in self.mapping]
        before, now, common = self.classes
        head = {"carried": self.same_classes, "classes": now, "classes_before": before, "classes_in_common": common}
        more = {"left_out": list(self.left_out), "drawn_anew": list(self.drawn), "head": head}
        return {"saved": self.saved, "channels": rows, **more}

    def __str__(self) -> str:
        """A short table: a line a channel, then the constants, the head, and what else is not as it was."""
        before, now, common = self.classes
        lines = [mapping_table(self.mapping), f"  offset and scale {self._constants()}"]
        if self.left_out:
            lines.append(f"  left out, as the images do not have them: {', '.join(self.left_out)}")
        anew = f"drawn anew: {now} classes in place of {before}, {common} of the same name"
        lines.append(f"  head {'as before' if self.same_classes else anew}")
        if self.drawn:
            lines.append(f"  drawn anew: {', '.join(self.drawn)}")
        return "\n".join(lines)

    def _constants(self) -> str:
        new = [row.channel for row in self.mapping if row.channel not in self.kept]
        if not new:
            return "as before"
        return "of the new images" + (f" for {', '.join(new)}, as before for the others" if self.kept else "")


def known_channels(saved: Contract) -> tuple[str, ...]:
    """Identities of the channels that a saved model was trained on."""
    never = {*saved.untrained, *saved.interpolated}
    return tuple(identity for identity in saved.channels.identities if identity not in never)


def check_stem(saved: Contract, stem: str) -> None:
    """See that a model with a stem can begin with the weights of a saved one.

    Raises:
        ConfigError: for a stem other than the saved model's where one of the two makes its own kernels.
    """
    freely = {*FILLS, EXPANSION_STEM}  # their first layer is the network's own, so that one can follow the other
    if stem != saved.stem and not {stem, saved.stem} <= freely:
        raise ConfigError(
            f"stem {stem!r} cannot begin with the weights of stem {saved.stem!r}: they make kernels in other ways; "
            "leave model.stem out"
        )


def start_constants(
    saved: Contract, channels: ChannelSet, dtype: str, constants: tuple[Sequence[float], Sequence[float]]
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[str, ...]]:
    """Offset and scale of each channel: the saved model's for those it was trained on, so that kernels mean the same.

    Where the images' number type is not the one that it was trained on, raw values mean something else, and no channel
    keeps them.

    Args:
        saved: the saved model's contract.
        channels: of the new images.
        dtype: number type of the new images.
        constants: offset and scale for the other channels, in the order of `channels`.

    Returns:
        Offset, scale, and the identities of the channels that keep theirs.
    """
    known = known_channels(saved) if saved.dtype in (None, dtype) else ()
    place = {identity: position for position, identity in enumerate(saved.channels.identities) if identity in known}
    found = [
        tuple(old[place[i]] if i in place else value for i, value in zip(channels.identities, new, strict=True))
        for old, new in zip((saved.offset, saved.scale), constants, strict=True)
    ]
    return found[0], found[1], tuple(identity for identity in channels.identities if identity in place)


@torch.no_grad()
def start_warm(
    model: AnyChannelModel, saved: AnyChannelModel, *, kept: tuple[str, ...], new_channels: str = "error"
) -> WarmStart:
    """Give a fresh model all weights and batch-norm statistics of a saved one that have a place in it.

    What belongs to single channels is carried channel by channel, as `map_channels` finds their sources among the
    channels that the saved model was trained on. With stem `"wavelength"` a channel that it did not know has a kernel
    made from its wavelength. The layer that gives the logits is carried if the classes are the same in the same order,
    and else stays as it was drawn, also for classes that both have. Batch-norm statistics of single subsets are left.

    Args:
        model: the fresh model, of the saved one's network; its contract says its channels and classes.
        saved: the saved model.
        kept: identities of the channels that keep their constants, for the record.
        new_channels: as for `map_channels`; with stem `"wavelength"`, for channels that have none.

    Raises:
        ConfigError: for a first layer whose kernels are generated for all channels together, on other channels; or
            other classes where the logits come from no layer of the head.
        ChannelError: for channels without a source.
    """
    before, now = saved.contract, model.contract
    _check_generated(saved, now)
    same = (before.classes, before.outputs) == (now.classes, now.outputs)
    logits = _logits_layer(model)
    if not same and logits is None:
        raise ConfigError(
            f"the logits of {model.name} do not come from a last linear layer that could be drawn anew for other "
            f"classes than {', '.join(before.classes[:3])}, …; fine-tune it on the same classes"
        )
    mapping = _map(before, now.channels, new_channels)
    mixed = _carry_by_channel(model, saved, mapping)
    theirs = weights_without_subsets(saved)
    drawn = []
    for name, value in weights_without_subsets(model).items():
        if name in mixed:
            continue
        if not same and name.startswith(f"{logits}."):
            continue
        if name in theirs and theirs[name].shape == value.shape:
            value.copy_(theirs[name])
        else:
            drawn.append(name)
    left = tuple(identity for identity in before.channels.identities if identity not in now.channels.identities)
    counts = len(before.classes), len(now.classes), len(set(before.classes) & set(now.classes))
    return WarmStart(f"{before.model}, stem {before.stem}", mapping, kept, left, tuple(drawn), counts, same)


def _check_generated(saved: AnyChannelModel, now: Contract) -> None:
    generated = any(isinstance(part, GeneratedConv2d) for part in saved.stem.modules())
    if generated and saved.channels.identities != now.channels.identities:
        raise ConfigError(
            f"the kernels of {saved.name} are generated for {saved.channels.label} together, so it cannot begin with "
            f"them on {now.channels.label}; give the same channels in the same order by data.channels"
        )


def _logits_layer(model: nn.Module) -> str | None:
    """The head's last layer with weights."""
    parts = model.get_submodule("head").named_modules(prefix="head")
    return next((path for path, part in reversed(list(parts)) if any(True for _ in part.parameters(False))), None)


def _map(before: Contract, channels: ChannelSet, new_channels: str) -> tuple[MappedChannel, ...]:
    known = before.channels.select(known_channels(before))
    if before.stem != WAVELENGTH_STEM:
        return map_channels(channels, known, new_channels=new_channels)
    channels | known  # one identity, two wavelengths: an error
    found = []
    for channel in channels:
        if channel.identity in known.identities:
            found.append(MappedChannel(channel.identity, ((channel.identity, 1.0),), "identity"))
        elif channel.wavelength_nm is not None:
            found.append(MappedChannel(channel.identity, (), _OWN_WAVELENGTH))
        elif new_channels in ("zero", "random"):
            found.append(MappedChannel(channel.identity, (), new_channels))
        else:
            raise ChannelError(
                f"channel {channel.identity!r} is new to the model and has no wavelength to make its kernel from; "
                "choose new_channels: 'zero' or 'random'"
            )
    return tuple(found)


def _carry_by_channel(model: AnyChannelModel, saved: AnyChannelModel, mapping: Sequence[MappedChannel]) -> set[str]:
    """Carry what belongs to single channels; gives the names of those tensors that could be."""
    ours, theirs = _by_channel(model.stem), _by_channel(saved.stem)
    rows = [row for row in mapping if row.channel not in model.contract.interpolated]  # these have no numbers of theirs
    sources = [name for name in saved.channels.identities if name not in saved.contract.interpolated]
    done = set()
    for name, (view, axis) in ours.items():
        old = theirs[name][0].to(view.dtype) if name in theirs else None
        if old is not None and old.select(axis, 0).shape == view.select(axis, 0).shape:
            view.copy_(mapped_kernel(rows, sources, old, view, axis=axis))
            done.add(name)
    return done


def _by_channel(stem: nn.Module) -> dict[str, tuple[Tensor, int]]:
    """By names in the model: see `anychan.nn.stems`."""
    found: dict[str, tuple[Tensor, int]] = {}
    for path, part in stem.named_modules(prefix="stem"):
        if hasattr(part, "by_channel"):
            found |= {f"{path}.{name}": pair for name, pair in part.by_channel().items()}
    return found
