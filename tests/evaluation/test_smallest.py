import re
from itertools import combinations

import pytest
import torch

from anychan.errors import ConfigError
from anychan.evaluation.paired import paired_difference
from anychan.evaluation.smallest import check_costs, find_smallest_sensor
from anychan.evaluation.subsets import SubsetReport, SubsetRow

SUBSETS = [chosen for size in (3, 2, 1) for chosen in combinations("RGB", size)]


def report(right: dict[str, int], n: int = 100) -> SubsetReport:
    """So many of n images right on each subset; those that are not named get none right."""
    rows = [SubsetRow(subset, torch.arange(n) < right.get("".join(subset), 0)) for subset in SUBSETS]
    return SubsetReport(tuple(rows), 7, "shared")


VALIDATION = report({"RGB": 80, "RG": 79, "RB": 78, "GB": 90, "R": 50, "G": 60, "B": 77})
TEST = report({"RGB": 70, "RG": 69, "RB": 68, "GB": 65, "R": 50, "G": 60, "B": 72}, n=90)


def test_cheapest_within_the_loss_is_chosen_on_validation_and_told_on_test() -> None:
    found = TEST.smallest_sensor(VALIDATION, within=0.03)
    assert found.channels == ("B",)
    assert (found.cost, found.cost_of_all) == (1, 3)
    assert (found.validation.accuracy, found.validation_all.accuracy) == (0.77, 0.8)
    assert found.test is TEST.row("B")
    assert found.difference == paired_difference(TEST.row("B").correct, TEST.row("RGB").correct)
    assert found.difference["difference"] == pytest.approx(2 / 90)


def test_of_equal_costs_the_better_wins() -> None:
    assert find_smallest_sensor(VALIDATION, TEST, within=0.02).channels == ("G", "B")
    tied = report({"RGB": 80, "RG": 79, "RB": 79})
    assert find_smallest_sensor(tied, TEST, within=0.02).channels == ("R", "G")  # the model's order


def test_costs_may_differ() -> None:
    costs = {"R": 1, "G": 1, "B": 10}
    found = find_smallest_sensor(VALIDATION, TEST, within=0.03, costs=costs)
    assert (found.channels, found.cost, found.cost_of_all) == (("R", "G"), 2, 12)
    free = find_smallest_sensor(VALIDATION, TEST, within=1, costs={"R": 0, "G": 0.1, "B": 0.2})
    assert (free.channels, free.cost) == (("R",), 0)


def test_no_loss_may_need_all() -> None:
    alone = report({"RGB": 80, "RG": 79})
    found = find_smallest_sensor(alone, TEST, within=0)
    assert found.channels == ("R", "G", "B")
    assert (found.difference["difference"], found.difference["p_value"]) == (0, 1)


def test_the_edge_is_inside() -> None:
    """0.58 - 0.02 is not quite 0.56 in floating point."""
    edge = report({"RGB": 58, "R": 56, "G": 55})
    assert find_smallest_sensor(edge, TEST, within=0.02).channels == ("R",)


def test_front_grows_with_the_cost() -> None:
    found = find_smallest_sensor(VALIDATION, TEST, costs={"R": 1, "G": 2, "B": 4})
    # R 50, G 60, R+G 79, then B 77 for 4 and R+B 78 for 5 are no better, G+B 90 for 6, and all 80 for 7 are not
    assert [(cost, row.channels) for cost, row, _ in found.front] == [
        (1, ("R",)),
        (2, ("G",)),
        (3, ("R", "G")),
        (6, ("G", "B")),
    ]
    for _, validation, test in found.front:
        assert validation is VALIDATION.row(test.channels)
        assert test is TEST.row(validation.channels)


def test_plain_values() -> None:
    found = find_smallest_sensor(VALIDATION, TEST, within=0.03).to_dict()
    low, high = TEST.row("B").interval
    assert {
        key: found[key] for key in ("channels", "cost", "cost_of_all", "within", "accuracy", "low", "high", "n")
    } == {
        "channels": ["B"],
        "cost": 1,
        "cost_of_all": 3,
        "within": 0.03,
        "accuracy": 0.8,
        "low": low,
        "high": high,
        "n": 90,
    }
    assert (found["validation_accuracy"], found["validation_n"], found["validation_accuracy_of_all"]) == (
        0.77,
        100,
        0.8,
    )
    assert [point["channels"] for point in found["front"]] == [["B"], ["G", "B"]]
    assert set(found["difference_to_all"]) == {"difference", "low", "high", "p_value"}


@pytest.mark.parametrize(
    ("costs", "message"),
    [
        ({"R": 1, "NIR": 1}, "costs: 'NIR' is not one of the model's channels R, G, B"),
        ({"R": 1, "G": -1, "B": 1}, "costs: the cost of G is -1, but it must be a number of 0 or more"),
        ({"R": float("nan"), "G": 1, "B": 1}, "costs: the cost of R is nan, but it must be a number of 0 or more"),
        ({"R": 1}, "costs: G, B have no cost; give one for each channel, 0 if it is free"),
    ],
)
def test_costs_that_do_not_fit_are_refused(costs: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        check_costs(costs, ("R", "G", "B"))


def test_costs_are_one_each_by_default() -> None:
    assert check_costs(None, ("R", "G")) == {"R": 1, "G": 1}


def test_other_losses_and_reports_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"within is 2, but it must be between 0 and 1: 0\.02 is two points"):
        find_smallest_sensor(VALIDATION, TEST, within=2)
    part = SubsetReport(TEST.rows[1:], 7, "shared")
    with pytest.raises(ConfigError, match="the full set of channels was not evaluated, so there is nothing to compare"):
        find_smallest_sensor(part, part)
    fewer = SubsetReport(TEST.rows[:3], 7, "shared")
    with pytest.raises(ConfigError, match="the validation report and the test report are not of the same subsets"):
        find_smallest_sensor(fewer, TEST)
