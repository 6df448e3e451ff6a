"""The benchmark of shallow networks: its trainings, and what it makes of their rows."""

import dataclasses
import json
import math
import statistics
import time
from argparse import ArgumentTypeError
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shallow
import shallow_claims
import shallow_costs
import shallow_front
import shallow_plots
import shallow_rows
import shallow_steps
import shallow_tables
import torch
from PIL import Image
from shallow_evaluation import last_quarter_gain
from shallow_rows import (
    RECIPES,
    SCALES,
    STRONG,
    Job,
    epochs_of,
    first_jobs,
    later_jobs,
    recipe_of,
    teachers_of,
)
from shallow_systems import ABLATIONS, FAMILIES, LADDER, SYSTEMS
from torch import nn

from anychan.evaluation.accuracy import pack_bits, wilson_interval
from anychan.files import write_json
from anychan.recipe import Recipe
from anychan.recipe_checks import check_values

IMAGES = 200


def entry(correct: torch.Tensor) -> dict[str, Any]:
    low, high = wilson_interval(int(correct.sum()), len(correct))
    found = {"n": len(correct), "accuracy": correct.float().mean().item(), "low": low, "high": high}
    return {**found, "correct": pack_bits(correct)}


def row(job: Job, test: int, val: int = 100, **more: Any) -> dict[str, Any]:
    """The first so many of 200 images are right, as the recipe tests them; none the other way."""
    setting = SCALES["cpu"].settings[job.setting]
    facts: dict[str, Any] = {"system": job.system, "recipe": job.recipe, "setting": job.setting, "teachers": []}
    facts |= {"classes": setting.classes, "size": setting.size, "epochs": epochs_of(job, setting)}
    facts["last_quarter_gain"] = 0.0
    found: dict[str, Any] = {**job.key, **facts}
    for split, count in (("test", test), ("val", val)):
        right, flipped = torch.arange(IMAGES) < count, job.recipe in shallow_claims.FLIPPED
        found |= {split: entry(right & (not flipped)), f"{split}_flips": entry(right & flipped)}
    return {**found, **more}


def everything(scale: str) -> list[Job]:
    chosen = {family: widths[-1] for family, widths in FAMILIES.items()}
    best = {"rival": "strong", **dict.fromkeys(chosen.values(), "distilled")}
    return [*first_jobs(SCALES[scale]), *later_jobs(SCALES[scale], chosen, best)]


@pytest.mark.parametrize("scale", SCALES)
def test_every_training_is_there_once_and_has_a_recipe(scale: str) -> None:
    jobs = everything(scale)
    assert len({job.label for job in jobs}) == len(jobs)
    assert [Job.parse(job.label) for job in jobs] == jobs
    assert jobs[0] == Job("rival", "strong")
    for job in jobs:
        recipe = recipe_of(job, SCALES[scale], data_path="some.zip")
        check_values(recipe)
        assert recipe.train.precision == "auto"
        assert set(teachers_of(job, SCALES[scale])) <= set(jobs[: jobs.index(job)])
        assert (recipe.model.name, recipe.seed) == (SYSTEMS[job.system].model, job.seed)
        assert recipe.train.cutmix == (0.5 if RECIPES[job.recipe] == STRONG else 0)


@pytest.mark.parametrize(
    "label",
    ["", "rival", "rival-strong", "rivals-strong-0", "rival-weak-0", "rival-strong-mian-0", "rival-strong-a-b-0"],
)
def test_what_is_no_training_is_told(label: str) -> None:
    with pytest.raises(ArgumentTypeError, match=f"^there is no training '{label}'; one is called"):
        Job.parse(label)


