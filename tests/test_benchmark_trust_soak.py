"""The soak of the page's HTTP interface, short and whole."""

import sys

import pytest
import trust_soak

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")


def test_each_kind_of_bad_request_is_refused_and_good_ones_are_answered() -> None:
    kinds = len(trust_soak.BAD)
    found = trust_soak.soak(2 * kinds - 10, warm_up=10)
    assert (found["lost"], found["let_in"], found["wrong"]) == (0, 0, [])
    assert (found["good"], found["bad"]) == (kinds, kinds)


@pytest.mark.slow
def test_the_whole_soak() -> None:
    row = trust_soak.soak(1000)
    assert [entry for entry in trust_soak.soak_claims([row]) if not entry["holds"]] == [], row


def test_claims_by_hand() -> None:
    row = {"kind": "soak", "good": 5, "bad": 5, "lost": 0, "let_in": 0, "before_mib": 200.0, "after_mib": 209.0}
    bad = {**row, "lost": 1, "let_in": 2, "after_mib": 212.0}
    assert [entry["holds"] for entry in trust_soak.soak_claims([row, {"kind": "other"}])] == [True, True]
    assert [(entry["value"], entry["holds"]) for entry in trust_soak.soak_claims([row, bad])] == [
        (3, False),
        (1.06, False),
    ]
    assert trust_soak.soak_claims([]) == []
