import dataclasses
import math
import re

import pytest

from anychan.data.dataset import ImageData, load_data
from anychan.encoding import Encoding
from anychan.errors import ChannelError, ConfigError
from anychan.training.fit_checks import check_fits_data
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


def test_weights_are_of_the_datas_channels(data: ImageData) -> None:
    train = small_recipe(channel_sampling="weighted", subset_weights={"R,G": 1.0, "G,NIR": 2.0}).train
    with pytest.raises(ChannelError, match="NIR"):
        check_fits_data(train, data)