def test_the_cpu_scale_has_what_is_compared() -> None:
    rows = {(job.row, job.seed) for job in everything("cpu")}
    seeds = [
        (f"{name}-{recipe}", seed)
        for name in ("shallow4_l", "shallow2_l")
        for seed in range(3)
        for recipe in ("strong", "distilled")
    ]
    assert rows >= {*seeds, *(("wide_cnn4-strong", seed) for seed in range(3))}
    assert rows >= {(f"{name}-report2-pair", seed) for name in ("resnet34_7x7", "shallow4_l") for seed in range(3)}
    assert rows >= {(f"resnet34_7x7-{recipe}", 0) for recipe in ("report1", "report2", "strong", "distilled")}
    assert rows >= {
        (f"{name}-classes20", 0) for name in ("rival-strong", "shallow4_l-distilled", "shallow2_l-distilled")
    }
    assert ("rival-report1", 0) not in rows
    for step in (*LADDER, *ABLATIONS):
        job = Job("shallow4_l" if step.system == "shallow4" else step.system, step.recipe, 0, step.setting)
        assert rows >= {(job.row, seed) for seed in (0, 1)}
    assert {job.row for job in everything("cpu") if job.setting == "short"} == {"shallow4_s-strong-short"}


def test_a_patient_student_has_the_same_teacher_for_longer() -> None:
    jobs = [Job("shallow4_l", recipe) for recipe in ("distilled", "patient")]
    short, long = (recipe_of(job, SCALES["gpu"], data_path="some.zip").train for job in jobs)
    assert dataclasses.replace(short, epochs=240) == long
    assert {tuple(teachers_of(job, SCALES["gpu"])) for job in jobs} == {(Job("rival", "strong"),)}
    assert set(jobs) <= set(everything("gpu"))


@pytest.mark.parametrize(
    ("name", "job"),
    [
        ("resnet34", Job("rival", "strong")),
        ("shallow4", Job("shallow4_l", "distilled")),
        ("shallow2", Job("shallow2_l", "distilled")),
    ],
)
def test_recipes_are_those_of_the_gpus_scale(name: str, job: Job) -> None:
    written = Recipe.load(shallow_rows.ROOT / "recipes" / "strong" / f"{name}.yaml")
    measured = recipe_of(job, SCALES["gpu"], data_path="some.zip")
    written.data.path, written.data.num_classes, written.model.stem = "some.zip", 50, None  # "mean" is ResNet34's own
    assert written == measured


def test_crops_are_resized_in_place_of_padded() -> None:
    plain, cropped = (
        recipe_of(Job("shallow4_s", recipe, 0, "ablations"), SCALES["cpu"], data_path="some.zip").train
        for recipe in ("strong", "resized_crops")
    )
    assert dataclasses.replace(plain, crop_padding=0, crop_scale=0.35) == cropped


def test_the_rival_is_trained_by_the_strong_recipe() -> None:
    recipe = recipe_of(Job("rival", "strong"), SCALES["cpu"], data_path="some.zip")
    assert (recipe.model.name, recipe.model.options) == ("resnet34", {"entry": "3x3"})
    assert (recipe.data.num_classes, recipe.data.size, recipe.data.grey) == (10, 32, "repeat")
    train = recipe.train
    assert (train.epochs, train.batch_size, train.lr, train.warmup_epochs) == (100, 64, 0.05, 2)
    assert (train.progressive_sizes, train.cutmix, train.mixup, train.ema) == ([20, 24, 32, 32], 0.5, 0.2, 0.998)
    assert train.cooldown_epochs == 0
    taught = recipe_of(Job("rival", "distilled"), SCALES["cpu"], data_path="some.zip").train
    assert (taught.epochs, taught.cooldown_epochs) == (120, 30)
    assert taught.min_lr == pytest.approx(0.0005)
    more = recipe_of(Job("rival", "longer"), SCALES["cpu"], data_path="some.zip", start=Path("runs/first"))
    assert more.model.init_from == str(Path("runs/first"))
    assert (more.train.epochs, more.train.batch_size, more.train.lr) == (34, 64, 0.005)
    assert (more.train.warmup_epochs, more.train.progressive_sizes, more.train.cutmix) == (0, None, 0.5)
    assert recipe_of(Job("rival", "distilled"), SCALES["gpu"], data_path="x").train.cooldown_epochs == 15
    assert recipe_of(Job("resnet34_7x7", "distilled"), SCALES["cpu"], data_path="x").train.cooldown_epochs == 0
    larger = recipe_of(Job("se_2layer_cnn", "strong"), SCALES["cpu"], data_path="some.zip")
    assert (larger.data.size, larger.train.progressive_sizes) == (40, None)
    assert recipe_of(Job("se_2layer_cnn", "strong"), SCALES["gpu"], data_path="x").train.progressive_sizes == [
        40,
        48,
        64,
        64,
    ]


