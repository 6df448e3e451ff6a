"""The committed result files, and the benchmarks that write them."""

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import loop
import pytest
import results_file
import tables
import torch

RESULTS = sorted(results_file.RESULTS.glob("*.json"))
KEYS = {"benchmark", "scale", "command", "commit", "date", "versions", "hardware", "seeds", "rows", "claims"}


def test_there_are_results() -> None:
    assert {path.name for path in RESULTS} >= {"first_light-cpu.json", "loop-cpu.json"}


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.name)
def test_claims_follow_from_the_rows(path: Path) -> None:
    found: dict[str, Any] = json.loads(path.read_text())
    assert set(found) == KEYS
    assert path.name == f"{found['benchmark']}-{found['scale']}.json"
    module = importlib.import_module(found["benchmark"])
    assert found["claims"] == module.claims(found["rows"])


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.name)
def test_accuracies_follow_from_the_images(path: Path) -> None:
    for row in json.loads(path.read_text())["rows"]:
        for subset in row.get("subsets", []):
            correct = results_file.unpack_bits(subset["correct"], subset["n"])
            assert correct.float().mean().item() == pytest.approx(subset["accuracy"])


def test_readme_tables_are_the_results() -> None:
    text = tables.README.read_text(encoding="utf-8")
    assert tables.render(text) == text, "run `make tables`"


def test_readme_tables_are_really_filled() -> None:
    text = tables.README.read_text(encoding="utf-8")
    broken = text.replace("| R G B |", "| X |")
    assert broken != text
    assert tables.render(broken) == text


def test_bits_survive_packing() -> None:
    bits = torch.tensor([True, False, False, True, True, False, True, True, False, True])
    assert torch.equal(results_file.unpack_bits(results_file.pack_bits(bits), 10), bits)


@pytest.mark.parametrize(("value", "op", "holds"), [(0.95, ">=", True), (0.94, ">=", False), (0.96, "<=", False)])
def test_claim(value: float, op: str, holds: bool) -> None:
    assert results_file.claim("x", value, op, 0.95)["holds"] is holds


def test_a_result_file_goes_on_where_it_was(tmp_path: Path) -> None:
    def none(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return []

    first = results_file.ResultFile("some", "cpu", none, folder=tmp_path)
    first.add({"name": "a", "seed": 3})
    second = results_file.ResultFile("some", "cpu", none, folder=tmp_path)
    assert second.has(name="a")
    assert not second.has(name="b")
    second.add({"name": "b", "seed": 1})
    found = json.loads((tmp_path / "some-cpu.json").read_text())
    assert [row["name"] for row in found["rows"]] == ["a", "b"]
    assert found["seeds"] == [1, 3]


def test_loop_benchmark_runs(tmp_path: Path, real_data: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "STEPS", {"cpu": 1})
    monkeypatch.setattr(loop, "BATCH_SIZE", 4)
    results = loop.run("cpu", str(real_data("tiny-imagenet-50.zip")), 2, tmp_path)
    assert [row["pair"] for row in results.rows] == [1, 2]
    assert all(0 < row["share"] < 10 for row in results.rows)
    assert (tmp_path / "loop-cpu.json").exists()
