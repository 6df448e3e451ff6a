"""What a recipe's training asks of the data and of the network: checked before anything is written."""

from __future__ import annotations

from anychan.data.batches import TrainBatches
from anychan.data.dataset import ImageData
from anychan.errors import ConfigError, InputShapeError
from anychan.models.base import AnyChannelModel
from anychan.recipe import TrainConfig
from anychan.training.sampling import make_sampler

__all__ = ["check_fits_data", "check_fits_model", "check_shares"]


def check_fits_data(train: TrainConfig, data: ImageData) -> None:
    """Check that the data's channels allow what is done to them in training.

    Raises:
        ConfigError: for channel drop where 0 means no data, mixtures of values where any number does, or a sampler
            that cannot be.
    """
    if train.channel_drop and any(encoding.no_data == 0 for encoding in data.encodings):
        raise ConfigError("train.channel_drop sets channels to 0, but 0 means no data here; sample channels instead")
    if train.mixup:
        _check_mixes("train.mixup mixes values", data, "use train.cutmix instead")
    if train.crop_scale < 1:
        _check_mixes("train.crop_scale mixes neighbouring values", data, "use train.crop_padding instead")
    if train.progressive_sizes is not None:
        _check_mixes("train.progressive_sizes mixes neighbouring values", data, "train at data.size alone")
    for name in data.sources:
        make_sampler(train, data.source(name).channels)


def _check_mixes(what: str, data: ImageData, advice: str) -> None:
    for channel, encoding in zip(data.channels, data.encodings, strict=True):
        if encoding.no_data is not None:
            raise ConfigError(
                f"{what}, but {encoding.no_data:g} means no data in channel {channel.name}, and a mixture of data and "
                f"no data is neither; {advice}"
            )


def check_fits_model(train: TrainConfig, model: AnyChannelModel) -> None:
    """Check that the network can take the sizes of training.

    Raises:
        InputShapeError: for one that it cannot.
    """
    for size in train.progressive_sizes or ():
        try:
            model.check_size(size, size)
        except InputShapeError as error:
            raise InputShapeError(f"train.progressive_sizes has {size}, but {error}") from None


def check_shares(batches: TrainBatches, processes: int) -> None:
    """Check that every process has an image of every batch.

    Raises:
        ConfigError: when a batch has too few.
    """
    if processes == 1:
        return
    fewest = min(batches.sizes())
    if fewest < processes:
        raise ConfigError(
            f"an epoch has a batch of {fewest} images, but there are {processes} processes, which each need one; take "
            "another train.batch_size, or fewer processes"
        )