@pytest.mark.parametrize("scale", SCALES)
def test_every_training_can_be_rehearsed(scale: str, tmp_path: Path) -> None:
    call = shallow.Call(scale, "some.zip", str(tmp_path), rehearse=True)
    for job in everything(scale):
        recipe = call.recipe(job)
        check_values(recipe)
        assert recipe.train.epochs == 1


def test_last_quarter_gain() -> None:
    assert last_quarter_gain([0.1, 0.5, 0.4, 0.6, 0.55, 0.3, 0.62, 0.61]) == pytest.approx(2)
    assert last_quarter_gain([0.1, 0.6, 0.4, 0.5]) == 0
    assert last_quarter_gain([0.1]) == 0


def test_widths_and_recipes_are_chosen_on_validation() -> None:
    small, middle, large = (Job(width, "strong") for width in FAMILIES["shallow4"])
    widths = SCALES["cpu"].widths
    rows = [row(small, 190, 100), row(middle, 100, 150)]
    assert shallow_claims.chosen_widths(rows, widths) == {}
    rows += [row(large, 180, 120), row(Job("rival", "strong"), 120, 160), row(Job("resnet34_7x7", "report2"), 199, 159)]
    assert shallow_claims.chosen_widths(rows, widths) == {"shallow4": middle.system}
    assert shallow_claims.best_recipes(rows, widths) == {"rival": "strong", middle.system: "strong"}


def test_claims_by_hand() -> None:
    four, two = (Job(name, "distilled") for name in ("shallow4_m", "shallow2_m"))
    rows = [row(Job("rival", "strong"), 160, 150, last_quarter_gain=3.0), row(Job("resnet34_7x7", "strong"), 199, 149)]
    gain = "best_resnet34_last_quarter_gain"
    assert [(found["id"], found["holds"]) for found in shallow_claims.claims(rows)] == [(gain, False)]
    # longer training ended below it on validation images: the shorter one stays the rival, and is trained to its end
    rows += [row(Job("rival", "longer"), 199, 148, last_quarter_gain=0.0)]
    rows += [row(Job("shallow4_m", "strong"), 199), row(Job("shallow2_m", "strong"), 199)]
    rows += [row(Job("rival", "distilled"), 199, 140)]
    # the last trial of ours is not there yet
    assert [found["id"] for found in shallow_claims.claims(rows)] == [gain]
    # of 160 images that the rival has right, 152 and 156; the mean is 154
    rows += [row(four, 152, 120), row(dataclasses.replace(four, seed=1), 156, 120), row(two, 140, 120)]
    rows += [row(Job("resnet34_7x7", "report2", seed, "pair"), 100) for seed in range(2)]
    rows += [row(Job("shallow4_m", "report2", 0, "pair"), 110)]
    found = {claim["id"]: claim for claim in shallow_claims.claims(rows)}
    assert {name: claim["value"] for name, claim in found.items()} == {
        "shallow4_over_best_resnet34": pytest.approx(154 / 160),
        "shallow2_over_best_resnet34": pytest.approx(140 / 160),
        "shallow4_over_imagenet_stem_resnet34": pytest.approx(1.1),
        gain: 0,
    }
    assert [claim["holds"] for claim in found.values()] == [False, False, True, True]
    ours = found["shallow4_over_best_resnet34"]
    assert (ours["ours"], ours["theirs"], ours["seeds"]) == ("shallow4_m-distilled", "rival-strong", [2, 1])
    assert ours["low"] < 154 / 160 < ours["high"]


