import numpy as np
import pytest

from anychan.evaluation.shapley import ChannelWorth
from anychan.report.page.chart import Absent
from anychan.report.page.worth import Worth, read_worth


def read(worth: ChannelWorth | None) -> Worth | Absent:
    return read_worth({"shapley": None if worth is None else worth.to_dict()}, "anychan evaluate run")


def test_bars_are_ranked_and_hold_their_intervals() -> None:
    found = read(ChannelWorth(("a", "b", "c"), np.array([0.1, -0.05, 0.2]), np.array([0.01, 0.01, 0.02]), 0.25, 0.5))
    assert isinstance(found, Worth)
    assert list(found.bars) == ["c", "a", "b"]
    assert found.bars["c"].text == "+20.0 (+16.1 to +23.9)"
    assert found.bars["b"].negative
    assert found.bars["b"].start + found.bars["b"].length == pytest.approx(found.zero, abs=0.01)
    assert (found.bars["b"].low, found.bars["c"].high) == (0, 100)  # the scale's ends
    assert {text: place for place, text in found.ticks}["0"] == found.zero
    assert found.notes == (
        "The values sum up from 25.0 % by guessing the commonest class to 50.0 % with all channels.",
    )


def test_random_orders_widen_the_intervals() -> None:
    errors = np.array([0.03, 0.0])
    found = read(ChannelWorth(("a", "b"), np.array([0.1, 0.2]), errors, 0.1, 0.4, np.array([0.04, 0.0]), 50))
    assert isinstance(found, Worth)
    assert found.bars["a"].text == "+10.0 (+0.2 to +19.8)"  # 1.96 · 5 points
    assert "Estimated from 50 random orders" in found.notes[1]


def test_many_channels_are_cut_off() -> None:
    values = np.linspace(0.1, 0, 50)
    found = read(ChannelWorth(tuple(f"c{n}" for n in range(50)), values, values * 0, 0.1, 0.9))
    assert isinstance(found, Worth)
    assert len(found.bars) == 40
    assert found.notes[-1] == "10 more channels bring +1.8 to +0.0 points each."


def test_channels_worth_nothing_have_a_scale_all_the_same() -> None:
    found = read(ChannelWorth(("a", "b"), np.zeros(2), np.zeros(2), 0.5, 0.5))
    assert isinstance(found, Worth)
    assert [bar.length for bar in found.bars.values()] == [0, 0]


def test_without_values_the_command_is_told() -> None:
    found = read(None)
    assert isinstance(found, Absent)
    assert found.command == "anychan evaluate run --shapley 50"
