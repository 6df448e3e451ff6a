import dataclasses
import math
import re
from typing import Any

import pytest
import torch

from anychan.data.dataset import ImageData, load_data
from anychan.encoding import Encoding
from anychan.errors import ChannelError, ConfigError, InputShapeError
from anychan.models.catalog import create_model
from anychan.training.fit_checks import check_fits_data, check_fits_model
from tests.runs import small_recipe


@pytest.fixture(scope="module")
def data(cache: object) -> ImageData:
    return load_data(small_recipe().data, seed=0)


def with_no_data(data: ImageData, number: float) -> ImageData:
    """In the second channel."""
    return dataclasses.replace(data, encodings=(Encoding(), Encoding(no_data=number), Encoding()))


def test_dropped_channels_are_not_no_data(data: ImageData) -> None:
    train = small_recipe(channel_drop=0.5).train
    check_fits_data(train, data)
    check_fits_data(train, with_no_data(data, 255))
    with pytest.raises(ConfigError, match=r"^train\.channel_drop sets channels to 0, but 0 means no data here; sample"):
        check_fits_data(train, with_no_data(data, 0))


@pytest.mark.parametrize(("number", "text"), [(0, "0"), (-9999, "-9999"), (math.nan, "nan")])
def test_data_is_not_mixed_with_no_data(data: ImageData, number: float, text: str) -> None:
    train = small_recipe(mixup=0.2).train
    check_fits_data(train, data)
    check_fits_data(small_recipe(cutmix=1.0).train, with_no_data(data, number))
    message = (
        f"train.mixup mixes values, but {text} means no data in channel G, and a mixture of data and no data is "
        "neither; use train.cutmix instead"
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        check_fits_data(train, with_no_data(data, number))


@pytest.mark.parametrize(
    ("key", "value", "advice"),
    [
        ("progressive_sizes", [8, 16], "train at data.size alone"),
        ("crop_scale", 0.5, "use train.crop_padding instead"),
    ],
)
def test_neighbours_are_not_mixed_with_no_data(data: ImageData, key: str, value: Any, advice: str) -> None:
    train = small_recipe(**{key: value}).train
    check_fits_data(train, data)
    message = (
        f"train.{key} mixes neighbouring values, but 0 means no data in channel G, and a mixture of data and no data "
        f"is neither; {advice}"
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        check_fits_data(train, with_no_data(data, 0))


def test_sizes_are_the_networks() -> None:
    with torch.device("meta"):
        model = create_model("simple_2layer_cnn", num_classes=3)
    check_fits_model(small_recipe(progressive_sizes=[37, 40]).train, model)
    message = "train.progressive_sizes has 36, but simple_2layer_cnn takes images of at least 37x37 pixels, not 36x36"
    with pytest.raises(InputShapeError, match=f"^{re.escape(message)}$"):
        check_fits_model(small_recipe(progressive_sizes=[40, 36]).train, model)


def test_weights_are_of_the_datas_channels(data: ImageData) -> None:
    train = small_recipe(channel_sampling="weighted", subset_weights={"R,G": 1.0, "G,NIR": 2.0}).train
    with pytest.raises(ChannelError, match="NIR"):
        check_fits_data(train, data)
