"""The benchmark of shallow networks: its trainings, and what it makes of their rows."""

import dataclasses
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import shallow
import shallow_claims
import torch
from shallow_evaluation import last_quarter_gain
from shallow_rows import FAMILIES, LADDER, RECIPES, SCALES, STRONG, SYSTEMS, Job, first_jobs, later_jobs, recipe_of

from anychan.evaluation.accuracy import pack_bits, wilson_interval
from anychan.recipe_checks import check_values

IMAGES = 200


def entry(correct: torch.Tensor) -> dict[str, Any]:
    low, high = wilson_interval(int(correct.sum()), len(correct))
    found = {"n": len(correct), "accuracy": correct.float().mean().item(), "low": low, "high": high}
    return {**found, "correct": pack_bits(correct)}


def row(job: Job, test: int, val: int = 100, **more: Any) -> dict[str, Any]:
    """The first so many of 200 images are right, as the recipe tests them; none the other way."""
    setting = SCALES["cpu"].settings[job.setting]
    facts: dict[str, Any] = {"system": job.system, "recipe": job.recipe, "setting": job.setting, "teacher": None}
    facts |= {"classes": setting.classes, "size": setting.size, "epochs": setting.epochs[job.recipe]}
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
    assert jobs[0] == Job("rival", "strong")
    for job in jobs:
        recipe = recipe_of(job, SCALES[scale], data_path="some.zip", teacher=None)
        check_values(recipe)
        assert recipe.train.precision == "auto"
        assert job.teacher is None or job.teacher in jobs[: jobs.index(job)]
        assert (recipe.model.name, recipe.seed) == (SYSTEMS[job.system].model, job.seed)
        assert recipe.train.cutmix == (0.5 if RECIPES[job.recipe] == STRONG else 0)


def test_the_cpu_scale_has_what_is_compared() -> None:
    rows = {(job.row, job.seed) for job in everything("cpu")}
    seeds = [
        (f"{name}-{recipe}", seed)
        for name in ("shallow4_l", "shallow2_l", "wide_cnn4")
        for seed in range(3)
        for recipe in ("strong", "distilled")
    ]
    assert rows >= set(seeds)
    assert rows >= {(f"{name}-report2-pair", seed) for name in ("resnet34_7x7", "shallow4_l") for seed in range(3)}
    assert rows >= {(f"resnet34_7x7-{recipe}", 0) for recipe in ("report1", "report2", "strong", "distilled")}
    assert rows >= {
        (f"{name}-classes20", 0) for name in ("rival-strong", "shallow4_l-distilled", "shallow2_l-distilled")
    }
    assert ("rival-report1", 0) not in rows
    for step in LADDER:
        name = "shallow4_l" if step.system == "shallow4" else step.system
        assert rows >= {(f"{name}-{step.recipe}", seed) for seed in (0, 1)}


def test_the_rival_is_trained_by_the_strong_recipe() -> None:
    recipe = recipe_of(Job("rival", "strong"), SCALES["cpu"], data_path="some.zip")
    assert (recipe.model.name, recipe.model.options) == ("resnet34", {"entry": "3x3"})
    assert (recipe.data.num_classes, recipe.data.size, recipe.data.grey) == (10, 32, "repeat")
    train = recipe.train
    assert (train.epochs, train.batch_size, train.lr, train.warmup_epochs) == (40, 64, 0.05, 2)
    assert (train.progressive_sizes, train.cutmix, train.mixup, train.ema) == ([20, 24, 32, 32], 0.5, 0.2, 0.998)
    larger = recipe_of(Job("se_2layer_cnn", "strong"), SCALES["cpu"], data_path="some.zip")
    assert (larger.data.size, larger.train.progressive_sizes) == (40, None)
    assert recipe_of(Job("se_2layer_cnn", "strong"), SCALES["gpu"], data_path="x").train.progressive_sizes == [
        40,
        48,
        64,
        64,
    ]


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
    rows = [row(Job("rival", "strong"), 160, 150), row(Job("resnet34_7x7", "strong"), 199, 149)]
    assert shallow_claims.claims(rows) == []
    rows += [row(Job("shallow4_m", "strong"), 199), row(Job("shallow2_m", "strong"), 199)]
    # of 160 images that the rival has right, 152 and 156; the mean is 154
    rows += [row(four, 152, 120), row(dataclasses.replace(four, seed=1), 156, 120), row(two, 140, 120)]
    rows += [row(Job("resnet34_7x7", "report2", seed, "pair"), 100) for seed in range(2)]
    rows += [row(Job("shallow4_m", "report2", 0, "pair"), 110)]
    found = {claim["id"]: claim for claim in shallow_claims.claims(rows)}
    assert {name: claim["value"] for name, claim in found.items()} == {
        "shallow4_over_best_resnet34": pytest.approx(154 / 160),
        "shallow2_over_best_resnet34": pytest.approx(140 / 160),
        "shallow4_over_imagenet_stem_resnet34": pytest.approx(1.1),
    }
    assert [claim["holds"] for claim in found.values()] == [False, False, True]
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
