from itertools import combinations, permutations

import numpy as np
import pytest

from anychan.evaluation.shapley import channel_worth, shapley_values


def over_all_orders(values: list[float], count: int) -> list[float]:
    """Each player's mean gain over all C! orders of coming in."""
    total, orders = [0.0] * count, list(permutations(range(count)))
    for order in orders:
        inside = 0
        for player in order:
            total[player] += values[inside | 1 << player] - values[inside]
            inside |= 1 << player
    return [value / len(orders) for value in total]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_equals_the_mean_over_all_orders(count: int) -> None:
    values = np.random.default_rng(count).random(2**count)
    found = shapley_values(values)
    np.testing.assert_allclose(found, over_all_orders(values.tolist(), count), rtol=0, atol=1e-12)
    assert found.sum() == pytest.approx(values[-1] - values[0], abs=1e-12)


def test_many_values_at_once_are_each_their_own() -> None:
    values = np.random.default_rng(0).random((8, 7))
    found = shapley_values(values)
    assert found.shape == (3, 7)
    for column in range(7):
        np.testing.assert_allclose(found[:, column], shapley_values(values[:, column]), atol=1e-15)


def test_thirteen_channels_sum_up() -> None:
    values = np.random.default_rng(0).random(2**13)
    found = shapley_values(values)
    assert found.sum() == pytest.approx(values[-1] - values[0], abs=1e-12)
    assert len(set(found.tolist())) == 13


def named_subsets() -> list[tuple[str, ...]]:
    return [chosen for size in (3, 1, 2) for chosen in combinations("RGB", size)]


def test_channels_are_worth_what_their_subsets_gain() -> None:
    rng = np.random.default_rng(4)
    subsets, guessed = named_subsets(), rng.random(300) < 0.1
    correct = rng.random((7, 300)) < 0.6
    found = channel_worth(("R", "G", "B"), subsets, correct, guessed)
    values = [0.0] * 8
    values[0] = float(guessed.mean())
    for subset, row in zip(subsets, correct, strict=True):
        values[sum(1 << "RGB".index(name) for name in subset)] = float(row.mean())
    np.testing.assert_allclose(found.values, over_all_orders(values, 3), rtol=0, atol=1e-12)
    assert found["G"] == found.values[1]
    assert (found.none, found.all) == (values[0], values[7])
    assert found.values.sum() == pytest.approx(found.all - found.none, abs=1e-12)


def test_errors_are_those_of_a_mean_over_images() -> None:
    """300 images cross the block size of 256; the slow way takes them one by one."""
    rng = np.random.default_rng(5)
    subsets, guessed, correct = named_subsets(), rng.random(300) < 0.3, rng.random((7, 300)) < 0.5
    found = channel_worth(("R", "G", "B"), subsets, correct, guessed)
    each = []
    for image in range(300):
        values = [float(guessed[image])] + [0.0] * 7
        for subset, row in zip(subsets, correct, strict=True):
            values[sum(1 << "RGB".index(name) for name in subset)] = float(row[image])
        each.append(over_all_orders(values, 3))
    np.testing.assert_allclose(found.errors, np.std(each, axis=0, ddof=1) / 300**0.5, rtol=1e-12)


def test_plain_values() -> None:
    correct, guessed = np.array([[True, True], [True, False], [False, True]]), np.array([False, False])
    found = channel_worth(("a", "b"), [("a", "b"), ("a",), ("b",)], correct, guessed).to_dict()
    assert (found["none"], found["all"]) == (0, 1)
    assert [row["channel"] for row in found["channels"]] == ["a", "b"]
    assert [row["value"] for row in found["channels"]] == [0.5, 0.5]
    # image by image: a is worth 1 and 0
    assert found["channels"][0]["standard_error"] == pytest.approx(0.5**0.5 / 2**0.5)


def test_one_image_has_no_spread() -> None:
    found = channel_worth(("a",), [("a",)], np.array([[True]]), np.array([False]))
    assert found.errors.tolist() == [0.0]