def test_interval_of_a_ratio() -> None:
    rival = [row(Job("rival", "strong"), 160)]
    same = [row(Job("shallow4_m", "strong", seed), 160) for seed in range(3)]
    # whatever images are drawn, both have the same ones right
    assert shallow_claims.ratio(same, rival) == pytest.approx((1, 1, 1))
    # one seed of two is right on all that the rival has right, one on half: a quarter of the draws has one of them only
    ours = [row(Job("shallow4_m", "strong", seed), count) for seed, count in enumerate((160, 80))]
    value, low, high = shallow_claims.ratio(ours, rival)
    assert value == pytest.approx(0.75)
    assert high == pytest.approx(1)
    assert 0.4 < low < 0.5
    # one of 100 images more is about one point: the paired interval is that of a difference of 10 images in 200
    value, low, high = shallow_claims.ratio([row(Job("shallow4_m", "strong"), 150)], rival)
    spread = 1.96 * math.sqrt(10) / 160
    assert (low, high) == pytest.approx((value - spread, value + spread), abs=0.006)


def test_accuracy_is_as_the_recipe_tests_it() -> None:
    strong, report = row(Job("rival", "strong"), 120), row(Job("rival", "report2"), 100)
    report["test_flips"]["accuracy"] = 0.9
    assert shallow_claims.figure(strong)["accuracy"] == pytest.approx(0.6)
    assert shallow_claims.figure(report)["accuracy"] == pytest.approx(0.5)
    value, low, high = shallow_claims.accuracy([strong])
    assert value == pytest.approx(0.6)
    assert (low, high) == pytest.approx(wilson_interval(120, 200), abs=0.01)


def rows_of(call: shallow.Call) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(call.file().path.read_text())["rows"]
    return found


def test_one_step_of_a_training(tmp_path: Path, real_data: Callable[[str], Path]) -> None:
    call = shallow.Call("gpu", str(real_data("tiny-imagenet-50.zip")), str(tmp_path), rehearse=True)
    for _ in range(2):  # what is there is not run again
        shallow.run_job(Job("simple_2layer_cnn", "strong"), call)
    (found,) = rows_of(call)
    assert (found["row"], found["classes"], found["size"], found["epochs_trained"]) == (
        "simple_2layer_cnn-strong",
        2,
        64,
        1,
    )
    assert {found[key]["n"] for key in ("val", "test", "val_flips", "test_flips")} == {20}
    assert not call.folder(Job("simple_2layer_cnn", "strong")).checkpoints.exists()


