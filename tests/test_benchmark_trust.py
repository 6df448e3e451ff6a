"""The benchmark of faults survived, at a few points; the fuzzing of readers: it runs, and finds a planted bug."""

from collections import Counter
from pathlib import Path

import pytest
import trust
import trust_fuzz
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


def test_one_failure_of_fuzzing_breaks_the_promise() -> None:
    rows = [
        {"kind": "fuzz", "executions": 600_000, "failures": 0},
        {"kind": "fuzz", "executions": 500_000, "failures": 1},
    ]
    found = {claim["id"]: (claim["value"], claim["holds"]) for claim in trust.claims(rows)}
    assert found == {"fuzz_executions": (1_100_000, True), "fuzz_failures": (1, False)}


@pytest.mark.parametrize("target", trust_fuzz.NAMES)
def test_readers_refuse_changed_files(target: str, tmp_path: Path) -> None:
    row = trust_fuzz.fuzz(target, 300, seed=2, failed=tmp_path)
    assert row.get("failure") is None
    assert (row["executions"], row["failures"]) == (300, 0)
    assert row["edges"] > 10
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "target",
    [pytest.param(name, marks=[] if name == "index" else [pytest.mark.slow]) for name in trust_fuzz.NAMES],
)
def test_a_planted_bug_is_found(target: str, tmp_path: Path) -> None:
    row = trust_fuzz.fuzz(target, 100_000, seed=1, plant=True, failed=tmp_path)
    assert (row["failures"], row.get("failure")) == (1, "RuntimeError: the planted bug"), row
