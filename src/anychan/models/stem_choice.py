"""Which stem a contract asks for: by name, on a network's first layer."""

from __future__ import annotations

import torch
from torch import nn

from anychan.contract import Contract
from anychan.errors import ConfigError
from anychan.nn.affine import Fill
from anychan.nn.dynamic_stem import DynamicStem
from anychan.nn.expansion import ExpansionStem
from anychan.nn.fill import FILLS, RIDGE
from anychan.nn.generator import GeneratedConv2d, GeneratorPerCountStem
from anychan.nn.stems import Stem, ordinary_convs
from anychan.nn.tokens import ChannelTokens
from anychan.nn.wavelength import WavelengthStem

__all__ = [
    "DYNAMIC_STEM",
    "EXPANSION_STEM",
    "GENERATOR_STEM",
    "PARTLY_USED",
    "STEMS",
    "TOKENS_STEM",
    "WAVELENGTH_STEM",
    "build_stem",
    "default_stem_options",
    "register_stem",
    "stem_names",
]

DYNAMIC_STEM = "dynamic"
EXPANSION_STEM = "expansion"
GENERATOR_STEM = "generator_per_count"
TOKENS_STEM = "tokens"
WAVELENGTH_STEM = "wavelength"
# stems with parameters that some subsets leave without a gradient
PARTLY_USED = ("learned_padding", EXPANSION_STEM, GENERATOR_STEM)
STEMS = (*FILLS, DYNAMIC_STEM, EXPANSION_STEM, GENERATOR_STEM, TOKENS_STEM, WAVELENGTH_STEM)


def stem_names() -> tuple[str, ...]:
    """The stems that a contract may name: `STEMS`, and those that were registered."""
    return (*STEMS, *(name for name in FILLS if name not in STEMS))


def register_stem(name: str, fill: type[Fill]) -> None:
    """Add a stem that fills absent channels by an affine rule, to all models, recipes and commands of this process.

    Selections, masks, kernels folded onto the present channels, saving and export follow from the rule. A name that was
    registered before takes the new rule.

    Args:
        name: what to call it.
        fill: a subclass of `Fill`, whose `affine` gives M and b of x_all = M x_present + b.

    Raises:
        ConfigError: for a name of anychan's own stems, or what is no subclass of `Fill`.
    """
    if name in STEMS or not name:
        raise ConfigError(f"a stem cannot be registered as {name!r}; take a name other than {', '.join(STEMS)}")
    if not (isinstance(fill, type) and issubclass(fill, Fill)):
        raise ConfigError(f"stem {name!r} is {fill!r}, but it must be a subclass of anychan.nn.fill.Fill")
    FILLS[name] = fill


def default_stem_options(stem: str | None) -> dict[str, float]:
    """The options of a new model's stem."""
    return {"ridge": RIDGE} if stem == "completion" else {}


def build_stem(contract: Contract, conv: nn.Module) -> Stem | ChannelTokens:
    """The contract's stem on a network's first layer.

    Args:
        contract: names the stem, one of `STEMS`, and its channels, constants and statistics.
        conv: the first layer over all channels, with fresh weights.

    Raises:
        ConfigError: for a first layer that the stem cannot serve, an option it does not have, or what its fill refuses.
        ChannelError: as the stem's fill raises.
    """
    if isinstance(conv, ChannelTokens) and contract.stem == TOKENS_STEM:
        return conv  # nothing is filled in
    if contract.stem == TOKENS_STEM:
        raise ConfigError(f"stem {TOKENS_STEM!r} needs tokens, as channel_vit_tiny has them, not {contract.model}")
    if isinstance(conv, ChannelTokens):
        raise ConfigError(f"stem {contract.stem!r} needs a first layer that mixes channels, not {contract.model}")
    fill = _fill(contract)
    if contract.stem in FILLS:
        return Stem(conv, fill)
    if contract.stem == EXPANSION_STEM:
        return ExpansionStem(conv, fill)
    if contract.stem == GENERATOR_STEM:
        if not isinstance(conv, GeneratedConv2d):
            raise ConfigError(f"stem {GENERATOR_STEM!r} needs dynamic_cnn_v1 or dynamic_cnn_v2, not {contract.model}")
        return GeneratorPerCountStem(conv, fill)
    convs = ordinary_convs(conv)
    if not convs:
        raise ConfigError(
            f"stem {contract.stem!r} needs an ordinary convolution as the first layer, such as that of resnet8, "
            f"not {contract.model}"
        )
    if contract.stem == DYNAMIC_STEM:
        return DynamicStem(convs, fill)
    return WavelengthStem(convs, fill, list(contract.channels), contract.interpolated)


def _fill(contract: Contract) -> Fill:
    """Other stems than fills get `MeanFill`, which knows the number of channels and makes absent ones 0."""
    name = contract.stem if contract.stem in FILLS else "mean"
    # on the CPU even when the model is built on the meta device: whether there is an offset is read off the values
    with torch.device("cpu"):
        values = torch.tensor(contract.offset), torch.tensor(contract.scale)
        try:
            return FILLS[name](*values, contract.statistics, contract.channels.labels, **contract.stem_options)
        except TypeError:
            raise ConfigError(f"stem {contract.stem!r} has no options {contract.stem_options}") from None