def test_a_training_stops_in_time_and_goes_on(
    tmp_path: Path,
    real_data: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(shallow, "WORK", tmp_path / "work")
    job = Job("simple_2layer_cnn", "report2")
    call = shallow.Call("cpu", str(real_data("tiny-imagenet-50.zip")), str(tmp_path), deadline=time.monotonic() + 1)
    shallow.run_job(job, call)
    assert "goes on at the next call" in capsys.readouterr().out
    assert call.folder(job).recipe.exists()
    assert not call.folder(job).result.exists()
    assert not call.file().path.exists()


def latency_row(system: str, engine: str, threads: int, *times: float) -> dict[str, Any]:
    facts = {"cold_start_ms": 1500.0, "warm_up": 3, "images_per_s": 1000.0, "rounds": len(times), "processor": "a CPU"}
    middle = statistics.median(times)
    found = {"kind": "latency", "system": system, "size": 32, "engine": engine, "threads": threads, **facts}
    return {**found, "p50_ms": middle, "p99_ms": max(times), "times_ms": list(times)}


def timed_rows() -> list[dict[str, Any]]:
    """ResNet34 takes 12 ms on one thread and 8 on two, `shallow4_m` 3 and 3 on its fastest engine, which changes."""
    rows = []
    for system, one, two in (("rival", 12, 8), ("resnet34_7x7", 6, 4)):
        for engine, more in (("eager", 2), ("onnxruntime", 1)):
            rows += [latency_row(system, engine, 1, *(one * more * x for x in (1, 1.5, 2)))]
            rows += [latency_row(system, engine, 2, *(two * more * x for x in (1, 1.5, 2)))]
    rows += [latency_row("shallow4_m", "eager", 1, 3, 4.5, 6), latency_row("shallow4_m", "onnxruntime", 1, 9, 9, 9)]
    return [
        *rows,
        latency_row("shallow4_m", "eager", 2, 9, 9, 9),
        latency_row("shallow4_m", "onnxruntime", 2, 3, 4.5, 7),
    ]


def test_latency_is_compared_at_the_worse_number_of_threads() -> None:
    rows = [*timed_rows(), row(Job("rival", "strong"), 160), row(Job("shallow4_m", "strong"), 150)]
    (found,) = [claim for claim in shallow_claims.claims(rows) if claim["id"] == "shallow4_latency_over_resnet34"]
    assert found["by_threads"] == {"1": pytest.approx(3 / 12), "2": pytest.approx(3 / 8)}
    assert (found["value"], found["threads"], found["holds"]) == (pytest.approx(3 / 8), 2, False)
    assert found["engines"] == ["onnxruntime", "onnxruntime"]
    assert found["over_imagenet_stem"] == pytest.approx(3 / 4)
    rows = [entry for entry in rows if entry["system"] != "resnet34_7x7"]
    assert "shallow4_latency_over_resnet34" not in {claim["id"] for claim in shallow_claims.claims(rows)}


def cost(system: str, features: int, gates: int) -> dict[str, Any]:
    counts = {"params": 1234, "macs": 5678, "weighted_modules": 17, "classifier": 1}
    return {
        "kind": "cost",
        "system": system,
        "size": 32,
        "classes": 10,
        "features": features,
        "features_with_gates": gates,
    } | counts


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A result file of some rows."""
    rows = [
        *timed_rows(),
        cost("rival", 33, 33),
        cost("shallow4_m", 4, 12),
        cost("wide_cnn4", 4, 12),
        cost("shallow4_s", 4, 12),
        {**cost("shallow4_s", 4, 12), "classes": 20, "params": 2345},
        row(Job("rival", "strong"), 160, 160, last_quarter_gain=0.4, train_seconds=600, epochs_trained=40),
        row(Job("rival", "longer"), 162, 159, last_quarter_gain=0.2, train_seconds=800, epochs_trained=53),
        row(Job("rival", "distilled"), 160, 150, train_seconds=600, epochs_trained=40),
        row(Job("shallow4_m", "strong"), 150, last_quarter_gain=3.0, train_seconds=60, epochs_trained=40),
        row(Job("shallow4_m", "distilled", 0), 150, 120, train_seconds=60, epochs_trained=40),
        row(Job("shallow4_m", "distilled", 1), 158, 120, train_seconds=180, epochs_trained=40),
        row(Job("wide_cnn4", "report2"), 100, train_seconds=60, epochs_trained=15),
        row(Job("wide_cnn4", "strong"), 120, 99, train_seconds=60, epochs_trained=40),
        row(Job("shallow4_s", "strong", 0, "ablations"), 120, 90, train_seconds=60, epochs_trained=40),
        row(Job("mean_max_pool", "strong", 0, "ablations"), 110, train_seconds=60, epochs_trained=40),
        row(Job("shallow4_s", "resized_crops", 0, "ablations"), 124, train_seconds=60, epochs_trained=40),
        row(Job("rival", "strong", 0, "classes20"), 100, epochs_trained=20),
        row(Job("shallow4_m", "distilled", 0, "classes20"), 80, epochs_trained=20),
    ]
    monkeypatch.setattr(shallow_tables, "RESULTS", tmp_path)
    write_json(tmp_path / "shallow-cpu.json", {"rows": rows, "claims": shallow_claims.claims(rows)})
    return tmp_path


def test_tables(results: Path) -> None:
    tables = {**shallow_tables.SHALLOW_TABLES, **shallow_steps.STEP_TABLES}
    found = {name: table() for name, table in tables.items()}
    assert "- CPU scale: ResNet34, 3×3 first layer, recipe: strong, the best on validation" in found["shallow_rival"]
    trials = "Trials of the strong recipe: 3 of ResNet34, 2 of shallow4, 0 of shallow2."  # report 2's is another
    assert f"images (80.0 %). {trials} The last quarter of its epochs gained 0.4 points" in found["shallow_rival"]
    assert "; 13 epochs more, at lower rates, gained 0.2, and +1.0 on test images." in found["shallow_rival"]
    assert "| `best_resnet34_last_quarter_gain` | ≤ 1 | 0.200 | yes | `rival-longer` |" in found["shallow_claims"]
    assert found["shallow_systems"].startswith("10 classes, 32×32 pixels:\n\n| network | recipe |")
    assert "| **`shallow4_m`** | strong, distilled | 32×32 | 40 | 2 | 60.0 | 77.0 (" in found["shallow_systems"]
    assert "| 0.0 | 0.963 (" in found["shallow_systems"]  # nothing is right without flips
    assert "| **strong** | 32×32 | 40 | 1 | 80.0 | 80.0 (73.9 to 85.0) | 0.0 | 1 | 10 min |" in found["shallow_systems"]
    costs = "| 4 | 12 | 1 | 17 | 1,234 | 5,678 | 32×32 | 4.50 / 6.00 eager | 4.50 / 7.00 onnxruntime | 1,000 |"
    assert f"| **`shallow4_m`** {costs}" in found["shallow_networks"]
    assert "| **`shallow4_m`** | 2 | 9.00 / 9.00, 1.50 s | 4.50 / 7.00, 1.50 s |" in found["shallow_latency"]
    assert "past max pooling. One float32 image, all networks in turns, " in found["shallow_latency"]
    assert "| the strong recipe | 60.0 (53.1 to 66.5) | 60.0 | +10.0 (" in found["shallow_ladder"]
    assert "| `shallow4_s` | 60.0 (53.1 to 66.5) | 60.0 |  | 2,345 | 5,678 |" in found["shallow_ablations"]
    assert "maxima too, beside the means | 55.0 (48.1 to 61.7) | 55.0 | -5.0 (" in found["shallow_ablations"]
    assert "crops in place of padded ones | 62.0 (55.1 to 68.4) | 62.0 | +2.0 (" in found["shallow_ablations"]
    assert "| 20 | 32 | 20 | 1 | 40.0 (33.5 to 46.9) | 0.800 (" in found["shallow_classes"]
    assert "| `shallow4_over_best_resnet34` | ≥ 0.97 | 0.963 (" in found["shallow_claims"]


def test_front_table(results: Path) -> None:
    found = shallow_front.front()
    assert "| report 1: SE2LayerCNN | 45.3 (40.8 to 50.0) | 0.80 (0.70 to 0.91) |  |  |  |  |  |" in found
    assert "| report 2: WideCNN4 | 66.0 (61.5 to 70.2) | 1.01 (0.92 to 1.11) | 50.0 (43.1 to 56.9) | 50.0 (" in found
    assert "| **ours: `shallow4_m`** |  |  |  | 77.0 (" in found
    assert "| 4 (12 with gates) + 1 | 4.50 |" in found


def test_tables_of_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shallow_tables, "RESULTS", tmp_path)
    assert shallow_tables.SHALLOW_TABLES["shallow_systems"]() == ""
    assert "66.0 (61.5 to 70.2)" in shallow_front.front()


@pytest.mark.parametrize("name", shallow_plots.SHALLOW_PICTURES)
def test_pictures(name: str, results: Path) -> None:
    shallow_plots.draw(name, results)
    with Image.open(results / f"{name}.png") as picture:
        assert picture.info["Source"] == shallow_plots.digest(name)
        assert picture.size == (1125, 690)
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    for colour, _ in (shallow_plots.KINDS[kind] for kind in ("ResNet34", "shallow4")):
        wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert (pixels == wanted).all(1).sum() > 50  # a marker in the legend and one at least beside the axes


def test_costs_and_latency_of_real_networks() -> None:
    found = shallow_costs.cost_row("wide_cnn4", size=32, classes=10)
    assert (found["params"], found["macs"]) == (2_045_002, 64_915_968)
    assert (found["features"], found["features_with_gates"], found["classifier"]) == (4, 12, 1)
    systems, options = ("simple_2layer_cnn", "simple_4layer_cnn"), {"engines": ("eager",), "threads": (1,)}
    rows = shallow_costs.latency_rows(systems, size=32, classes=10, rounds=2, warm_up=1, **options)
    assert [(entry["system"], entry["size"]) for entry in rows] == [(systems[0], 40), (systems[1], 32)]
    again = shallow_costs.latencies(json.loads(json.dumps(rows)))
    assert [timed.p50_ms for timed in again] == pytest.approx([entry["p50_ms"] for entry in rows], abs=1e-3)
    assert {len(timed.times_ms) for timed in again} == {2}


def test_points_that_nearly_touch_share_a_name() -> None:
    def point(title: str, accuracy: float, depth: int) -> dict[str, Any]:
        return {"title": title, "accuracy": [accuracy, 0.0, 1.0], "shallow-depth": depth}

    points = [point("a", 0.70, 4), point("b", 0.71, 2), point("c", 0.715, 4), point("d", 0.60, 4), point("e", 0.74, 4)]
    found = [(title, named["title"]) for title, named in shallow_plots._titles(points, "shallow-depth")]
    assert found == [("d", "d"), ("b", "b"), ("c, a", "c"), ("e", "e")]


def test_latency_is_of_networks_whose_batch_norm_stays_behind_max_pooling() -> None:
    model = shallow_costs._with_negative_scales(shallow_costs._network("shallow4_s", 10))
    frozen = model.for_channels(["R", "G", "B"])
    assert sum(isinstance(module, nn.BatchNorm2d) for module in frozen.modules()) == 4
    fresh = shallow_costs._network("shallow4_s", 10).for_channels(["R", "G", "B"])
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fresh.modules())


@pytest.mark.slow
@pytest.mark.parametrize("scale", SCALES)
def test_the_whole_scale_in_one_step(scale: str, tmp_path: Path, real_data: Callable[[str], Path]) -> None:
    call = shallow.Call(scale, str(real_data("tiny-imagenet-50.zip")), str(tmp_path), rehearse=True)
    done: list[Job] = []
    for find in (partial(first_jobs, SCALES[scale]), partial(shallow.later, SCALES[scale], call)):  # which needs rows
        wanted = [job for job in find() if job.seed == 0]
        for job in wanted:
            shallow.run_job(job, call)
        done += wanted
    shallow.measure(call)
    rows = rows_of(call)
    there = {entry["row"] for entry in rows if entry["kind"] == "trained"}
    assert there == {job.row for job in done}
    assert {entry["system"] for entry in rows if entry["kind"] == "cost"} == {
        entry["system"] for entry in rows if entry["kind"] == "trained"
    }
    claims = {claim["id"] for claim in shallow_claims.claims(rows)}
    assert claims == {
        "shallow4_over_best_resnet34",
        "shallow2_over_best_resnet34",
        "shallow4_over_imagenet_stem_resnet34",
        "shallow4_latency_over_resnet34",
        "best_resnet34_last_quarter_gain",
    }
