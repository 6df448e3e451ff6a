import math
from collections import Counter
from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anychan.channels import ChannelSet
from anychan.errors import ChannelError, ConfigError
from anychan.presets import RGB
from anychan.recipe import TrainConfig
from anychan.training.sampling import (
    Sampler,
    make_sampler,
    sandwich,
    uniform_size_subset,
    uniform_subset,
    weighted_subset,
)
from tests.runs import anonymous


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def near(count: int, draws: int, share: float) -> bool:
    """Within five standard deviations of the binomial distribution."""
    return abs(count - draws * share) <= 5 * math.sqrt(draws * share * (1 - share))


def sampler(name: str, channels: ChannelSet = RGB, **train: object) -> Sampler:
    found = make_sampler(TrainConfig(channel_sampling=name, **train), channels)  # type: ignore[arg-type]
    assert found is not None
    return found


@pytest.mark.parametrize("name", ["uniform", "uniform_size"])
@given(st.integers(1, 13), st.integers(0, 10_000))
def test_a_subset_is_sorted_positions_and_never_empty(name: str, num_channels: int, seed: int) -> None:
    draw = sampler(name, anonymous(num_channels))
    subset = draw(generator(seed))
    assert subset
    assert list(subset) == sorted(set(subset))
    assert set(subset) <= set(range(num_channels))
    assert draw(generator(seed)) == subset


def test_every_subset_is_as_likely_as_the_next() -> None:
    one, draws = generator(), 7000
    found = Counter(uniform_subset(one, num_channels=3) for _ in range(draws))
    assert set(found) == {chosen for size in (1, 2, 3) for chosen in combinations(range(3), size)}
    assert all(near(count, draws, 1 / 7) for count in found.values())


def test_every_size_is_as_likely_as_the_next() -> None:
    one, draws = generator(), 6000
    found = [uniform_size_subset(one, num_channels=5) for _ in range(draws)]
    sizes = Counter(map(len, found))
    assert set(sizes) == {1, 2, 3, 4, 5}
    assert all(near(count, draws, 1 / 5) for count in sizes.values())
    singles = [subset for subset in found if len(subset) == 1]
    assert all(near(count, len(singles), 1 / 5) for count in Counter(singles).values())
    channels = Counter(channel for subset in found for channel in subset)
    assert all(near(count, draws, 3 / 5) for count in channels.values())


def test_thirteen_channels_are_seldom_alone_and_seldom_all_there() -> None:
    one, draws = generator(), 2000
    sizes = Counter(len(uniform_subset(one, num_channels=13)) for _ in range(draws))
    assert near(sizes[6] + sizes[7], draws, 2 * 1716 / 8191)
    assert sizes[1] + sizes[13] < 20


def test_one_channel_is_always_there() -> None:
    one = generator()
    for draw in (uniform_subset, uniform_size_subset):
        assert {draw(one, num_channels=1) for _ in range(20)} == {(0,)}


def test_weights_are_the_shares_of_the_draws() -> None:
    one, draws, weights = generator(), 4000, {(0, 1): 3.0, (2,): 1.0}
    found = Counter(weighted_subset(one, weights=weights) for _ in range(draws))
    assert set(found) == set(weights)
    assert near(found[0, 1], draws, 3 / 4)


def test_weights_name_their_subsets_in_any_order() -> None:
    draw = sampler("weighted", subset_weights={"B,red": 1.0})
    assert draw(generator()) == (0, 2)
    with pytest.raises(ConfigError, match=r"train\.subset_weights names the subset B,R twice, in another order"):
        sampler("weighted", subset_weights={"R,B": 1.0, "B,R": 2.0})
    with pytest.raises(ChannelError, match="channel 'NIR' is not one of R, G, B"):
        sampler("weighted", subset_weights={"R,NIR": 1.0})


def test_without_sampling_there_is_no_sampler() -> None:
    assert make_sampler(TrainConfig(), RGB) is None


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_sandwich_is_all_then_the_smallest_then_random_ones(count: int) -> None:
    one, draw = generator(), sampler("uniform")
    found = [sandwich(draw, one, num_channels=3, count=count) for _ in range(200)]
    for subsets in found:
        assert len(subsets) == 1 + count
        assert subsets[0] == (0, 1, 2)
        assert (0, 1, 2) not in subsets[1:]
    assert {subsets[-1] for subsets in found} == {(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)}
    assert ((0, 1) in {subsets[1] for subsets in found}) is (count == 1)


@pytest.mark.parametrize(("channels", "weights"), [(anonymous(1), None), (RGB, {"R,G,B": 1.0})])
def test_a_sandwich_needs_something_to_leave_out(channels: ChannelSet, weights: dict[str, float] | None) -> None:
    name = "uniform" if weights is None else "weighted"
    with pytest.raises(ConfigError, match=r"train\.sandwich needs subsets that lack a channel, but there"):
        sampler(name, channels, subset_weights=weights, sandwich=1)


def test_a_sandwich_never_waits_for_a_rare_subset() -> None:
    draw = sampler("weighted", subset_weights={"R,G,B": 1e9, "R": 1.0, "G,B": 1.0}, sandwich=1)
    found = [sandwich(draw, generator(seed), num_channels=3, count=1) for seed in range(50)]
    assert {subsets[1] for subsets in found} == {(0,), (1, 2)}


def test_a_sandwich_has_no_more_passes_than_subsets() -> None:
    sampler("uniform", sandwich=6)  # all six
    with pytest.raises(ConfigError, match=r"train\.sandwich is 7, but only 6 subsets lack a channel"):
        sampler("uniform", sandwich=7)
