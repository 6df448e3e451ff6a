"""The benchmark of faults survived, at a few points; the fuzzing of readers: it runs, and finds a planted bug."""

import dataclasses
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import trust
import trust_corrupt
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


@pytest.mark.parametrize("kind", trust_corrupt.KINDS)
def test_corrupted_files_are_refused_or_give_what_they_must(kind: str, empty_cache: Path, tmp_path: Path) -> None:
    row = trust_corrupt.measure(kind, 70, tmp_path, seed=5)
    assert row.get("failure") is None
    assert (row["files"], row["failures"]) == (70, 0)
    assert row["refused"] + row["unchanged"] + row["changed"] == 70


def test_changes_walk_through_the_whole_file() -> None:
    whole = random.Random(0).randbytes(700)
    changed = list(trust_corrupt.corrupted(whole, 70))
    first = [
        next((at for at, (a, b) in enumerate(zip(data, whole, strict=False)) if a != b), len(data)) for data in changed
    ]
    assert all(10 * number <= at < 10 * number + 20 for number, at in enumerate(first))
    assert all(data != bytes(700) for data in trust_corrupt.corrupted(bytes(700), 70))  # zeros in place of zeros, too


def test_wrong_result_of_a_corrupted_file_is_a_failure(
    tmp_path: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unchecked = dataclasses.replace(trust_corrupt.KINDS["npy"], declared=None)
    monkeypatch.setitem(trust_corrupt.KINDS, "npy", unchecked)
    row = trust_corrupt.measure("npy", 20, tmp_path)
    assert row["failures"] > 5
    assert row["failure"].endswith("another result, although there is a checksum")
    assert [claim["holds"] for claim in trust.claims([row])] == [False, False]


def test_processes_of_corrupted_files() -> None:
    (row,) = trust.corrupted(7, ["checkpoint"])
    assert (row["refused"], row["failures"]) == (7, 0)
    (row,) = trust.corrupted(7, ["no such kind"])
    assert (row["failures"], row["failure"]) == (1, "the process ended with code 1")


def test_one_failure_of_fuzzing_breaks_the_promise() -> None:
    rows = [
        {"kind": "fuzz", "executions": 600_000, "failures": 0},
        {"kind": "fuzz", "executions": 500_000, "failures": 1},
    ]
    found = {claim["id"]: (claim["value"], claim["holds"]) for claim in trust.claims(rows)}
    assert found == {
        "fuzz_executions": (1_100_000, True),
        "fuzz_fewest_executions": (500_000, True),
        "fuzz_failures": (1, False),
    }


def test_memory_of_the_process_that_fuzzes_counts_alone(tmp_path: Path) -> None:
    large = np.ones(1200 * 2**20, np.uint8)  # more than a reader may take
    row = trust_fuzz.fuzz("model", 1000, seed=2, failed=tmp_path)
    assert row.get("failure") is None
    assert large.all()


def test_few_executions_or_files_of_one_kind_break_the_promise() -> None:
    rows = [{"kind": "fuzz", "executions": count, "failures": 0} for count in (10**6, 49_999)]
    rows += [{"kind": "corrupt", "files": count, "failures": 0} for count in (500, 499)]
    assert {claim["id"] for claim in trust.claims(rows) if not claim["holds"]} == {
        "fuzz_fewest_executions",
        "corrupt_fewest_files",
    }


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
