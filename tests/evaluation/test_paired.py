from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anychan.evaluation.paired import holm, mcnemar, paired_difference, right_only_first


def brute_force(lost: int, won: int) -> tuple[Fraction, Fraction]:
    """Two-sided and one-sided p-value by writing down every way in which the discordant images can fall."""
    ways = list(product((0, 1), repeat=lost + won))  # 1: lost
    one_sided = sum(sum(way) >= lost for way in ways)
    as_extreme = sum(max(sum(way), len(way) - sum(way)) >= max(lost, won) for way in ways)
    return Fraction(as_extreme, len(ways)), Fraction(one_sided, len(ways))


def test_p_values_are_those_of_all_outcomes_counted() -> None:
    pairs = [(lost, won) for lost in range(8) for won in range(8 - lost)]
    lost, won = np.array(pairs).T
    expected = [brute_force(*pair) for pair in pairs]
    np.testing.assert_allclose(mcnemar(lost, won), [float(two) for two, _ in expected], rtol=1e-15)
    np.testing.assert_allclose(mcnemar(lost, won, two_sided=False), [float(one) for _, one in expected], rtol=1e-15)


def test_large_counts_lose_no_digits() -> None:
    assert mcnemar([200], [0]).tolist() == [2.0**-199]
    assert mcnemar([5000], [0], two_sided=False).tolist() == [0.0]  # below the smallest double, and no error
    # 3,000 discordant images, 1,600 lost: the sum of the tail as a fraction of whole numbers
    ways, total = 1, 0
    for k in range(3001):
        total += ways if k >= 1600 else 0
        ways = ways * (3000 - k) // (k + 1)
    assert mcnemar([1600], [1400], two_sided=False)[0] == total / 2**3000


def test_no_discordant_image_says_nothing() -> None:
    assert mcnemar([0, 3], [0, 3]).tolist() == [1.0, 1.0]
    assert mcnemar([0], [0], two_sided=False).tolist() == [1.0]
    assert mcnemar([], []).tolist() == []


@given(st.integers(0, 60), st.integers(0, 60))
def test_sides_belong_together(lost: int, won: int) -> None:
    two = float(mcnemar([lost], [won])[0])
    worse, better = (float(mcnemar(*pair, two_sided=False)[0]) for pair in (([lost], [won]), ([won], [lost])))
    assert two == min(1.0, 2 * min(worse, better))
    assert two == float(mcnemar([won], [lost])[0])


def test_images_are_counted_in_packed_bits() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 2, (2, 5, 13)).astype(bool)  # 13 images: the last byte is not full
    found = right_only_first(np.packbits(first, axis=1), np.packbits(second, axis=1))
    assert found.tolist() == [int((a & ~b).sum()) for a, b in zip(first, second, strict=True)]


def slow_holm(p_values: list[float]) -> list[float]:
    """By its definition: step down through the sorted values."""
    found, highest = [0.0] * len(p_values), 0.0
    for step, position in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, p_values[position] * (len(p_values) - step)))
        found[position] = highest
    return found


@given(st.lists(st.floats(0, 1), max_size=20))
def test_holm_steps_down(p_values: list[float]) -> None:
    assert holm(p_values).tolist() == slow_holm(p_values)


def test_holm_by_hand() -> None:
    # × 4, × 3, × 2, × 1, and none below the one before it
    assert holm([0.005, 0.04, 0.03, 0.01]).tolist() == pytest.approx([0.02, 0.06, 0.06, 0.03])


def outcomes(both: int, ours: int, theirs: int, none: int) -> tuple[torch.Tensor, torch.Tensor]:
    rows = [(1, 1)] * both + [(1, 0)] * ours + [(0, 1)] * theirs + [(0, 0)] * none
    first, second = torch.tensor(rows, dtype=torch.bool).T
    return first, second


def test_difference_by_hand() -> None:
    found = paired_difference(*outcomes(40, 8, 1, 11))
    half = 1.959963984540054 * (8.5 + 1.5 - 7**2 / 62) ** 0.5 / 62
    assert found["difference"] == pytest.approx(7 / 60)
    assert (found["low"], found["high"]) == pytest.approx((7 / 62 - half, 7 / 62 + half))
    assert found["p_value"] == pytest.approx(0.0390625)


def test_equal_classifiers_differ_by_nothing_certain() -> None:
    found = paired_difference(*outcomes(30, 0, 0, 10))
    assert (found["difference"], found["p_value"]) == (0, 1)
    assert found["low"] == -found["high"] < 0


def test_the_difference_covers_the_truth_as_often_as_promised() -> None:
    """2,000 tests of 100 images, ours right on 70 %, theirs on 60 %, half of the images shared."""
    generator, inside = torch.Generator().manual_seed(1), 0
    for _ in range(2000):
        shared, mine, other = (torch.rand(100, generator=generator) for _ in range(3))
        common = torch.rand(100, generator=generator) < 0.5
        found = paired_difference(torch.where(common, shared, mine) < 0.7, torch.where(common, shared, other) < 0.6)
        inside += found["low"] <= 0.1 <= found["high"]
    assert 0.935 <= inside / 2000 <= 0.97
