"""Backbones of other libraries by name: `timm:resnet18`, `torchvision:vit_b_16`. Weights are never downloaded."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch
from torch import nn

from anychan.errors import ConfigError

__all__ = ["LIBRARIES", "build_backbone", "builds", "check_backbone", "library_of", "name_of"]

LIBRARIES = ("timm", "torchvision")
_WEIGHTS = ("pretrained", "weights", "weights_backbone", "checkpoint_path", "pretrained_cfg")


def library_of(name: str) -> str | None:
    """`"timm"` of `"timm:resnet18"`; `None` for names that are of no library."""
    library, colon, _ = name.partition(":")
    return library if colon and library in LIBRARIES else None


def check_backbone(name: str) -> None:
    """See that a name's library is there and knows it, without building anything.

    Raises:
        ConfigError: when the library cannot be imported, or has no such model.
    """
    library, _, model = name.partition(":")
    home = _import(name)
    known = home.is_model(model) if library == "timm" else model in home.list_models(module=home)
    if not known:
        raise ConfigError(f"{library} has no model {model!r}; {library}.{_list_call(library)} lists its classifiers")


def _list_call(library: str) -> str:
    return "list_models()" if library == "timm" else "models.list_models(module=torchvision.models)"


def _import(name: str) -> Any:
    library = library_of(name)
    try:
        return import_module("timm" if library == "timm" else "torchvision.models")
    except ModuleNotFoundError:
        raise ConfigError(f"{name} needs {library}: pip install 'anychan[backbones]'") from None
    except (ImportError, RuntimeError) as error:  # RuntimeError: built for another PyTorch
        raise ConfigError(f"{name} needs {library}, which cannot be imported here: {error}") from None


def build_backbone(name: str, options: Mapping[str, Any], *, num_classes: int) -> nn.Module:
    """A library's network with fresh weights.

    Args:
        name: library and model, such as `"timm:resnet18"`.
        options: what its builder takes, such as `{"img_size": 32}`.
        num_classes: number of logits.

    Raises:
        ConfigError: for an unknown name or option, or one that would download weights.
    """
    check_backbone(name)
    for key in _WEIGHTS:
        if key in options:
            raise ConfigError(f"{name} takes no option {key!r} here; give a file of weights as model.pretrained")
    library, _, model = name.partition(":")
    home = _import(name)
    try:
        if library == "timm":
            return home.create_model(model, pretrained=False, num_classes=num_classes, **options)  # type: ignore[no-any-return]
        return home.get_model(model, weights=None, num_classes=num_classes, **options)  # type: ignore[no-any-return]
    except Exception as error:  # whatever a builder raises at options that it does not know
        raise ConfigError(f"{name} cannot be built with the options {dict(options)}: {error}") from None


def name_of(backbone: nn.Module, *, num_classes: int) -> str | None:
    """The library name that builds this network without options, or `None`; see `builds`."""
    for name in _candidates(backbone):
        with contextlib.suppress(ConfigError):  # one that cannot be built here is not it
            if builds(name, {}, backbone, num_classes=num_classes):
                return name
    return None


def _candidates(backbone: nn.Module) -> list[str]:
    home = type(backbone).__module__
    if home.startswith("timm."):
        found = (getattr(backbone, "pretrained_cfg", None) or {}).get("architecture")
        return [f"timm:{found}"] if found else []
    if home.startswith("torchvision.models."):
        models = import_module("torchvision.models")
        names = models.list_models(module=models)
        return [f"torchvision:{name}" for name in names if models.get_model_builder(name).__module__ == home]
    return []


def builds(name: str, options: Mapping[str, Any], backbone: nn.Module, *, num_classes: int) -> bool:
    """Whether a library's builder makes this network.

    It prints alike, its tensors have the same names and shapes, and its modules the same plain attributes, such as a
    ViT's number of heads, which is in neither. Errors are those of `build_backbone`; torch's random state stays.
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"):  # meta: a large family is searched in no time
        built = build_backbone(name, options, num_classes=num_classes)
    shapes = [{key: value.shape for key, value in module.state_dict().items()} for module in (backbone, built)]
    alike = shapes[0] == shapes[1] and repr(backbone) == repr(built)
    return alike and _attributes(backbone) == _attributes(built)


def _attributes(network: nn.Module) -> dict[str, dict[str, Any]]:
    """Path → the plain attributes of each module, apart from its mode.

    `num_classes` is left out: it stays as it was where a user has put in another last layer, and tensors' shapes tell.
    """
    skipped = {*vars(nn.Module()), "num_classes"}
    return {
        path: {key: value for key, value in vars(module).items() if key not in skipped and _is_plain(value)}
        for path, module in network.named_modules()
    }


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, int | float | str)
