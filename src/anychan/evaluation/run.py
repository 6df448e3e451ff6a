"""Evaluate a finished run on its own data: recipe, contract and weights from the run folder."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from anychan.channels import ChannelSet
from anychan.data.batches import Augment, Batch, EvalBatches, calibration_images
from anychan.data.dataset import ImageData, check_against_contract, load_data
from anychan.errors import RunError
from anychan.evaluation.evaluate import evaluate_splits
from anychan.evaluation.greedy import GreedySearch, greedy_search
from anychan.evaluation.subsets import SubsetReport
from anychan.models.base import AnyChannelModel
from anychan.models.catalog import model_from_contract
from anychan.models.pretrained import WEIGHTS_FILE, load
from anychan.recipe import Recipe
from anychan.training.fit import build_model
from anychan.training.run_folder import RunFolder

__all__ = ["evaluate_run", "evaluate_run_splits", "load_run", "search_run", "untrained_modules"]


def load_run(
    path: str | Path, *, data_path: str | None = None, data_channels: str | None = None
) -> tuple[AnyChannelModel, ImageData]:
    """A finished run's best model, and the data that it was trained and is tested on.

    Args:
        path: the run folder.
        data_path: where the data lies now, if it moved; or other data of the same classes, whose channels may be others
            (see `match_channels`). What means no data there does so for the model too, where it knew none.
        data_channels: the channels of that data, a sensor or a list with commas; default: as the recipe finds them.

    Raises:
        RunError: when this is no run folder, or the run is not finished.
        ContractError: when model and data do not fit each other.
        DataError: when the data cannot be used.
    """
    folder = RunFolder(path)
    recipe = folder.load_recipe()
    if not (folder.path / WEIGHTS_FILE).exists():
        raise RunError(f"{folder.path}: the run is not finished; the same `anychan train` command goes on with it")
    model = load(folder.path)
    config = recipe.data if data_path is None else dataclasses.replace(recipe.data, path=data_path)
    config = config if data_channels is None else dataclasses.replace(config, channels=data_channels)
    encodings = dict(zip(model.contract.channels.identities, model.contract.encodings, strict=True))
    data = load_data(config, seed=recipe.seed, encodings=encodings)
    check_against_contract(data, model.contract)
    model = _with_no_data_of(model, data)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return model.to(device, memory_format=torch.channels_last), data  # type: ignore[call-overload]


def _with_no_data_of(model: AnyChannelModel, data: ImageData) -> AnyChannelModel:
    """The model, knowing the data's no-data numbers: else pixels without data would enter it as values."""
    known = dict(zip(data.channels.identities, data.encodings, strict=True))
    own = list(zip(model.channels.identities, model.contract.encodings, strict=True))
    encodings = tuple(
        dataclasses.replace(encoding, no_data=known[identity].no_data) if identity in known else encoding
        for identity, encoding in own
    )
    if encodings == model.contract.encodings:
        return model
    parameter = next(model.parameters())
    told = model_from_contract(dataclasses.replace(model.contract, encodings=encodings))
    told.to(parameter.device, parameter.dtype).load_state_dict(model.state_dict())
    return told.eval()


def evaluate_run(
    model: AnyChannelModel,
    data: ImageData,
    *,
    split: str = "test",
    subsets: Sequence[ChannelSet] | None = None,
    batch_norm: str = "saved",
    augment: Augment | None = None,
    channel_drop: float = 0.0,
    flip: bool = False,
    seed: int = 0,
) -> SubsetReport:
    """The subset report of a model on a split of its data; arguments as `evaluate_run_splits`."""
    return evaluate_run_splits(
        model,
        data,
        splits=(split,),
        subsets=subsets,
        batch_norm=batch_norm,
        augment=augment,
        channel_drop=channel_drop,
        flip=flip,
        seed=seed,
    )[split]


