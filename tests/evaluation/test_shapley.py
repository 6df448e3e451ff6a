from itertools import combinations, permutations
from typing import Any

import numpy as np
import pytest

from anychan.evaluation.choice import random_orders
from anychan.evaluation.shapley import channel_worth, sampled_worth, shapley_values


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


def spectral_game(images: int = 400) -> tuple[tuple[str, ...], list[tuple[str, ...]], Any, Any]:
    """All subsets of 8 channels: an image is right when the weights of what is there pass its threshold; pairs help."""
    rng = np.random.default_rng(8)
    names = tuple("abcdefgh")
    weights = np.array([0.35, 0.25, 0.15, 0.1, 0.05, 0.05, 0.03, 0.02])
    subsets = [chosen for size in range(1, 9) for chosen in combinations(names, size)]
    present = np.array([[name in subset for name in names] for subset in subsets])
    score = present @ weights + 0.2 * present[:, 2] * present[:, 5] - 0.1 * present[:, 0] * present[:, 1]
    correct = score[:, None] + 0.1 * rng.normal(size=(len(subsets), images)) > rng.random(images)
    return names, subsets, correct, rng.random(images) < 0.1


def orders_of(names: tuple[str, ...], count: int, seed: int) -> list[tuple[str, ...]]:
    return [tuple(names[i] for i in order) for order in random_orders(len(names), count, seed=seed)]


def test_sampled_values_agree_with_the_exact_ones() -> None:
    """Of 8 channels, each within 95 % of the drawn orders' error for nearly every draw; the images' error beside it."""
    names, subsets, correct, guessed = spectral_game()
    exact = channel_worth(names, subsets, correct, guessed)
    inside, over_images = [], []
    for seed in range(40):
        found = sampled_worth(names, subsets, correct, guessed, orders_of(names, 40, seed))
        assert found.order_errors is not None
        assert found.orders == 40
        assert (found.none, found.all) == (exact.none, exact.all)
        assert found.values.sum() == pytest.approx(exact.all - exact.none, abs=1e-12)
        np.testing.assert_allclose(found.whole_errors**2, found.errors**2 + found.order_errors**2)
        over_images.append(found.errors**2)
        away = np.abs(found.values - exact.values) / found.order_errors
        inside.append(away < 1.96)
    assert np.sum(inside[0]) >= 7
    assert 0.90 < np.mean(inside) < 0.99
    # the error over images is that of the exact value, whatever the number of orders
    np.testing.assert_allclose(np.sqrt(np.mean(over_images, 0)), exact.errors, rtol=0.15)


def test_sampling_error_shrinks_as_the_root_of_the_orders() -> None:
    names, subsets, correct, guessed = spectral_game()
    exact = channel_worth(names, subsets, correct, guessed).values
    told, true = {}, {}
    for count in (20, 320):
        drawn = [sampled_worth(names, subsets, correct, guessed, orders_of(names, count, seed)) for seed in range(6)]
        told[count] = np.mean([found.order_errors for found in drawn])
        true[count] = np.sqrt(np.mean([(found.values - exact) ** 2 for found in drawn]))
    assert told[20] / told[320] == pytest.approx(4, rel=0.15)
    assert true[20] / true[320] == pytest.approx(4, rel=0.5)


def test_all_orders_give_the_exact_values() -> None:
    names, subsets, correct, guessed = spectral_game(50)
    names3, few = names[:3], [subset for subset in subsets if set(subset) <= set(names[:3])]
    rows = correct[[subsets.index(subset) for subset in few]]
    exact = channel_worth(names3, few, rows, guessed)
    found = sampled_worth(names3, few, rows, guessed, list(permutations(names3)))
    np.testing.assert_allclose(found.values, exact.values, atol=1e-12)
    plain = found.to_dict()
    assert plain["orders"] == 6
    assert [row["order_standard_error"] for row in plain["channels"]] == found.order_errors.tolist()  # type: ignore[union-attr]
    assert exact.to_dict()["orders"] is exact.to_dict()["channels"][0]["order_standard_error"] is None


def test_hundreds_of_channels_are_sampled_in_no_time() -> None:
    names = tuple(f"b{number}" for number in range(369))
    orders = orders_of(names, 3, 0)
    place = {name: number for number, name in enumerate(names)}
    subsets = [tuple(sorted(order[:size], key=place.__getitem__)) for order in orders for size in range(1, 370)]
    correct = np.array([[len(subset) > 30 * image for image in range(12)] for subset in subsets])
    found = sampled_worth(names, subsets, correct, np.zeros(12, np.bool_), orders)
    assert found.values.sum() == pytest.approx(found.all)


def test_errors_are_those_of_two_crossed_factors() -> None:
    """Against variances of an explicit table of gains, (orders, images) for each channel."""
    rng = np.random.default_rng(3)
    names, subsets, correct = ("a", "b"), [("a",), ("b",), ("a", "b")], rng.random((3, 30)) < 0.6
    guessed = rng.random(30) < 0.3
    orders = [("a", "b"), ("b", "a"), ("b", "a"), ("a", "b"), ("a", "b")]
    found = sampled_worth(names, subsets, correct, guessed, orders)
    right = {frozenset(subset): row.astype(int) for subset, row in zip(subsets, correct, strict=True)}
    both, alone = right[frozenset("ab")], {name: right[frozenset(name)] for name in "ab"}
    gains = np.array([alone["a"] - guessed if order[0] == "a" else both - alone["b"] for order in orders])
    left = gains - gains.mean(0) - gains.mean(1, keepdims=True) + gains.mean()
    interaction = (left**2).sum() / (4 * 29)
    assert found["a"] == pytest.approx(gains.mean())
    assert found.order_errors is not None
    assert found.order_errors[0] == pytest.approx(gains.mean(1).std(ddof=1) / 5**0.5)
    assert found.errors[0] ** 2 == pytest.approx((gains.mean(0).var(ddof=1) - interaction / 5) / 30)
