import math
from collections import Counter
from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anychan.training.sampling import SAMPLERS, uniform_size_subset, uniform_subset


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def near(count: int, draws: int, share: float) -> bool:
    """Within five standard deviations of the binomial distribution."""
    return abs(count - draws * share) <= 5 * math.sqrt(draws * share * (1 - share))


@pytest.mark.parametrize("name", SAMPLERS)
@given(st.integers(1, 13), st.integers(0, 10_000))
def test_a_subset_is_sorted_positions_and_never_empty(name: str, num_channels: int, seed: int) -> None:
    subset = SAMPLERS[name](num_channels, generator(seed))
    assert subset
    assert list(subset) == sorted(set(subset))
    assert set(subset) <= set(range(num_channels))
    assert SAMPLERS[name](num_channels, generator(seed)) == subset


def test_every_subset_is_as_likely_as_the_next() -> None:
    one, draws = generator(), 7000
    found = Counter(uniform_subset(3, one) for _ in range(draws))
    assert set(found) == {chosen for size in (1, 2, 3) for chosen in combinations(range(3), size)}
    assert all(near(count, draws, 1 / 7) for count in found.values())


def test_every_size_is_as_likely_as_the_next() -> None:
    one, draws = generator(), 6000
    found = [uniform_size_subset(5, one) for _ in range(draws)]
    sizes = Counter(map(len, found))
    assert set(sizes) == {1, 2, 3, 4, 5}
    assert all(near(count, draws, 1 / 5) for count in sizes.values())
    singles = [subset for subset in found if len(subset) == 1]
    assert all(near(count, len(singles), 1 / 5) for count in Counter(singles).values())
    channels = Counter(channel for subset in found for channel in subset)
    assert all(near(count, draws, 3 / 5) for count in channels.values())


def test_thirteen_channels_are_seldom_alone_and_seldom_all_there() -> None:
    one, draws = generator(), 2000
    sizes = Counter(len(uniform_subset(13, one)) for _ in range(draws))
    assert near(sizes[6] + sizes[7], draws, 2 * 1716 / 8191)
    assert sizes[1] + sizes[13] < 20


def test_one_channel_is_always_there() -> None:
    one = generator()
    assert {uniform_subset(1, one) for _ in range(20)} == {uniform_size_subset(1, one) for _ in range(20)} == {(0,)}
