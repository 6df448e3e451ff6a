"""The benchmark of faults survived, at a few points."""

from collections import Counter

import trust
import trust_resume


def test_runs_that_are_killed_end_with_the_same_bits() -> None:
    rows = list(trust.resumes(5))
    assert Counter(row["recipe"] for row in rows) == dict(zip(trust_resume.RECIPES, (2, 2, 1), strict=True))
    assert all(row["exact"] for row in rows)


def test_one_inexact_run_breaks_the_promise() -> None:
    rows = [{"kind": "resume", "exact": True}] * 100
    assert all(claim["holds"] for claim in trust.claims(rows))
    assert [claim["holds"] for claim in trust.claims([*rows, {"kind": "resume", "exact": False}])] == [True, False]
    assert [claim["holds"] for claim in trust.claims(rows[1:])] == [False, True]
    assert trust.claims([]) == []
