import pytest
import torch

from anychan.errors import ConfigError
from anychan.nn.drop_path import DropPath


def test_whole_images_are_dropped_and_the_rest_is_scaled_up() -> None:
    torch.manual_seed(0)
    x = torch.arange(1.0, 4001.0).view(-1, 1).expand(4000, 5).reshape(4000, 5, 1)
    share = DropPath(0.2).train()(x) / x  # (4000, 5, 1)
    assert set(share.flatten().tolist()) == {0.0, 1.25}
    assert torch.equal(share, share[:, :1].expand_as(share))
    assert (share[:, 0] == 0).sum() == pytest.approx(800, abs=5 * (4000 * 0.2 * 0.8) ** 0.5)


def test_nothing_is_dropped_in_use_or_with_probability_0() -> None:
    x = torch.randn(6, 3, 5)
    assert DropPath(0.9).eval()(x) is x
    assert DropPath(0.0).train()(x) is x


def test_it_shows_its_probability() -> None:
    assert repr(DropPath(0.25)) == "DropPath(0.25)"


@pytest.mark.parametrize("probability", [-0.1, 1.0])
def test_other_probabilities_are_refused(probability: float) -> None:
    with pytest.raises(ConfigError, match=f"DropPath takes a probability of 0 or more and below 1, not {probability}"):
        DropPath(probability)
