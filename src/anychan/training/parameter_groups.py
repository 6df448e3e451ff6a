"""Fine-tuning: which parameters are frozen, and which learning rate each layer of the others has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from anychan.errors import ConfigError
from anychan.recipe import TrainConfig

__all__ = ["fix_frozen_statistics", "freeze", "frozen_modules", "parameter_groups", "parameter_layers"]

_OPENED = 0.9  # share of the body's parameters above which a part is a chain of layers, not a layer


def frozen_modules(model: nn.Module, what: str | list[str]) -> list[nn.Module]:
    """The modules that a recipe freezes.

    Args:
        model: an `AnyChannelModel`.
        what: `"none"`; `"body"`, all but stem and head; or names of modules, each with everything inside.

    Raises:
        ConfigError: for a name that no module has.
    """
    names = {"none": [], "body": ["body"]}[what] if isinstance(what, str) else what
    modules = dict(model.named_modules())
    for name in names:
        if name not in modules or not name:
            held = [path for path, module in modules.items() if path and any(True for _ in module.parameters())]
            inside = ", ".join(path for path in held if path.count(".") <= 2)
            raise ConfigError(f"train.freeze names {name!r}, but the model's modules are {inside} and those inside")
    return [modules[name] for name in names]


def freeze(model: nn.Module, what: str | list[str]) -> None:
    """Take parameters out of training; arguments and errors as `frozen_modules`.

    Raises:
        ConfigError: also when nothing is left to train.
    """
    for module in frozen_modules(model, what):
        module.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError(f"train.freeze {what} leaves nothing to train; name fewer modules")


def fix_frozen_statistics(model: nn.Module, what: str | list[str]) -> None:
    """Keep the running statistics of frozen batch norms as they are, and normalise by them, also in training.

    Dropout inside stays on. Arguments as `freeze`.
    """
    for module in frozen_modules(model, what):
        for part in module.modules():
            if isinstance(part, _BatchNorm):
                part.eval()


def parameter_groups(model: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """The optimizer's groups: one of all that train, or one a layer from stem to head, with

        lr of layer l of L = config.lr · layer_lr_decay^(L - l)

    Source: Clark et al. 2020, ELECTRA (arXiv 2003.10555), appendix A; as BEiT does for ViTs (Bao et al. 2021, arXiv
    2106.08254), but by stages where a body has stages.
    """
    if config.layer_lr_decay == 1:
        return [{"params": [parameter for parameter in model.parameters() if parameter.requires_grad]}]
    layers = parameter_layers(model)
    groups = []
    for number, layer in enumerate(layers, 1):
        trained = [parameter for parameter in layer if parameter.requires_grad]
        if trained:
            groups.append({"params": trained, "lr": config.lr * config.layer_lr_decay ** (len(layers) - number)})
    return groups


def parameter_layers(model: nn.Module) -> list[list[nn.Parameter]]:
    """Every parameter once, by layer: the stem, the body's parts in order, the head.

    A part of the body that holds nine tenths of its parameters is opened into its own parts, so that a ViT's blocks and
    a ResNet's stages are layers. A part of vectors alone, such as a batch norm, belongs to the layer before; a
    parameter that is in no part, such as a ViT's positions, to the stem.
    """
    body = model.get_submodule("body")
    total = sum(parameter.numel() for parameter in body.parameters())
    stem, head = (list(model.get_submodule(part).parameters()) for part in ("stem", "head"))
    layers = [stem]
    for part in _parts(body, _OPENED * total):
        if isinstance(part, nn.Parameter):
            stem.append(part)
            continue
        inside = list(part.parameters())
        if all(parameter.ndim < 2 for parameter in inside):
            layers[-1].extend(inside)
        else:
            layers.append(inside)
    return [*layers, head] if head else layers


def _parts(module: nn.Module, limit: float) -> Iterator[nn.Module | nn.Parameter]:
    yield from module.parameters(recurse=False)
    for child in module.children():
        large = sum(parameter.numel() for parameter in child.parameters()) > limit
        if large and any(True for _ in child.children()):
            yield from _parts(child, limit)
        else:
            yield child
