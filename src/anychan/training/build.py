"""The network of a recipe: drawn from its seed, or begun with the weights of a saved model."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from anychan.contract import Contract
from anychan.data.batches import calibration_batches
from anychan.data.dataset import ImageData, load_data, normalization
from anychan.data.drift import input_warnings
from anychan.encoding import Encoding
from anychan.errors import ConfigError
from anychan.models.backbone_weights import load_backbone_weights
from anychan.models.base import AnyChannelModel
from anychan.models.catalog import create_model, find_spec, model_from_contract, with_changes
from anychan.models.pretrained import CONTRACT_FILE, load
from anychan.models.stem_choice import WAVELENGTH_STEM
from anychan.models.warm_start import check_stem, known_channels, start_constants, start_warm
from anychan.models.whitening import whiten_stem
from anychan.randomness import derive_seed
from anychan.recipe import Recipe
from anychan.training.fit_checks import check_fits_data, check_fits_model
from anychan.training.parameter_groups import freeze

__all__ = ["build_model", "load_images", "start_warnings", "with_network"]

_DEFAULT = "resnet8"


def with_network(recipe: Recipe) -> Recipe:
    """The recipe with its network's name, stem and options, those of `model.init_from` where it does not give them.

    Raises:
        ConfigError: for an unknown network, or one that cannot begin with the saved model's weights.
        ContractError: when there is no saved model.
    """
    given = recipe.model
    if given.init_from is None:
        find_spec(given.name or _DEFAULT)
        return dataclasses.replace(recipe, model=dataclasses.replace(given, name=given.name or _DEFAULT))
    saved = _contract(given.init_from)
    find_spec(saved.model)
    if given.name not in ("", saved.model):
        raise ConfigError(f"model.name is {given.name}, but {given.init_from} holds {saved.model}; leave the name out")
    stem = saved.stem if given.stem is None else given.stem
    check_stem(saved, stem)
    options = {**saved.options, **given.options}
    network = dataclasses.replace(given, name=saved.model, stem=stem, options=options)
    return dataclasses.replace(recipe, model=network)


def _contract(folder: str) -> Contract:
    return Contract.load(Path(folder) / CONTRACT_FILE)


def load_images(recipe: Recipe) -> ImageData:
    """The recipe's images; channels that `model.init_from` knows are given as it takes them.

    Errors as `load_data`, and ContractError when there is no saved model.
    """
    encodings: dict[str, Encoding] = {}
    if recipe.model.init_from is not None:
        saved = _contract(recipe.model.init_from)
        encodings = dict(zip(saved.channels.identities, saved.encodings, strict=True))
    return load_data(recipe.data, seed=recipe.seed, encodings=encodings)


def start_warnings(recipe: Recipe, data: ImageData) -> list[str]:
    """A sentence for each channel whose images are unlike those that the model of `model.init_from` was trained on."""
    if recipe.model.init_from is None:
        return []
    saved = _contract(recipe.model.init_from)
    return input_warnings(saved, data.statistics, channels=data.channels) if saved.dtype == data.dtype else []


def build_model(recipe: Recipe, data: ImageData) -> AnyChannelModel:
    """The recipe's network for the data's channels and classes, its weights drawn from the recipe's seed.

    Where `model.init_from` names a saved model, all its weights that have a place are carried over (see `start_warm`).

    Raises:
        ConfigError: for an unknown model, stem, option or module to freeze, weights to begin with that do not fit,
            fewer outputs than classes, a first layer that cannot be whitened, or a way of training that does not fit
            the data.
        ChannelError: for `train.channels` that the data does not have, or channels that no weights are for.
        ContractError: for `model.init_from` without a saved model that can be read.
        InputShapeError: when the network cannot take the images' size, or one of `train.progressive_sizes`.
    """
    recipe = with_network(recipe)
    saved = None if recipe.model.init_from is None else _saved(recipe)
    unseen = _unseen(recipe, data)  # before any training
    if saved is not None:
        unseen = tuple(identity for identity in unseen if identity not in known_channels(saved.contract))
    check_fits_data(recipe.train, data)
    offset, scale, kept = _constants(recipe, data, None if saved is None else saved.contract)
    torch.manual_seed(derive_seed(recipe.seed, "weights"))
    model = create_model(
        recipe.model.name,
        channels=data.channels,
        num_classes=_outputs(recipe, data, None if saved is None else saved.contract),
        stem=recipe.model.stem,
        options=recipe.model.options,
        offset=offset,
        scale=scale,
        statistics=data.statistics,
        encodings=data.encodings,
    )
    if unseen and model.contract.stem == WAVELENGTH_STEM:  # built anew: such channels have no learned name
        torch.manual_seed(derive_seed(recipe.seed, "weights"))
        model = model_from_contract(dataclasses.replace(model.contract, interpolated=unseen))
    _tell(model, recipe, data, unseen)
    if recipe.model.whiten_stem:
        whiten_stem(model, _whole_images(recipe, data))
    if recipe.model.pretrained is not None:
        load_backbone_weights(model, Path(recipe.model.pretrained), new_channels=recipe.model.new_channels)
    if saved is not None:
        model.warm_start = start_warm(model, saved, kept=kept, new_channels=recipe.model.new_channels)
    freeze(model, recipe.train.freeze)
    model.check_size(data.resize.size, data.resize.size)
    check_fits_model(recipe.train, model)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _whole_images(recipe: Recipe, data: ImageData) -> list[Tensor]:
    """Some training images with all channels."""
    batches = calibration_batches(data.parts("train"), seed=recipe.seed)
    if any(batch.held is not None for batch in batches):
        raise ConfigError("model.whiten_stem needs images with all channels, but there are sources that lack some")
    return [batch.images for batch in batches]


def _saved(recipe: Recipe) -> AnyChannelModel:
    """The model to begin with, with the recipe's options."""
    saved = load(str(recipe.model.init_from))
    options = recipe.model.options
    return saved if options == saved.contract.options else with_changes(saved, options=options)


