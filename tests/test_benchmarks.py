"""The committed result files, and the benchmarks that write them."""

import importlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import band_tables
import channel_tables
import depth_tables
import many_bands
import pytest
import report_rows
import report_tables
import reports
import results_file
import shallow_plots
import speed_plots
import tables
from PIL import Image

from anychan.evaluation.accuracy import unpack_bits, wilson_interval

RESULTS = sorted(results_file.RESULTS.glob("*.json"))
KEYS = {"benchmark", "scale", "command", "commit", "date", "versions", "hardware", "seeds", "rows", "claims"}


def test_there_are_results() -> None:
    assert {path.name for path in RESULTS} >= {
        "bands-cpu.json",
        "channels-cpu.json",
        "first_light-cpu.json",
        "reports-cpu.json",
        "speed-cpu.json",
    }


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
        keys = ("test", "val", "test_dropped", "test_flips", "val_flips")
        singles = [row[key] for key in keys if "correct" in row.get(key, {})]
        for subset in [*row.get("subsets", []), *row.get("val_subsets", []), *singles]:
            correct = unpack_bits(subset["correct"], subset["n"])
            assert correct.float().mean().item() == pytest.approx(subset["accuracy"])
            assert wilson_interval(int(correct.sum()), subset["n"]) == pytest.approx((subset["low"], subset["high"]))


@pytest.mark.parametrize("page", tables.PAGES, ids=lambda page: page.name)
def test_tables_are_the_results(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert tables.render(text) == text, "run `make tables`"
    assert set(re.findall(r"<!-- table: (\w+) -->", text)) <= set(tables.TABLES)


def test_every_table_is_on_a_page() -> None:
    shown = [name for page in tables.PAGES for name in re.findall(r"<!-- table: (\w+) -->", page.read_text())]
    assert sorted(shown) == sorted(tables.TABLES)


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        *((name, report_tables.digest) for name in report_tables.PICTURES),
        *((name, channel_tables.digest) for name in channel_tables.CHANNEL_PICTURES),
        *((name, band_tables.digest) for name in band_tables.BAND_PICTURES),
        *((name, depth_tables.digest) for name in depth_tables.DEPTH_PICTURES),
        *((name, shallow_plots.digest) for name in shallow_plots.SHALLOW_PICTURES),
        *((name, speed_plots.digest) for name in speed_plots.SPEED_PICTURES),
    ],
)
def test_pictures_are_the_results(name: str, digest: Callable[[str], str]) -> None:
    with Image.open(tables.IMAGES / f"{name}.png") as picture:
        assert picture.info["Source"] == digest(name), "run `make tables`"


def test_readme_tables_are_really_filled() -> None:
    text = tables.README.read_text(encoding="utf-8")
    broken = text.replace("| R G B |", "| X |")
    assert broken != text
    assert tables.render(broken) == text


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


def test_many_bands_benchmark_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many_bands, "CHANNELS", (4, 8))
    results = many_bands.run("cpu", 2, tmp_path, images=2)
    assert len(results.rows) == 3 * 2 * 2 * 2
    peaks = {(row["stem"], row["step"], row["channels"]): row["peak_bytes"] for row in results.rows}
    for (stem, step, channels), peak in peaks.items():
        assert peak > 2 * channels * 32 * 32 * 4  # the images in float32
        assert channels == 8 or peak < peaks[stem, step, 8] < 2.2 * peak
    assert [found["id"] for found in many_bands.claims(results.rows)] == [
        "many_bands_time_exponent",
        "many_bands_memory_exponent",
    ]


def test_claims_of_many_bands_are_the_largest_exponents() -> None:
    def rows(stem: str, power: float) -> list[dict[str, Any]]:
        return [
            {
                "stem": stem,
                "step": "train",
                "channels": c,
                "pair": pair,
                "seconds": pair * c**power,
                "peak_bytes": 5 * c,
            }
            for c in (4, 40, 369)
            for pair in (1, 2, 3)
        ]

    time, memory = many_bands.claims([*rows("mean", 0.5), *rows("completion", 1.2)])
    assert (round(time["value"], 9), time["holds"]) == (1.2, False)
    assert (round(memory["value"], 9), memory["holds"]) == (1, True)


