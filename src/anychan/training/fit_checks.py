"""What a recipe's training asks of the data: checked before a network is built or anything is written."""

from __future__ import annotations

from anychan.data.dataset import ImageData
from anychan.errors import ConfigError
from anychan.recipe import TrainConfig
from anychan.training.sampling import make_sampler

__all__ = ["check_fits_data"]


def check_fits_data(train: TrainConfig, data: ImageData) -> None:
    """Check that the data's channels allow what is done to them in training.

    Raises:
        ConfigError: for channel drop where 0 means no data, mixtures of values where any number does, or a sampler
            that cannot be.
    """
    if train.channel_drop and any(encoding.no_data == 0 for encoding in data.encodings):
        raise ConfigError("train.channel_drop sets channels to 0, but 0 means no data here; sample channels instead")
    if train.mixup:
        for channel, encoding in zip(data.channels, data.encodings, strict=True):
            if encoding.no_data is not None:
                raise ConfigError(
                    f"train.mixup mixes values, but {encoding.no_data:g} means no data in channel {channel.name}, and "
                    "a mixture of data and no data is neither; use train.cutmix instead"
                )
    for name in data.sources:
        make_sampler(train, data.source(name).channels)
