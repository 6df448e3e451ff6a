"""The catalogue: every network by name, at the size and class count of the report that it comes from."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any

import torch

from anychan.channels import ChannelSet
from anychan.contract import ChannelStatistics, Contract
from anychan.encoding import Encoding
from anychan.errors import AnychanError, ChannelError, ConfigError
from anychan.models.backbone import from_library
from anychan.models.base import AnyChannelModel, Network, weights_without_subsets
from anychan.models.channel_vit import channel_vit_tiny
from anychan.models.dynamic_cnn import dynamic_cnn_v1, dynamic_cnn_v2
from anychan.models.libraries import check_backbone, library_of
from anychan.models.resnet import dynamic_resnet12, resnet8, resnet18, resnet34
from anychan.models.shallow import SHALLOW
from anychan.models.small_cnn import baseline_cnn, se_2layer_cnn, simple_2layer_cnn, simple_4layer_cnn
from anychan.models.stem_choice import STEMS, TOKENS_STEM, build_stem, default_stem_options, stem_names
from anychan.models.wide_cnn import wide_cnn4
from anychan.presets import RGB

__all__ = [
    "CATALOG",
    "OWN",
    "STEMS",
    "ModelSpec",
    "create_model",
    "find_spec",
    "model_from_contract",
    "register_model",
    "with_changes",
]

OWN = "own:"  # begins the names of adapted networks that no library builds


@dataclass(frozen=True)
class ModelSpec:
    """One catalogue entry.

    Args:
        builder: gives the network's parts.
        size: height and width of the source's images, in pixels.
        num_classes: of the source.
        stem: how the source copes with missing channels.
        source: where the network comes from.
    """

    builder: Callable[..., Network]
    size: int
    num_classes: int
    stem: str
    source: str


_REPORT1, _REPORT2 = "report 1", "report 2"
_MODELS = {
    "dynamic_cnn_v1": ModelSpec(dynamic_cnn_v1, 32, 50, "zero", _REPORT1),
    "dynamic_cnn_v2": ModelSpec(dynamic_cnn_v2, 32, 50, "zero", _REPORT1),
    "baseline_cnn": ModelSpec(baseline_cnn, 32, 50, "zero", _REPORT1),
    "simple_2layer_cnn": ModelSpec(simple_2layer_cnn, 224, 50, "zero", _REPORT1),
    "se_2layer_cnn": ModelSpec(se_2layer_cnn, 224, 50, "zero", _REPORT1),
    "simple_4layer_cnn": ModelSpec(simple_4layer_cnn, 224, 50, "zero", _REPORT1),
    "dynamic_resnet12": ModelSpec(dynamic_resnet12, 84, 100, "mean", _REPORT2),
    "wide_cnn4": ModelSpec(wide_cnn4, 84, 100, "mean", _REPORT2),
    "resnet34": ModelSpec(resnet34, 84, 100, "mean", "both reports; He et al. 2016"),
    "resnet18": ModelSpec(resnet18, 64, 50, "mean", "He et al. 2016"),
    "resnet8": ModelSpec(resnet8, 32, 50, "mean", "He et al. 2016, made small"),
    "channel_vit_tiny": ModelSpec(channel_vit_tiny, 32, 50, TOKENS_STEM, "Bao et al. 2024"),
    **{name: ModelSpec(builder, 64, 50, "mean", "anychan") for name, builder in SHALLOW.items()},
}
_BUILT_IN = frozenset(_MODELS)
CATALOG: Mapping[str, ModelSpec] = MappingProxyType(_MODELS)


def register_model(
    name: str, builder: Callable[..., Network], *, size: int, num_classes: int, stem: str = "mean", source: str = "own"
) -> None:
    """Add a network to the catalogue of this process: `create_model`, recipes, `load` and every command know it then.

    A name that was registered before takes the new network.

    Args:
        name: what to call it.
        builder: `(stem, *, num_channels, num_classes, ...) -> Network`; it gives its first layer, over all channels and
            foldable as `StemConv2d` is, to `stem`. More keywords are the network's options.
        size: height and width in pixels at which `anychan models` and `profile` show it.
        num_classes: the same, for logits.
        stem: what stands in for absent channels where nobody says.
        source: where the network comes from.

    Raises:
        ConfigError: for a name of anychan's own networks, one with a colon, which names a library, or an unknown stem.
    """
    if name in _BUILT_IN or ":" in name or not name:
        raise ConfigError(f"a network cannot be registered as {name!r}; take a name without a colon that is not taken")
    if stem not in stem_names():
        raise ConfigError(f"no stem is called {stem!r}; there are {', '.join(stem_names())}")
    _MODELS[name] = ModelSpec(builder, size, num_classes, stem, source)


def create_model(
    name: str,
    *,
    channels: ChannelSet = RGB,
    num_classes: int,
    stem: str | None = None,
    options: Mapping[str, Any] | None = None,
    offset: Sequence[float] | None = None,
    scale: Sequence[float] | None = None,
    statistics: ChannelStatistics | None = None,
    encodings: Sequence[Encoding] = (),
) -> AnyChannelModel:
    """Build a network of the catalogue for named channels, with fresh weights from torch's random state.

    Args:
        name: a key of `CATALOG`, or a network of timm or torchvision, such as `"timm:resnet18"`.
        channels: the channels it will know, in the order in which full images come.
        num_classes: number of logits.
        stem: what stands in for absent channels: one of `STEMS`; `None` is the source's own choice.
        options: the network's own options, such as `{"entry": "3x3"}` for ResNets.
        offset: (C,) raw values that normalisation takes off; `None` is the statistics' mean, or 0.
        scale: (C,) raw values that make one unit; `None` is the statistics' standard deviation, or 255.
        statistics: of the training images, which `stem="completion"` needs.
        encodings: (C,) what the channels' raw values mean; default: nothing is said of them.

    Raises:
        ConfigError: for an unknown name, stem or option, or a class count below 2.
        ChannelError: when the statistics are of another number of channels.
        ContractError: when offset or scale are.

    Example:
        >>> model = create_model("resnet8", num_classes=10, stem="mean").eval()
        >>> model.select(["B", "R"])(torch.zeros(1, 2, 32, 32, dtype=torch.uint8)).shape
        torch.Size([1, 10])
    """
    count = len(channels)
    if offset is None:
        offset = [0.0] * count if statistics is None else statistics.mean.tolist()
    if scale is None:
        scale = [255.0] * count if statistics is None else statistics.std.tolist()
    return model_from_contract(
        Contract(
            model=name,
            options=dict(options or {}),
            stem=stem or find_spec(name).stem,
            channels=channels,
            offset=tuple(offset),
            scale=tuple(scale),
            classes=tuple(str(label) for label in range(num_classes)),
            statistics=statistics,
            stem_options=default_stem_options(stem),
            encodings=tuple(encodings),
        )
    )


def model_from_contract(contract: Contract, builder: Callable[..., Network] | None = None) -> AnyChannelModel:
    """The network that a contract describes, with fresh weights; errors as `create_model`.

    Args:
        contract: the contract.
        builder: gives the parts in place of the catalogue's own, without options (see `backbone.around`).
    """
    options: dict[str, Any] = {}
    if builder is None:
        builder, options = find_spec(contract.model).builder, contract.options
        _check_options(contract, builder)
    _check(contract)

    count, outputs = len(contract.channels), contract.outputs
    try:
        network = builder(partial(build_stem, contract), num_channels=count, num_classes=outputs, **options)
    except (TypeError, ValueError, RuntimeError, ZeroDivisionError) as error:
        if isinstance(error, AnychanError):
            raise
        raise ConfigError(f"{contract.model} cannot be built with the options {contract.options}: {error}") from None
    return AnyChannelModel(network, contract)


def with_changes(
    model: AnyChannelModel, *, stem: str | None = None, options: Mapping[str, Any] | None = None
) -> AnyChannelModel:
    """A copy of a model with the same weights, but another stem or other options; in eval mode.

    Args:
        model: the model, which stays as it is.
        stem: another way to cope with absent channels: one of `STEMS`.
        options: to add to the network's own, such as `{"top_k": 2}`; its weights must keep their shapes.

    Raises:
        ConfigError: for an unknown stem or option, one that changes the weights' shapes, or a network of one's own.
    """
    if model.name.startswith(OWN):
        raise ConfigError(
            f"{model.name} is a network that only your own code builds; choose its stem in adapt(..., stem=...), and "
            "its options in your code"
        )
    contract = model.contract.replace_options(**(options or {}))
    if options:
        contract = replace(contract, batch_norm="shared")  # statistics were saved for other maps
    if stem is not None and stem != contract.stem:
        # statistics were saved for another stem's maps
        contract = replace(contract, stem=stem, stem_options=default_stem_options(stem), batch_norm="shared")
    parameter = next(model.parameters())
    copy = model_from_contract(contract).to(parameter.device, parameter.dtype)  # first, or float64 is rounded
    try:
        copy.load_state_dict(weights_without_subsets(model) if contract.batch_norm == "shared" else model.state_dict())
    except RuntimeError:
        kind = f"{model.name} with stem {contract.stem!r} and the options {contract.options}"
        raise ConfigError(f"{kind} has weights of other shapes; change nothing that shapes them") from None
    return copy.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload, no-any-return]


def find_spec(name: str) -> ModelSpec:
    """The catalogue's entry, or one made for a network of timm or torchvision.

    Raises:
        ConfigError: for an unknown name, a library that is not there, or a network of one's own.
    """
    if library := library_of(name):
        check_backbone(name)
        return ModelSpec(from_library(name), 224, 1000, "mean", library)
    if name.startswith(OWN):
        raise ConfigError(f"{name} is a network that only your own code builds; give it: load(folder, backbone=...)")
    if name not in CATALOG:
        raise ConfigError(
            f"no model is called {name!r}; the catalogue has {', '.join(CATALOG)}; or write timm:NAME or "
            "torchvision:NAME, or register your own by register_model"
        )
    return CATALOG[name]


def _check(contract: Contract) -> None:
    if len(contract.classes) < 2:
        raise ConfigError(f"a classifier needs at least 2 classes, not {len(contract.classes)}")
    if contract.outputs < len(contract.classes):
        raise ConfigError(f"{contract.outputs} outputs are too few for {len(contract.classes)} classes")
    if contract.stem not in stem_names():
        raise ConfigError(f"no stem is called {contract.stem!r}; there are {', '.join(stem_names())}")
    statistics, count = contract.statistics, len(contract.channels)
    if statistics is not None and len(statistics.mean) != count:
        raise ChannelError(f"the statistics are of {len(statistics.mean)} channels, but the model has {count}")
    contract.check(contract.model)


def _check_options(contract: Contract, builder: Callable[..., Network]) -> None:
    parameters = inspect.signature(builder).parameters
    free = [name for name, parameter in parameters.items() if parameter.kind is parameter.VAR_KEYWORD]
    ours = {"stem", "num_channels", "num_classes"}
    known = set(parameters) - ours - set(free)
    for key in contract.options:
        if key in ours or (key not in known and not free):  # a library checks its own
            allowed = ", ".join(sorted(known)) or ("what its library takes" if free else "none")
            raise ConfigError(f"{contract.model} has no option {key!r}; its options: {allowed}")
