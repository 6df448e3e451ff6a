"""A model on disk: `model.safetensors` and `contract.json` in one folder. No pickle at this door."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from copy import deepcopy
from importlib.resources import files
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from anychan.contract import Contract
from anychan.errors import ChannelError, ConfigError, ContractError
from anychan.files import replacing
from anychan.models.anatomy import examine
from anychan.models.backbone import around
from anychan.models.base import AnyChannelModel, Network
from anychan.models.catalog import OWN, model_from_contract

__all__ = ["SHIPPED", "load", "model_digest", "model_folder", "save"]

WEIGHTS_FILE, CONTRACT_FILE = "model.safetensors", "contract.json"
SHIPPED = {"demo": "demo_model"}  # a model inside the package, by name: its folder there


def model_folder(name: str | Path) -> Path:
    """The folder of a model: a shipped model's name stands for its own, unless there is a folder of that name."""
    shipped = SHIPPED.get(str(name))
    return Path(name) if shipped is None or Path(name).exists() else Path(str(files("anychan") / shipped))


def save(model: AnyChannelModel, folder: str | Path) -> None:
    """Write a model's weights and contract into a folder, which is made if need be.

    Each file is written under another name first, so that neither is ever half there.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / WEIGHTS_FILE) as partial:
        save_file({name: value.contiguous() for name, value in model.state_dict().items()}, partial)
    model.contract.save(folder / CONTRACT_FILE)


def load(folder: str | Path, *, backbone: nn.Module | None = None) -> AnyChannelModel:
    """Read a model that `save` wrote, or a run folder's best epoch; in eval mode and the number type that was saved.

    Args:
        folder: where it lies; or `"demo"`, the model inside the package (see `model_folder`).
        backbone: for an adapted network of one's own: such a network as `adapt` was given; it is copied, not changed,
            and the model comes to its device.

    Raises:
        ContractError: when a file is absent or damaged, weights and contract do not belong together, or the network is
            of one's own and not given, or of a library that is not installed.
    """
    folder = model_folder(folder)
    try:
        contract = Contract.load(folder / CONTRACT_FILE)
        model = model_from_contract(contract, None if backbone is None else _around(backbone, contract))
    except (ChannelError, ConfigError) as error:
        raise ContractError(f"{folder / CONTRACT_FILE}: {error}") from None
    path = folder / WEIGHTS_FILE
    try:
        weights = load_file(path)
    except FileNotFoundError:
        raise _no_weights(path) from None
    except SafetensorError as error:
        raise ContractError(f"{path}: the weights cannot be read ({error})") from None
    expected = model.state_dict()
    for name in sorted(set(expected) ^ set(weights)):
        state = "lacks" if name in expected else "has an unknown"
        raise ContractError(f"{path}: the file {state} {name!r}; weights and contract do not belong together")
    for name, value in weights.items():
        if value.shape != expected[name].shape:
            shapes = f"{tuple(value.shape)} where the contract means {tuple(expected[name].shape)}"
            raise ContractError(f"{path}: {name!r} has shape {shapes}; weights and contract do not belong together")
    _match(model, weights, None if backbone is None else next(backbone.parameters()).device)
    model.load_state_dict(weights)
    return model.eval()


def model_digest(folder: str | Path) -> str:
    """SHA-256 of a saved model's weights and contract: equal for models that say the same of every image.

    Raises:
        ContractError: when a file is absent.
    """
    found = hashlib.sha256()
    for name in (CONTRACT_FILE, WEIGHTS_FILE):
        path = Path(folder) / name
        try:
            with path.open("rb") as file:
                found.update(hashlib.file_digest(file, "sha256").digest())
        except OSError:
            raise _no_weights(path) from None
    return found.hexdigest()


def _no_weights(path: Path) -> ContractError:
    return ContractError(f"{path}: there are no weights here; train the model to its end first")


def _match(model: AnyChannelModel, weights: Mapping[str, Tensor], device: torch.device | None) -> None:
    """Bring a fresh model to the number type that was saved, or float64 is rounded, and to a device.

    Where types are mixed, the body and the head keep those that they were built with.
    """
    types = {name: value.dtype for name, value in weights.items() if value.is_floating_point()}
    first = next(dtype for name, dtype in types.items() if name.startswith("stem."))
    for part in (model,) if len(set(types.values())) == 1 else (model.normalize, model.stem):
        part.to(dtype=first)
    model.to(device)


def _around(backbone: nn.Module, contract: Contract) -> Callable[..., Network]:
    """A builder; among its options, a network of one's own has the size that it was examined at, if it was named."""
    size = contract.options.get("size") if contract.model.startswith(OWN) else None
    return around(deepcopy(backbone), examine(backbone, size=size and tuple(size)))
