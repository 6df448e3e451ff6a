"""`adapt`: a network for fixed channels becomes one for any subset of named channels, weights and all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, cast

from torch import Tensor, nn

from anychan.channels import ChannelSet
from anychan.contract import ChannelStatistics, Contract
from anychan.errors import ChannelError, ConfigError
from anychan.models.anatomy import Anatomy, examine
from anychan.models.backbone import around
from anychan.models.backbone_weights import check_takes_kernel, set_kernel
from anychan.models.base import AnyChannelModel
from anychan.models.catalog import OWN, model_from_contract
from anychan.models.channel_mapping import map_channels, mapping_table
from anychan.models.libraries import builds, library_of, name_of
from anychan.models.stem_choice import default_stem_options
from anychan.presets import RGB

__all__ = ["adapt"]


def adapt(
    backbone: nn.Module,
    *,
    channels: ChannelSet,
    source_channels: ChannelSet = RGB,
    stem: str = "mean",
    offset: Sequence[float] | None = None,
    scale: Sequence[float] | None = None,
    statistics: ChannelStatistics | None = None,
    num_classes: int | None = None,
    new_channels: str = "error",
    name: str | None = None,
    options: Mapping[str, Any] | None = None,
    size: int | tuple[int, int] | None = None,
    verbose: bool = True,
) -> AnyChannelModel:
    """Make an `AnyChannelModel` of any network that begins with one convolution or patch embedding.

    On the source's own channels its logits are the backbone's, bit for bit. The first kernel of each channel is taken
    from the source channel of the same identity or common name, else interpolated between the two neighbours by
    wavelength, else as `new_channels` says; the model's `mapping` says which.

    Shapes: C channels of the model. `forward_features` gives what the backbone's last linear layer takes, (N, D).

    Args:
        backbone: images (N, S, H, W) → logits, such as timm's and torchvision's classifiers; it is copied, not changed.
        channels: the channels that the model will know, in the order in which full images come.
        source_channels: what the backbone's S channels are.
        stem: what stands in for absent channels: one of `STEMS` that does not make its own kernels.
        offset: (C,) raw values that normalisation takes off. `None`: timm's mean of the backbone for bytes (times 255),
            if all channels are the source's; else the statistics' mean.
        scale: (C,) raw values that make one unit; `None` as for `offset`, by standard deviations.
        statistics: of the training images, which `stem="completion"` needs.
        num_classes: replace the last linear layer by a fresh one of so many logits; `None` keeps it.
        new_channels: the kernel of a channel that has no source: `"error"`; that of the `"nearest"` by wavelength;
            `"zero"`; or `"random"`, drawn from torch's random state as PyTorch initialises a convolution.
        name: `"timm:NAME"` or `"torchvision:NAME"`, from which `load` can build the backbone again; `None` finds it
            where the backbone was built without options. With any other name, `load` must be given the backbone.
        options: what the library's builder was given, such as `{"img_size": 32}`; JSON must be able to hold it.
        size: pixels at which the backbone is examined; `None` tries what it says of itself, and then usual sizes.
        verbose: print the mapping.

    Raises:
        ConfigError: when the first layer is not one ordinary convolution on the image, when constants are not known,
            for a stem that makes its own kernels, for options that JSON cannot hold, or when the name does not build
            such a backbone.
        ChannelError: for channels without a source, or another number of source channels than the backbone takes.
        ContractError: when offset or scale are of another number of channels.
    """
    check_takes_kernel(stem)
    anatomy = examine(backbone, size=size)
    conv = cast(nn.Conv2d, backbone.get_submodule(anatomy.entry))
    _check_sources(conv, anatomy.entry, source_channels)
    mapping = map_channels(channels, source_channels, new_channels=new_channels)
    called, options = _identify(backbone, anatomy, name, options, size)
    contract = Contract(
        model=called,
        options=options,
        stem=stem,
        channels=channels,
        offset=_constants(backbone, channels, source_channels, offset, statistics, "mean"),
        scale=_constants(backbone, channels, source_channels, scale, statistics, "std"),
        classes=tuple(str(label) for label in range(num_classes or anatomy.num_outputs)),
        statistics=statistics,
        stem_options=default_stem_options(stem),
    )
    model = model_from_contract(contract, around(deepcopy(backbone), anatomy))
    _follow(model, backbone, conv.weight)
    set_kernel(model, mapping, source_channels, conv.weight)
    if verbose:
        print(f"{called}: kernels of the first layer\n{mapping_table(mapping)}")
    return model


def _follow(model: AnyChannelModel, backbone: nn.Module, kernel: Tensor) -> None:
    """Bring what is not the backbone's own to its device, number type and mode; its modules keep theirs."""
    for part in (model.normalize, model.stem):
        part.to(kernel.device, kernel.dtype)
    kept = set(model.body.get_submodule("backbone").modules())
    for module in model.modules():
        if module not in kept:
            module.training = backbone.training


def _check_sources(conv: nn.Conv2d, path: str, sources: ChannelSet) -> None:
    if conv.in_channels != len(sources):
        raise ChannelError(
            f"the first layer {path!r} takes {conv.in_channels} channels, but source_channels names {len(sources)} "
            f"({', '.join(sources.labels)}); name those that it was trained on, in order"
        )


def _constants(
    backbone: nn.Module,
    channels: ChannelSet,
    sources: ChannelSet,
    given: Sequence[float] | None,
    statistics: ChannelStatistics | None,
    kind: str,
) -> tuple[float, ...]:
    """(C,) offsets (kind "mean") or scales (kind "std")."""
    if given is not None:
        return tuple(float(value) for value in given)
    config = getattr(backbone, "pretrained_cfg", None)
    own = config.get(kind) if isinstance(config, Mapping) else None
    places = {identity: position for position, identity in enumerate(sources.identities)}
    if own is not None and len(own) == len(sources) and set(channels.identities) <= set(places):
        return tuple(255.0 * own[places[identity]] for identity in channels.identities)
    if statistics is not None:
        return tuple(getattr(statistics, kind).tolist())
    argument = "offset" if kind == "mean" else "scale"
    raise ConfigError(
        f"{type(backbone).__name__} does not say how {', '.join(channels.labels)} are normalised; give {argument}= in "
        f"raw values, a number a channel ({0.0 if kind == 'mean' else 1.0} leaves them as they are), or statistics="
    )


def _identify(
    backbone: nn.Module,
    anatomy: Anatomy,
    name: str | None,
    options: Mapping[str, Any] | None,
    size: int | tuple[int, int] | None,
) -> tuple[str, dict[str, Any]]:
    """The contract's model and options."""
    try:
        json.dumps(dict(options or {}))
    except (TypeError, ValueError):
        raise ConfigError(
            f"options {dict(options or {})} cannot be written as JSON, so no saved model could hold them; leave name "
            "and options out, and give the backbone to load"
        ) from None
    if name is not None and library_of(name):
        if not builds(name, options or {}, backbone, num_classes=anatomy.num_outputs):
            raise ConfigError(
                f"{name} with the options {dict(options or {})} builds another network than the one given; name what "
                "built it and all its options, or leave the name out"
            )
        return name, dict(options or {})
    if options:
        raise ConfigError(f"options {dict(options)} were given without the name of a library's network to build")
    if name is None and (known := name_of(backbone, num_classes=anatomy.num_outputs)):
        return known, {}
    # as a list, which JSON has too
    sides = None if size is None else [size, size] if isinstance(size, int) else list(size)
    return OWN + (name or type(backbone).__name__), {} if sides is None else {"size": sides}
