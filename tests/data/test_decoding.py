import os
import time

import numpy as np
import numpy.typing as npt
import pytest

from anychan.data.decoding import decoding_threads, in_order


def test_large_images_are_decoded_by_fewer_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 48)
    assert [decoding_threads(n * 2**20) for n in (1, 2, 16, 64, 1000)] == [48, 32, 4, 1, 1]
    assert [decoding_threads(n * 2**20, 3) for n in (1, 16, 64)] == [3, 3, 1]


def test_decoding_runs_a_few_images_ahead() -> None:
    begun: list[int] = []

    def decode(position: int) -> npt.NDArray[np.int64]:
        begun.append(position)
        return np.full((2, 2, 1), position)

    found = in_order(decode, 50, threads=3)
    assert [int(next(found)[0, 0, 0]) for _ in range(10)] == list(range(10))
    found.close()
    assert max(begun) < 10 + 2 * 3
    assert [int(image[0, 0, 0]) for image in in_order(decode, 2, threads=3)] == [0, 1]


def test_more_images_ahead_where_they_are_small() -> None:
    begun: list[int] = []
    found = in_order(begun.append, 50, threads=3, ahead=20)
    for _ in range(5):
        next(found)
    deadline = time.monotonic() + 60
    while len(begun) < 5 + 20 and time.monotonic() < deadline:
        time.sleep(0.01)
    found.close()
    assert sorted(begun) == list(range(5 + 20))


def test_an_error_comes_in_its_turn() -> None:
    def decode(position: int) -> float:
        return 1 / (3 - position)

    found = in_order(decode, 50, threads=3)
    assert [next(found) for _ in range(3)] == [1 / 3, 1 / 2, 1]
    with pytest.raises(ZeroDivisionError):
        next(found)
