import math
import re
from collections.abc import Sequence

import pytest
import torch

from anychan.errors import ConfigError
from anychan.nn.normalize import Normalize


def constant_images(values: Sequence[float], dtype: torch.dtype) -> torch.Tensor:
    """(2, C, 5, 7), each channel its own constant."""
    return torch.tensor(values, dtype=dtype)[None, :, None, None].expand(2, -1, 5, 7)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int32, torch.float32, torch.float64])
def test_by_hand_for_every_number_type(dtype: torch.dtype) -> None:
    layer = Normalize([10.0, 20.0, 0.0], [2.0, 5.0, 255.0])
    y = layer(constant_images([14, 10, 255], dtype))
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, constant_images([2.0, -2.0, 1.0], torch.float32))


def test_large_uint16_values_are_not_wrapped() -> None:
    y = Normalize([0.0], [1.0])(torch.full((2, 1, 5, 7), 65535, dtype=torch.uint16))
    torch.testing.assert_close(y, torch.full((2, 1, 5, 7), 65535.0))


def test_index_picks_the_constants_in_its_order() -> None:
    layer = Normalize([10.0, 20.0, 0.0], [2.0, 5.0, 255.0])
    y = layer(constant_images([255, 14], torch.uint8), index=(2, 0))
    torch.testing.assert_close(y, constant_images([1.0, 2.0], torch.float32))


def test_double_stays_double() -> None:
    layer = Normalize([0.5], [2.0]).double()
    y = layer(torch.full((2, 1, 5, 7), 1e-12, dtype=torch.float64))
    torch.testing.assert_close(y, torch.full_like(y, (1e-12 - 0.5) / 2), rtol=0, atol=1e-17)


def test_constants_are_not_in_the_state_dict() -> None:
    assert Normalize([0.0], [1.0]).state_dict() == {}


@pytest.mark.parametrize(
    ("offset", "scale"),
    [([0.0], [1.0, 1.0]), ([0.0, 1.0], [1.0, 0.0]), ([0.0], [-1.0]), ([0.0], [float("nan")])],
)
def test_bad_constants_are_refused(offset: list[float], scale: list[float]) -> None:
    text = f"normalisation needs one offset and one scale above 0 a channel, not {offset}, {scale}"
    with pytest.raises(ConfigError, match=re.escape(text)):
        Normalize(offset, scale)


def test_no_data_becomes_the_training_mean() -> None:
    layer = Normalize([0.0, 10.0, 0.0], [2.0, 5.0, 1.0], [0, math.nan, None], [4.0, 20.0, 7.0])
    x = torch.tensor([0.0, math.nan, 0.0, 6.0, 0.0, 9.0]).view(2, 3, 1, 1)
    assert layer(x).flatten().tolist() == [2.0, 2.0, 0.0, 3.0, -2.0, 9.0]
    assert layer(x[:, [1, 0]], (1, 0)).flatten().tolist() == [2.0, 2.0, -2.0, 3.0]
    undeclared = torch.full((1, 1, 1, 1), math.nan)
    assert layer(undeclared, (2,)).isnan().all()  # never hidden where nobody said that it means no data
    assert layer(undeclared, (0,)).isnan().all()


def test_no_data_of_integers() -> None:
    layer = Normalize([100.0], [10.0], [65535])
    x = torch.tensor([65535, 110], dtype=torch.uint16).view(2, 1, 1, 1)
    assert layer(x).flatten().tolist() == [0.0, 1.0]


def test_copy_for_one_subset() -> None:
    layer = Normalize([10.0, 20.0, 0.0], [2.0, 5.0, 255.0], [None, 7.0, math.nan], [12.0, 25.0, 51.0]).double()
    x = torch.tensor([[math.nan, 14.0], [51.0, 7.0]], dtype=torch.float64)[:, :, None, None]
    y = layer.for_index((2, 1))(x)
    torch.testing.assert_close(y[:, :, 0, 0], torch.tensor([[0.2, -1.2], [0.2, 1.0]], dtype=torch.float64))
    torch.testing.assert_close(y, layer(x, index=(2, 1)), rtol=0, atol=0)
    assert layer.offset.tolist() == [10.0, 20.0, 0.0]
