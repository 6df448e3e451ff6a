from itertools import combinations

import numpy as np
import pytest

from anychan.evaluation.paired import holm
from anychan.evaluation.violations import find_violations
from tests.evaluation.test_paired import brute_force

ALL = [chosen for size in (1, 2, 3) for chosen in combinations("RGB", size)]


def test_every_pair_one_channel_apart_is_tested() -> None:
    correct = np.zeros((7, 10), bool)
    assert find_violations(ALL, correct).pairs == 3 * 2 + 3  # without the empty set
    assert find_violations(ALL[::-1], correct).pairs == 9
    assert find_violations([("R",), ("R", "G", "B")], correct[:2]).pairs == 0
    assert find_violations([("R",)], correct[:1]).to_dict() == {"pairs": 0, "family_level": 0.05, "found": []}


def test_thirteen_channels_have_53_235_pairs() -> None:
    names = [f"c{i}" for i in range(13)]
    subsets = [chosen for size in range(1, 14) for chosen in combinations(names, size)]
    correct = np.random.default_rng(0).random((len(subsets), 60)) < 0.5
    found = find_violations(subsets, correct)
    assert found.pairs == 13 * 2**12 - 13


def test_the_harmful_channel_is_found() -> None:
    """B spoils whatever it joins; the other channels help."""
    rng = np.random.default_rng(1)
    base, correct = rng.random(200), []
    for subset in ALL:
        share = 0.5 + 0.1 * len(subset) - (0.5 if "B" in subset and len(subset) > 1 else 0)
        correct.append(base < share)
    found = find_violations(ALL, np.array(correct))
    assert {(one.channels, one.added) for one in found.found} == {
        (("R", "B"), "B"),
        (("G", "B"), "B"),
        (("R", "G", "B"), "B"),
        (("R", "B"), "R"),  # B alone is good
        (("G", "B"), "G"),
    }
    assert [one.p_value for one in found.found] == sorted(one.p_value for one in found.found)


def test_counts_and_p_values_equal_the_slow_way() -> None:
    rng = np.random.default_rng(2)
    correct = rng.random((7, 14)) < np.linspace(1.0, 0.0, 7)[:, None]
    row = {frozenset(subset): right for subset, right in zip(ALL, correct, strict=True)}
    slow = {}
    for subset in ALL:
        for name in subset:
            smaller = row.get(frozenset(subset) - {name})
            if smaller is not None:
                larger = row[frozenset(subset)]
                lost, won = int((smaller & ~larger).sum()), int((larger & ~smaller).sum())
                slow[subset, name] = (lost, won, float(brute_force(lost, won)[1]))
    corrected = dict(zip(slow, holm([p for *_, p in slow.values()]).tolist(), strict=True))
    found = find_violations(ALL, correct)
    assert found.pairs == len(slow)
    assert {(one.channels, one.added) for one in found.found} == {key for key, p in corrected.items() if p <= 0.05}
    assert len(found.found) > 1
    for one in found.found:
        key = (one.channels, one.added)
        assert (one.lost, one.won, one.p_value) == slow[key]
        assert one.p_corrected == pytest.approx(corrected[key])
        assert one.accuracy == row[frozenset(one.channels)].mean()
        assert one.accuracy_without == row[frozenset(one.channels) - {one.added}].mean()


def test_nothing_is_found_where_nothing_is() -> None:
    """Right by chance alone: 5 % of such families may hold a finding, and these 40 hold few."""
    rng = np.random.default_rng(3)
    found = [len(find_violations(ALL, rng.random((7, 100)) < 0.5).found) > 0 for _ in range(40)]
    assert sum(found) <= 5
