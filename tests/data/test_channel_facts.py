import math

import numpy as np
import pytest

from anychan.data import channel_facts
from anychan.data.channel_facts import ChannelCounter, ChannelFacts, find_flags
from anychan.encoding import Encoding
from tests.runs import Array


def facts(*planes: Array, no_data: float | None = None) -> ChannelFacts:
    counter = ChannelCounter(planes[0].dtype, Encoding(no_data=no_data))
    for plane in planes:
        counter.add(plane)
    return counter.result()


def flags(*channels: ChannelFacts) -> list[tuple[str, ...]]:
    return find_flags(list(channels), list("abcdefgh"[: len(channels)]))


def noise(dtype: str, low: int = 1000, high: int = 9000, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(low, high, (40, 50)).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_facts_are_those_of_numpy(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_facts, "_PIECE", 333)
    planes = [noise(dtype), noise(dtype, seed=1)[:30], noise(dtype, seed=2)[:30]]
    planes[1][3] = 0
    values = np.concatenate([plane[plane != 0] for plane in planes]).astype(float)
    found = facts(*planes, no_data=0)
    assert found.sizes == ((30, 50), (40, 50))
    assert (found.minimum, found.maximum) == (values.min(), values.max())
    np.testing.assert_allclose([found.mean, found.std], [values.mean(), values.std()])
    expected = np.percentile(values, (0.1, 99.9), method="inverted_cdf")
    np.testing.assert_allclose([found.low, found.high], expected, rtol=0 if dtype == "uint16" else 0.01)
    assert found.no_data == 50 / 5000
    assert (found.not_finite, found.saturated) == (0, 0)


def test_shares() -> None:
    plane = noise("float32")
    plane[0, :3], plane[1, :7] = np.nan, np.inf
    assert facts(plane).not_finite == 10 / 2000
    assert (facts(plane, no_data=math.nan).no_data, facts(plane, no_data=math.nan).not_finite) == (3 / 2000, 7 / 2000)
    bright = noise("uint8", 0, 250)
    bright[:4] = 255
    assert facts(bright).saturated == 0.1


def test_what_is_wrong_is_flagged() -> None:
    good, half = noise("uint16"), noise("uint16")
    half[:25] = 7
    bright = noise("uint16")
    bright[0] = 65535
    constant, dead = np.full_like(good, 3), np.zeros_like(good)
    found = flags(
        facts(good),
        facts(good.copy()),
        facts(dead),
        facts(constant),
        facts(half, no_data=7),
        facts(constant, no_data=3),
        facts(bright),
        facts(dead),
    )
    assert found == [
        (),
        ("duplicate of a",),
        ("dead",),
        ("constant",),
        ("mostly no data",),
        ("dead", "no data anywhere"),
        ("saturated",),
        ("dead",),
    ]
    holes = noise("float32")
    holes[0, 0] = np.nan
    assert flags(facts(holes)) == [("NaN or infinity",)]


def test_equal_planes_in_another_order_are_no_duplicate() -> None:
    one, two = noise("uint16"), noise("uint16", seed=1)
    assert flags(facts(one, two), facts(two, one)) == [(), ()]


@pytest.mark.parametrize("factor", [1, 256, 257])
def test_eight_bits_in_sixteen(factor: int) -> None:
    small = noise("uint16", 0, 256) * np.uint16(factor)
    deep = noise("uint16")
    assert flags(facts(small), facts(small.T.copy())) == [("8-bit values in 16-bit",)] * 2
    assert flags(facts(small), facts(deep)) == [(), ()]  # one dark band is no sign
    assert flags(facts(small), facts(np.zeros_like(small))) == [("8-bit values in 16-bit",), ("dead",)]


def test_facts_are_plain_values() -> None:
    found = facts(np.zeros((2, 3), np.uint16), no_data=0).to_dict()
    assert found["sizes"] == [[2, 3]]
    assert found["mean"] is found["minimum"] is None
    assert found["no_data"] == 1
