import gc
import time
from collections.abc import Callable

import pytest

from anychan.profiling.turns import progress, time_in_turns


def test_progress_gives_every_step() -> None:
    assert list(progress([3, 1, 2], "counting")) == [3, 1, 2]


def called(name: str, order: list[str]) -> dict[str, Callable[[], None]]:
    return {letter: lambda letter=letter: order.append(letter) for letter in name}  # type: ignore[misc]


def test_calls_take_turns_by_group() -> None:
    order: list[str] = []
    times = time_in_turns([called("AB", order), called("C", order)], 12)
    assert "".join(order[:2] + order[22:35]) == "AB" + 11 * "C" + "AB"
    assert "".join(order[-3:]) == 3 * "C"
    rounds = ["".join(order[at : at + 2]) for at in (*range(2, 22, 2), 35, 37)]
    assert set(rounds) == {"AB", "BA"}  # every round has each, and no order is always the first
    assert {letter: len(each) for letter, each in times.items()} == {"A": 12, "B": 12, "C": 12}


def test_times_are_milliseconds() -> None:
    times = time_in_turns([{"slow": lambda: time.sleep(0.02), "fast": lambda: None}], 5)
    assert all(20 <= each < 2000 for each in times["slow"])
    assert min(times["fast"]) < 1


def test_garbage_is_collected_again_afterwards() -> None:
    seen = []

    def fail() -> None:
        seen.append(gc.isenabled())
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        time_in_turns([{"bad": fail}], 1)
    assert (seen, gc.isenabled()) == ([False], True)
