"""The benchmark of real sensors: folds, subsets, sources, claims by hand, and one step of real trainings."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import band_claims
import bands
import numpy as np
import pytest
import torch
from band_data import SOURCE_A, SOURCE_B, draws, folds, load_cells, load_eurosat, subset_groups, two_sources
from band_rows import METHODS, PLAIN, SCALES, Job, recipe_of
from hypothesis import given
from hypothesis import strategies as st

from anychan.evaluation.accuracy import pack_bits
from anychan.presets import SENTINEL2
from anychan.recipe_checks import check_values

RealData = Callable[[str], Path]


@given(st.integers(2, 6), st.integers(0, 10**6))
def test_every_image_is_tested_once_and_never_trained_on_then(count: int, seed: int) -> None:
    labels = np.arange(60) % 4
    found = folds(labels, count=count, seed=seed, val_share=0.5)
    assert sorted(row for fold in found for row in fold["test"]) == list(range(60))
    for fold in found:
        assert sorted([*fold["train"], *fold["val"], *fold["test"]]) == list(range(60))
        counts = np.bincount(labels[fold["test"]], minlength=4)
        assert counts.max() - counts.min() <= 1
        assert (np.bincount(labels[fold["val"]], minlength=4) > 0).all()


def test_draws_are_the_same_for_everybody() -> None:
    found = draws(SENTINEL2, 6, 20)
    assert found == draws(SENTINEL2, 6, 20)
    assert len(set(found)) == 20
    assert {len(set(drawn)) for drawn in found} == {6}


def row(method: str, correct: dict[str, list[list[int]]], **key: Any) -> dict[str, Any]:
    """A row of four tiles in two subsets or one."""
    packed = {
        group: {"subsets": len(bits), "n": 4, "bits": pack_bits(torch.tensor(bits).bool().flatten())}
        for group, bits in correct.items()
    }
    key = {"data": "eurosat", "seed": 0, "fold": 0, "fill": "mean", "batch_norm": "shared", **key}
    return {
        **key,
        "method": method,
        "images": {"val": "0 1 2 3", "test": "4 5 6 7"},
        "test": packed,
        "val": packed,
    }


def test_claims_by_hand() -> None:
    whole, none = [[1, 1, 1, 1]], [[0, 0, 0, 0], [1, 0, 0, 0]]
    rows = [row(PLAIN, {"all": whole, "half": none}, fill=fill) for fill in ("zero", "mean")]
    rows.append(row(PLAIN, {"all": whole, "half": [[1, 1, 0, 0], [0, 0, 0, 0]]}, fill="present_mean"))
    assert band_claims.best_frozen(rows) == "present_mean"
    ours = {"all": [[1, 1, 1, 0]], "half": [[1, 1, 1, 0], [1, 1, 0, 1]]}
    rows += [row("completion", ours, batch_norm="own"), row("zero", {"all": whole, "half": none}, batch_norm="own")]
    assert band_claims.best_method(rows) == "completion"
    found = {claim["id"]: claim for claim in band_claims.claims(rows)}
    assert found["half_bands_loss_ratio"]["value"] == pytest.approx((1 - 6 / 8) / (1 - 2 / 8))
    assert found["half_bands_loss_ratio"]["holds"]
    # one of four tiles is lost: its interval over tiles reaches from −75 points to none
    assert found["all_bands_low_points"]["value"] == pytest.approx(-75)
    assert not found["all_bands_low_points"]["holds"]


def test_two_sources_claim_is_paired_by_tile() -> None:
    both, alone = {"b": [[1, 1, 1, 0]]}, {"b": [[1, 1, 0, 0]]}
    rows = [row("A+B: completion", both, data="two sources"), row("B: completion", alone, data="two sources")]
    (same, tuned) = band_claims.claims(rows)
    assert (same["id"], tuned["id"]) == ("two_sources_gain_low_points", "two_sources_tuned_gain_low_points")
    assert same["value"] == tuned["value"] == 0.0
    assert band_claims.paired(rows[:1], rows[1:], "b") == pytest.approx((25.0, 0.0, 75.0))


@pytest.mark.parametrize("name", METHODS)
def test_recipes_are_valid_and_differ_in_the_method_alone(name: str) -> None:
    found = recipe_of(METHODS[name], images=140, passes=21_000)
    check_values(found)
    plain = recipe_of(METHODS[PLAIN], images=140, passes=21_000)
    passes = found.train.epochs * 140 * (1 + METHODS[name].sandwich)
    assert passes == pytest.approx(21_000 * METHODS[name].budget, rel=0.02)
    same = ("batch_size", "optimizer", "weight_decay", "label_smoothing", "crop_padding", "flip", "monitor", "schedule")
    assert all(getattr(found.train, key) == getattr(plain.train, key) for key in same)


def test_sources_see_their_own_bands_and_share_no_tile(real_data: RealData) -> None:
    whole = load_eurosat(real_data("eurosat-ms-mini.zip"), 8)
    place = folds(whole.labels, count=5, seed=1, val_share=0.5)[2]
    data = two_sources(whole, place, 1, both=True)
    a, b = (data.sources[name]["train"] for name in "ab")
    assert set(data.source("a").channels.names) == set(SOURCE_A)
    assert data.source("b").channels.names == SOURCE_B
    assert not set(a.names) & set(b.names)
    assert set(a.names) | set(b.names) <= set(map(str, place["train"]))
    assert (len(a), len(b)) == (70, 10)
    alone = two_sources(whole, place, 1, both=False)
    assert alone.channels.names == tuple(name for name in whole.channels.names if name in SOURCE_B)
    np.testing.assert_array_equal(alone.sources["b"]["test"].images, data.sources["b"]["test"].images)


def test_removed_background_is_dark(real_data: RealData) -> None:
    given, removed = (load_cells(real_data("cell-cycle.npz"), background=flag) for flag in (True, False))
    assert given.images.shape == removed.images.shape == (3306, 40, 40, 3)
    assert np.median(removed.images[:, 0]) == 0
    assert (removed.images <= given.images).all()
    assert set(subset_groups(given)["half"]) == {("Ch3", "Ch4"), ("Ch3", "Ch6"), ("Ch4", "Ch6")}


@pytest.mark.parametrize(
    "method", ["eurosat: completion", "two sources: A+B: completion", "two sources: B: completion"]
)
def test_one_step_of_a_training(real_data: RealData, method: str) -> None:
    folder = real_data("eurosat-ms-mini.zip").parent
    data, _, name = method.partition(": ")
    (found,) = bands.run_job(Job(data, name, 0, 0), SCALES["cpu"], str(folder), steps=1)
    json.dumps(found)
    assert len(found["images"]["test"].split()) == 40
    for split in ("val", "test"):
        for packed in found[split].values():
            assert packed["n"] == len(found["images"][split].split())
