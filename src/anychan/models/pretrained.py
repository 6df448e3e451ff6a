"""A model on disk: `model.safetensors` and `contract.json` in one folder. No pickle at this door."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from importlib.resources import files
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from anychan.contract import Contract
from anychan.errors import ChannelError, ConfigError, ContractError
from anychan.files import check_plain, replacing
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
    path = folder / WEIGHTS_FILE
    try:
        contract = Contract.load(folder / CONTRACT_FILE)
        weights = _read_weights(path)
        if backbone is None:
            with torch.device("meta"), _parameters(4 * len(weights) + 1000, path):  # a contract may promise a giant
                _check_weights(model_from_contract(contract), weights, path)
            model = model_from_contract(contract)
        else:
            model = model_from_contract(contract, _around(backbone, contract))
            _check_weights(model, weights, path)
    except (ChannelError, ConfigError) as error:
        raise ContractError(f"{folder / CONTRACT_FILE}: {error}") from None
    _match(model, weights, None if backbone is None else next(backbone.parameters()).device)
    model.load_state_dict(weights)
    return model.eval()


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError:
        raise _no_weights(path) from None
    except Exception as error:  # the reader raises anything at all on damaged bytes
        raise ContractError(f"{path}: the weights cannot be read ({error})") from None


@contextmanager
def _parameters(most: int, path: Path) -> Iterator[None]:
    """Let no network of more parameters be built; of these, `_check_weights` tells which are amiss."""
    left = itertools.count(most, -1)

    def count(*_: object) -> None:
        if not next(left):
            raise ContractError(
                f"{path}: the contract means many more weights; weights and contract do not belong together"
            )

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


def _check_weights(model: AnyChannelModel, weights: Mapping[str, Tensor], path: Path) -> None:
    """See that weights are those of a model, whose own may lie on `meta`: nowhere."""
    expected = model.state_dict()
    for name in sorted(set(expected) ^ set(weights)):
        state = "lacks" if name in expected else "has an unknown"
        raise ContractError(f"{path}: the file {state} {name!r}; weights and contract do not belong together")
    for name, value in weights.items():
        if value.shape != expected[name].shape:
            shapes = f"{tuple(value.shape)} where the contract means {tuple(expected[name].shape)}"
            raise ContractError(f"{path}: {name!r} has shape {shapes}; weights and contract do not belong together")
        if value.is_floating_point() != expected[name].is_floating_point() or value.dtype.itemsize == 1:
            raise ContractError(f"{path}: {name!r} is of type {value.dtype}, which weights of that name cannot be")


def model_digest(folder: str | Path) -> str:
    """SHA-256 of a saved model's weights and contract: equal for models that say the same of every image.

    Raises:
        ContractError: when a file is absent.
    """
    found = hashlib.sha256()
    for name in (CONTRACT_FILE, WEIGHTS_FILE):
        path = Path(folder) / name
        try:
            check_plain(path)
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