def evaluate_run_splits(
    model: AnyChannelModel,
    data: ImageData,
    *,
    splits: Sequence[str],
    channels: ChannelSet | None = None,
    subsets: Sequence[ChannelSet] | None = None,
    sample: int = 0,
    orders: int = 0,
    batch_norm: str = "saved",
    augment: Augment | None = None,
    channel_drop: float = 0.0,
    flip: bool = False,
    seed: int = 0,
    partial: Path | None = None,
) -> dict[str, SubsetReport]:
    """The subset reports of a model on some splits of its data.

    Args:
        model: from `load_run`, or `match_channels`.
        data: from `load_run`.
        splits: `"test"`, `"val"`, or both.
        channels: those of the data's channels to evaluate; the others are left out. Default: all of the data's.
        subsets: default: see `default_subsets`.
        sample: so many more, drawn at random.
        orders: random orders of the channels to estimate Shapley values from.
        batch_norm: `"saved"`: the statistics that the model holds for each subset, or its only ones; `"shared"`: those
            of all channels for every subset; `"own"`: measured now for each subset, on training images.
        augment: how to augment those images: as in training.
        channel_drop: set one random channel of an image to raw zero with this probability (report 1's evaluation).
        flip: average the probabilities of each image and of its mirror image, left to right, at twice the work.
        seed: for the drops, the sample, the orders, and the choice of training images.
        partial: a file to keep results in as they are done, and to go on from.

    Raises:
        ChannelError: for a channel that the model does not know.
    """
    seen = _Seen(model, data, channels, batch_norm, augment, seed)
    return evaluate_splits(
        seen.model,
        {split: seen.batches(split, channel_drop) for split in splits},
        channels=seen.channels,
        subsets=subsets,
        sample=sample,
        orders=orders,
        seed=seed,
        calibration=seen.calibration,
        train_labels=data.splits["train"].labels,
        flip=flip,
        partial=partial,
    )


def search_run(
    model: AnyChannelModel,
    data: ImageData,
    *,
    up_to: int,
    channels: ChannelSet | None = None,
    batch_norm: str = "saved",
    augment: Augment | None = None,
    flip: bool = False,
    seed: int = 0,
    partial: Path | None = None,
) -> GreedySearch:
    """A greedy search for good subsets on the validation images; arguments as those of `evaluate_run_splits`."""
    seen = _Seen(model, data, channels, batch_norm, augment, seed)
    batches = list(seen.batches("val"))
    how = {"calibration": seen.calibration, "flip": flip, "partial": partial}
    return greedy_search(seen.model, batches, seen.channels, up_to=up_to, **how)  # type: ignore[arg-type]


class _Seen:
    """A model as it is to be evaluated, and its images: the channels that both know, in the model's order."""

    def __init__(
        self,
        model: AnyChannelModel,
        data: ImageData,
        channels: ChannelSet | None,
        batch_norm: str,
        augment: Augment | None,
        seed: int,
    ) -> None:
        index = sorted(model.channels.indices(data.channels if channels is None else channels))
        self.channels = ChannelSet((model.channels[i] for i in index), source=model.channels.source)
        self.columns = list(data.channels.indices(self.channels))
        self.cut = self.columns != list(range(len(data.channels)))
        self.model = _sharing(model) if batch_norm == "shared" else model
        self.data, self.seed = data, seed
        self.calibration: list[Tensor] | None = None
        if batch_norm == "own":
            training = calibration_images(data.splits["train"], augment=augment, seed=seed)
            self.calibration = [self._images(images) for images in training]

    def batches(self, split: str, channel_drop: float = 0.0) -> Iterator[Batch]:
        """A split's images and labels."""
        for batch in EvalBatches(self.data.splits[split], channel_drop=channel_drop, seed=self.seed):
            yield Batch(self._images(batch.images), batch.labels)

    def _images(self, images: Tensor) -> Tensor:
        return images[:, self.columns] if self.cut else images


def _sharing(model: AnyChannelModel) -> AnyChannelModel:
    """The same model without what it holds for single subsets."""
    model = copy.deepcopy(model)
    model.subset_statistics = None
    model.contract = dataclasses.replace(model.contract, batch_norm="shared")
    return model


def untrained_modules(model: AnyChannelModel, data: ImageData, recipe: Recipe) -> list[str]:
    """Parts of a model that its training never changed: all their parameters are as the recipe's seed drew them.

    Such as report 1's generators for 1 and 2 channels, which the report's own training never feeds.

    Args:
        model: a trained model.
        data: its data.
        recipe: its recipe.

    Returns:
        Names of modules, the outermost ones only; none where the model began with weights whose file is gone, or the
        data has other channels than it, since there is nothing to compare with.
    """
    if data.channels.identities != model.channels.identities:
        return []
    begun = [recipe.model.pretrained, recipe.model.init_from and str(Path(recipe.model.init_from) / WEIGHTS_FILE)]
    if not all(path is None or Path(path).exists() for path in begun):
        return []
    # whitening is no training, and the data may be others than those that it was whitened by
    drawn = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, whiten_stem=False))
    fresh = dict(build_model(drawn, data).named_parameters())
    same = {name for name, value in model.named_parameters() if torch.equal(value.cpu(), fresh[name])}
    found: list[str] = []
    for path, module in model.named_modules():
        names = {f"{path}.{name}" if path else name for name, _ in module.named_parameters()}
        inside = any(not outer or path.startswith(f"{outer}.") for outer in found)
        if names and names <= same and not inside:
            found.append(path)
    return found
