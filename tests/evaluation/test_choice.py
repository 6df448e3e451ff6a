import re
from collections import Counter

import pytest

from anychan.channels import ChannelSet
from anychan.errors import ConfigError
from anychan.evaluation.choice import all_subsets, default_subsets, nested_subsets, random_orders, sampled_subsets
from anychan.presets import LANDSAT5, RGB, SENTINEL2
from tests.runs import anonymous


def names(subsets: list[ChannelSet]) -> list[str]:
    return [subset.label for subset in subsets]


def test_rgb_has_seven_subsets_the_largest_first() -> None:
    assert names(default_subsets(RGB)) == ["R+G+B", "R+G", "R+B", "G+B", "R", "G", "B"]


def test_seven_channels_have_all_subsets() -> None:
    found = default_subsets(LANDSAT5)
    assert len(found) == len(set(found)) == 127
    assert [len(subset) for subset in found] == sorted((len(subset) for subset in found), reverse=True)


def test_thirteen_channels_have_a_chosen_few() -> None:
    found = names(default_subsets(SENTINEL2))
    everything = SENTINEL2.names
    assert found[:2] == ["+".join(everything), "B04+B03+B02"]
    assert found[2:15] == ["+".join(name for name in everything if name != left_out) for left_out in everything]
    assert found[15:] == list(everything)


def test_eight_channels_without_colours_have_no_rgb_row() -> None:
    found = default_subsets(anonymous(8))
    assert [len(subset) for subset in found] == [8] + [7] * 8 + [1] * 8


def test_all_are_all() -> None:
    found = all_subsets(anonymous(8))
    assert len(found) == len(set(found)) == 255
    assert found[0] == anonymous(8)


def test_too_many_for_all_are_refused() -> None:
    message = (
        "21 channels have 2,097,151 subsets, which are too many to evaluate all; --sample draws some of them, "
        "--search greedy looks for good ones"
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        all_subsets(anonymous(21))
    with pytest.raises(ConfigError, match=r"^369 channels have 2\^369 - 1 subsets"):
        all_subsets(anonymous(369))


def test_samples_are_different_subsets_by_the_seed() -> None:
    found = sampled_subsets(SENTINEL2, 200, seed=0)
    assert len(set(found)) == 200
    assert all(subset.names == tuple(name for name in SENTINEL2.names if name in subset.names) for subset in found)
    assert sampled_subsets(SENTINEL2, 200, seed=0) == found
    assert sampled_subsets(SENTINEL2, 300, seed=0)[:200] == found
    assert sampled_subsets(SENTINEL2, 200, seed=1) != found
    assert set(sampled_subsets(RGB, 7, seed=0)) == set(RGB.subsets())
    assert len(sampled_subsets(anonymous(100), 5, seed=0)) == 5  # more subsets than a machine integer counts


def test_samples_are_uniform() -> None:
    """1,400 draws of one of seven: 200 each, and a standard deviation of 13."""
    counts = Counter(sampled_subsets(RGB, 1, seed=seed)[0] for seed in range(1400))
    assert len(counts) == 7
    assert all(abs(count - 200) < 4 * 13 for count in counts.values())


@pytest.mark.parametrize("count", [0, -1, 8])
def test_impossible_samples_are_refused(count: int) -> None:
    with pytest.raises(ConfigError, match=f"a sample of {count} subsets was asked for, but there are 1 to 7 to draw"):
        sampled_subsets(RGB, count, seed=0)


def test_orders_are_uniform_by_the_seed() -> None:
    found = random_orders(3, 1200, seed=0)
    assert random_orders(3, 1200, seed=0) == found
    assert random_orders(3, 5, seed=0) == found[:5]
    assert random_orders(3, 1200, seed=1) != found
    counts = Counter(found)
    assert len(counts) == 6
    assert all(abs(count - 200) < 4 * 13 for count in counts.values())


def test_nested_subsets_grow_by_one() -> None:
    order = (3, 0, 2, 1)
    found = nested_subsets(order)
    assert found == [(3,), (0, 3), (0, 2, 3), (0, 1, 2, 3)]


def test_one_order_has_no_error() -> None:
    message = "1 random orders were asked for, but Shapley values with an error need 2 or more"
    with pytest.raises(ConfigError, match=f"^{message}$"):
        random_orders(3, 1, seed=0)


def test_hundreds_of_channels_have_a_chosen_few() -> None:
    found = default_subsets(anonymous(369))
    assert [len(subset) for subset in found] == [369] + [368] * 369 + [1] * 369
    assert len(set(found)) == 739