def _unseen(recipe: Recipe, data: ImageData) -> tuple[str, ...]:
    """Identities of the channels that no step sees."""
    if recipe.train.channels is None:
        return ()
    if len(data.sources) > 1:
        raise ConfigError("train.channels chooses from one source, but there are several; choose by data.channels")
    seen = data.channels.select(recipe.train.channels).identities
    return tuple(identity for identity in data.channels.identities if identity not in seen)


def _constants(
    recipe: Recipe, data: ImageData, saved: Contract | None
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[str, ...]]:
    """Offset and scale, and the identities of the channels that have a saved model's."""
    kind, channels = recipe.data.normalize, data.channels
    limits = data.percentiles(recipe.data.percentiles) if kind == "percentile" else None
    own = normalization(kind, channels, data.statistics, np.dtype(data.dtype), limits=limits)
    return (*own, ()) if saved is None else start_constants(saved, channels, data.dtype, own)


def _outputs(recipe: Recipe, data: ImageData, saved: Contract | None) -> int:
    outputs, classes = recipe.model.num_outputs, len(data.classes)
    if outputs is not None and outputs < classes:
        raise ConfigError(f"model.num_outputs is {outputs}, but the data has {classes} classes")
    if outputs is None and saved is not None and saved.classes == data.classes:
        return saved.outputs  # so that the head can stay as it is
    return outputs or classes


def _tell(model: AnyChannelModel, recipe: Recipe, data: ImageData, unseen: tuple[str, ...]) -> None:
    """Give the model's contract what it says of the data."""
    outputs = model.contract.outputs
    model.contract = dataclasses.replace(
        model.contract,
        classes=data.classes,
        resize=data.resize,
        grey=data.grey,
        dtype=data.dtype,
        num_outputs=outputs if outputs != len(data.classes) else recipe.model.num_outputs,
        untrained=() if model.contract.interpolated else unseen,
    )