def report_row(name: str, low: float, epochs: int = 5, classes: int = 10) -> dict[str, Any]:
    here = {"epochs_trained": epochs, "classes": classes}
    return {"row": name, "kind": "report", "seed": 0, "here": here, "test": {"low": low}}


def test_claims_of_the_reports_count_rows_and_what_they_learned() -> None:
    rows = [report_row("a", 0.21), report_row("a", 0.21), report_row("b", 0.2), report_row("c", 0.3, epochs=4)]
    rows += [{**report_row("d", 0.9), "kind": "suggestion"}, report_row("e", 0.05, classes=50)]
    assert [(found["id"], found["value"]) for found in reports.claims(rows)] == [("rows", 3), ("systems_trained", 2)]
    assert not any(found["holds"] for found in reports.claims(rows))
    assert all(found["holds"] for found in reports.claims([report_row(str(number), 0.3) for number in range(19)]))


@pytest.mark.parametrize("scale", reports.SCALES)
def test_every_row_has_its_scale(scale: str) -> None:
    jobs = reports.jobs_of(reports.SCALES[scale])
    assert [row for row, _ in jobs[:19]] == list(report_rows.REPORT_ROWS)
    assert len(set(jobs)) == len(jobs) == 19 + reports.SCALES[scale].seeds * len(report_rows.SUGGESTIONS)
    for row, seed in jobs:
        full, table = reports.recipe_of(row), report_rows.table_of(row)
        recipe = reports.reduced(reports.recipe_of(row), table, reports.SCALES[scale], "some.zip", seed)
        assert 5 <= recipe.train.epochs <= full.train.epochs
        assert recipe.data.size <= full.data.size
        assert (recipe.model, recipe.train.lr, recipe.train.batch_size) == (
            full.model,
            full.train.lr,
            full.train.batch_size,
        )
        assert (recipe.seed, recipe.data.path) == (seed, "some.zip")


def rehearse(row: str, scale: str, folder: Path, data: Path) -> list[dict[str, Any]]:
    reports.run_row((row, 0, scale, str(data), str(folder), True))
    found: list[dict[str, Any]] = json.loads((folder / f"reports-{scale}.json").read_text())["rows"]
    return found


@pytest.mark.parametrize(
    ("row", "more"),
    [
        ("report1/dynamic_cnn_v1_drop", ["report1/dynamic_cnn_v1_drop/generators"]),
        ("report2/dynamic_resnet12_rb", []),
        pytest.param(
            "suggestions/dynamic_resnet12_top2",
            ["suggestions/dynamic_resnet12_top2/pruned"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_row_of_the_gpu_scale_in_one_step(
    row: str, more: list[str], tmp_path: Path, real_data: Callable[[str], Path]
) -> None:
    rows = rehearse(row, "gpu", tmp_path, real_data("tiny-imagenet-50.zip"))
    assert [entry["row"] for entry in rows] == [row, *more]
    first = rows[0]
    assert (first["here"]["classes"], first["here"]["epochs_trained"], first["test"]["n"]) == (2, 1, 100)
    assert first["here"]["size"] == first["full"]["size"]
    assert first["test"]["channels"] == (["R", "B"] if row.endswith("_rb") else ["R", "G", "B"])
    if row.endswith("_drop"):
        assert rows[1]["untrained_counts"] == [1, 2]
        assert [entry["untrained"] for entry in rows[1]["subsets"]] == [True] * 6 + [False]
    if row.endswith("_top2"):
        assert len(rows[1]["kernels_left"]) == 22
        assert rows[1]["test"]["correct"] == first["test"]["correct"] or sum(rows[1]["kernels_left"]) < 88
    rehearse(row, "gpu", tmp_path, real_data("tiny-imagenet-50.zip"))  # what is there is not run again
    assert len(json.loads((tmp_path / "reports-gpu.json").read_text())["rows"]) == len(rows)


@pytest.mark.slow
@pytest.mark.parametrize("scale", reports.SCALES)
def test_all_rows_in_one_step(scale: str, tmp_path: Path, real_data: Callable[[str], Path]) -> None:
    for row, _ in reports.jobs_of(reports.SCALES[scale])[:29]:
        rehearse(row, scale, tmp_path, real_data("tiny-imagenet-50.zip"))
    (found,) = [c for c in json.loads((tmp_path / f"reports-{scale}.json").read_text())["claims"] if c["id"] == "rows"]
    assert found["value"] == 0  # one epoch is not training
