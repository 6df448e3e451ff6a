"""The benchmark of one model against seven specialists: its runs, and what it makes of their rows."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import channel_claims
import channel_rows
import channels
import numpy as np
import pytest
import torch
from channel_rows import METHODS, SCALES, SUBSETS, TRIALS, TUNED, Job

from anychan.data.dataset import load_data
from anychan.evaluation.accuracy import pack_bits
from anychan.models.base import AnyChannelModel
from anychan.recipe_checks import check_values
from anychan.training.fit import build_model
from anychan.training.task import ClassificationTask
from tests.runs import small_recipe

IMAGES = 200


def entry(subset: str, correct: int) -> dict[str, Any]:
    bits = torch.arange(IMAGES) < correct
    return {"channels": subset.split("+"), "n": IMAGES, "correct": pack_bits(bits), "accuracy": correct / IMAGES}


def row(kind: str, name: str, seed: int, budget: int, correct: dict[str, int], *, own: bool = False) -> dict[str, Any]:
    entries = [entry(subset, count) for subset, count in correct.items()]
    facts = {"kind": kind, "name": name, "seed": seed, "budget": budget, "batch_norm": "own" if own else "shared"}
    return {**facts, "subsets": entries, "val_subsets": entries}


def all_rows(ours: int, *, seeds: int = 2) -> list[dict[str, Any]]:
    """Specialists right on 100 of 200 images, one model on `ours`, a frozen network on 40 (completed) and fewer."""
    rows = []
    for seed in range(seeds):
        rows += [row("specialist", subset, seed, 1, {subset: 100}) for subset in SUBSETS]
        for budget in (1, 2, 7):
            found = dict.fromkeys(SUBSETS, ours + budget)
            rows.append(row("one", "completion", seed, budget, found, own=True))
        for number, fill in enumerate((*channel_claims.RIVAL_FILLS, "completion")):
            for own in (False, True):
                found = dict.fromkeys(SUBSETS[1:], 20 + 5 * number + 20 * own)
                rows.append(row("frozen", fill, seed, 1, found, own=own))
    return rows


def test_claims_by_hand() -> None:
    found = {claim["id"]: claim for claim in channel_claims.claims(all_rows(103))}
    # of 200 images, one is half a point
    assert found["one_minus_specialists_mean_points"]["value"] == pytest.approx(5)
    assert found["one_minus_specialists_mean_points_double"]["value"] == pytest.approx(2.5)
    assert found["one_minus_specialists_mean_points_equal"]["value"] == pytest.approx(2)
    assert found["rgb_gap_points"]["value"] == pytest.approx(5)
    assert found["frozen_gain_points"]["value"] == pytest.approx((60 - 25) / 2)
    assert not found["frozen_gain_points"]["holds"]
    # the best rival has 15 points of own statistics; 5 images more of 200, paired: 2.5 points and the bootstrap below
    assert 0 < found["frozen_gain_low_points"]["value"] < 2.5
    assert 2 <= found["worst_subset_low_points"]["value"] < 5
    mean = found["one_minus_specialists_mean_points"]
    assert mean["low"] < mean["value"] < mean["high"]
    assert mean["by_seed"] == pytest.approx([5, 5])
    worse = {claim["id"]: claim["holds"] for claim in channel_claims.claims(all_rows(80))}
    assert not any(holds for name, holds in worse.items() if not name.startswith("frozen"))


def test_claims_wait_for_their_rows() -> None:
    rows = all_rows(103)
    assert channel_claims.claims([]) == []
    names = [claim["id"] for claim in channel_claims.claims([r for r in rows if r["budget"] != 7])]
    assert "one_minus_specialists_mean_points" not in names
    assert "one_minus_specialists_mean_points_double" in names
    missing = [r for r in rows if (r["kind"], r["name"], r["seed"]) != ("specialist", "G", 1)]
    assert channel_claims.specialists(missing).shape == (1, 7, IMAGES)  # the seed that is whole
    equal = {claim["id"]: claim for claim in channel_claims.claims(missing)}
    assert equal["one_minus_specialists_mean_points"]["by_seed"] == pytest.approx([5])


def test_method_is_chosen_on_validation() -> None:
    rows = all_rows(103)
    better = dict.fromkeys(SUBSETS, 150)
    rival = row("one", "sandwich", 0, 2, better, own=True)
    assert channel_claims.best_method([*rows, rival]) == "sandwich"
    rival["val_subsets"] = [entry(subset, 10) for subset in SUBSETS]
    assert channel_claims.best_method([*rows, rival]) == "completion"


def test_bootstrap_agrees_with_the_normal_interval() -> None:
    values = np.random.default_rng(1).choice([-1.0, 0.0, 1.0], size=1000, p=[0.1, 0.7, 0.2])
    low, high = channel_claims.bootstrap(values)
    half = 100 * 1.96 * values.std() / np.sqrt(len(values))
    middle = 100 * values.mean()
    assert (low, high) == pytest.approx((middle - half, middle + half), abs=0.15)


@pytest.mark.parametrize("scale", SCALES)
def test_a_job_changes_one_thing(scale: str) -> None:
    jobs = [*channels.first_jobs(SCALES[scale]), *channels.later_jobs(SCALES[scale], "completion")]
    assert len(set(jobs)) == len(jobs)
    other = channels.later_jobs(SCALES[scale], "sandwich")
    assert {job.name for job in other if job.budget == 7} == {"sandwich"}
    assert {(job.name, job.budget) for job in other if job.kind == "one"} >= {(name, 1) for name in METHODS}
    specialist = channel_rows.recipe_of(Job("specialist", "R+G+B", 0), SCALES[scale])
    for job in jobs:
        recipe = channel_rows.recipe_of(job, SCALES[scale])
        check_values(recipe)
        passes = METHODS[job.name].passes if job.name in METHODS else 1
        assert recipe.train.epochs * passes == job.budget * specialist.train.epochs, job.label
        changed = TRIALS[job.name.partition(": ")[2]] if job.kind == "trial" else {}
        changed = TRIALS[TUNED] if job.kind == "tuned" else changed
        same = {"crop_padding", "flip", "cutmix", "batch_size", "lr", "weight_decay", "monitor", "label_smoothing"}
        for key in same - set(changed):
            assert getattr(recipe.train, key) == getattr(specialist.train, key)
        for key, value in changed.items():
            assert getattr(recipe.train, key) == value != getattr(specialist.train, key)
        assert (recipe.data, recipe.model.name) == (specialist.data, specialist.model.name)
        assert recipe.seed == job.seed
    with pytest.raises(ValueError, match="are no whole epochs of 2"):
        channel_rows.recipe_of(Job("one", "sandwich", 0), channel_rows.Scale("resnet8", 2, 32, epochs=5, seeds=1))


@pytest.mark.parametrize("name", METHODS)
def test_passes_are_counted_as_they_happen(name: str, cache: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images that the model meets in one epoch's steps, over the training images."""
    method = METHODS[name]
    train: dict[str, Any] = {"channel_sampling": "uniform", "sandwich": method.sandwich, "distill": method.distill}
    recipe = small_recipe(stem=method.stem, **train)
    data = load_data(recipe.data, seed=0)
    task = ClassificationTask(build_model(recipe, data), recipe, data)
    met: list[int] = []
    whole = AnyChannelModel.forward

    def count(self: AnyChannelModel, x: torch.Tensor, **options: Any) -> torch.Tensor:
        met.append(len(x))
        return whole(self, x, **options)

    monkeypatch.setattr(AnyChannelModel, "forward", count)
    for step, batch in enumerate(task.train_dataloader()):
        task.training_step(batch, step).backward()
    assert sum(met) == method.passes * len(data.splits["train"])


@pytest.mark.parametrize(
    "job",
    [
        Job("specialist", "G", 0),
        pytest.param(Job("trial", "G: no crops", 0), marks=pytest.mark.slow),
        pytest.param(Job("specialist", "R+G+B", 0), marks=pytest.mark.slow),
        pytest.param(Job("one", "sandwich", 0, 2), marks=pytest.mark.slow),
    ],
    ids=lambda job: job.label,
)
def test_a_run_of_the_gpu_scale_in_one_step(job: Job, tmp_path: Path, real_data: Callable[[str], Path]) -> None:
    work = (job, "gpu", str(real_data("tiny-imagenet-50.zip")), str(tmp_path), True)
    channels.run_job(work)
    rows = json.loads((tmp_path / "channels-gpu.json").read_text())["rows"]
    whole = [found for found in rows if found["batch_norm"] == "whole"]
    assert [found["name"] for found in whole] == [job.name] * (job.kind == "specialist")
    rows = [found for found in rows if found["batch_norm"] != "whole"]
    kinds = [(found["kind"], found["name"], found["batch_norm"]) for found in rows]
    statistics_of = ("shared",) if job.kind == "trial" else ("shared", "own")
    expected = [(job.kind, job.name, statistics) for statistics in statistics_of]
    if job.name == "R+G+B":
        fills = ("zero", "mean", "rescaled", "present_mean", "completion")
        expected += [("frozen", fill, statistics) for fill in fills for statistics in ("shared", "own")]
    assert kinds == expected
    assert (rows[0]["model"], rows[0]["size"], rows[0]["classes"], rows[0]["subsets"][0]["n"]) == (
        "resnet18",
        64,
        2,
        100,
    )
    assert rows[0]["images_forward_backward"] == 900 * (2 if job.name == "sandwich" else 1)
    assert {len(found["subsets"]) for found in rows} == {"R+G+B": {1, 6}, "sandwich": {7}}.get(job.name, {1})
    channels.run_job(work)  # what is there is not run again
    assert len(json.loads((tmp_path / "channels-gpu.json").read_text())["rows"]) == len(rows) + len(whole)
