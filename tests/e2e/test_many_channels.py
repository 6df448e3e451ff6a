"""Many channels by real commands: a greedy search, Shapley values from random orders, and what they go on from."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anychan.cli import main
from tests.command import Command
from tests.runs import run_anychan, tiff, write_tree
from tests.sensors import write_sensor


def train(data: Path, out: Path, *more: object) -> Path:
    options = ["--data.path", data, "--data.size", 8, "--data.val_fraction", 0.25, "--data.test_fraction", 0.25]
    options += ["--train.epochs", 2, "--train.batch_size", 4, "--train.lr", 0.02, "--train.precision", "float32"]
    assert main(["train", *map(str, [*options, *more]), "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on eight channels."""
    folder = tmp_path_factory.mktemp("eight")
    data = write_sensor(folder / "data", [f"b{number}" for number in range(1, 9)])
    return train(data, folder / "run", "--train.channel_sampling", "uniform")


@pytest.fixture(scope="module")
def exact(eight: Path) -> Any:
    assert main(["evaluate", str(eight), "--all-subsets", "--json"]) == 0
    return json.loads((eight / "subsets.json").read_text())


def test_sampled_shapley_values_agree_with_the_exact_ones(command: Command, eight: Path, exact: Any) -> None:
    found = command.json("evaluate", eight, "--shapley", 40, "--sample", 0, "--json")
    worth, true = found["shapley"], exact["shapley"]
    assert (worth["orders"], true["orders"]) == (40, None)
    assert (worth["none"], worth["all"]) == (true["none"], true["all"])
    assert sum(row["value"] for row in worth["channels"]) == pytest.approx(worth["all"] - worth["none"])
    for ours, theirs in zip(worth["channels"], true["channels"], strict=True):
        assert ours["channel"] == theirs["channel"]
        assert theirs["order_standard_error"] is None
        # 2.6 standard errors of the draw hold 99 %; 1e-12 where a channel never changes anything
        assert abs(ours["value"] - theirs["value"]) <= 2.6 * ours["order_standard_error"] + 1e-12
    assert len(found["subsets"]) < 255
    assert found["shapley_reason"] is None
    assert not list(eight.glob("*.npz"))


def test_a_greedy_search_joins_the_report(command: Command, eight: Path, exact: Any) -> None:
    code, out, err = command("evaluate", eight, "--search", "greedy", "--search-up-to", 3)
    assert code == 0, err
    looked_at = 8 + 7 + 6
    assert f"greedy search: {looked_at} subsets of up to 3 channels were looked at on 4 validation images" in out
    found = json.loads((eight / "subsets.json").read_text())
    search = found["search"]
    assert search["subsets_looked_at"] == looked_at
    path = [set(step["channels"]) for step in search["steps"]]
    assert [len(names) for names in path] == [1, 2, 3]
    rows = [set(row["channels"]) for row in found["subsets"]]
    assert all(names in rows for names in path)
    assert len(rows) == 1 + 8 + 8 + 2  # the default ones and two more; nothing at random
    assert found["sample"] is None
    table = {frozenset(row["channels"]): row["accuracy"] for row in exact["subsets"]}
    for names, row in zip(rows, found["subsets"], strict=True):
        assert row["accuracy"] == table[frozenset(names)]
    front = [set(point["channels"]) for point in found["smallest_sensor"]["front"]]
    assert all(names in rows for names in front)
    assert not list(eight.glob("*.npz"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shapley", 1], "--shapley is 1, but it must be 2 or more random orders"),
        (["--search", "greedy", "--search-up-to", 9], "--search-up-to is 9, but there are 8 channels"),
        (["--search", "best"], "search is best, but it must be one of 'sampled', 'greedy'"),
    ],
)
def test_bad_options_are_one_sentence(command: Command, eight: Path, options: list[object], message: str) -> None:
    code, out, err = command("evaluate", eight, *options)
    assert (code, out) == (2, "")
    assert err == f"anychan: {message}\n"


@pytest.mark.slow
def test_156_bands_have_all_of_it(tmp_path: Path) -> None:
    """Default subsets, 64 at random, a search and two orders: sentences and lines of a bearable length."""
    rng = np.random.default_rng(0)
    bands = [f"{{name: b{number:03d}, sensor: hyper, wavelength_nm: {401 + 3 * number}}}" for number in range(156)]
    files: dict[str, bytes | str] = {"channels.yaml": "channels: [" + ", ".join(bands) + "]\n"}
    for label in ("dark", "light"):
        for number in range(8):
            pixels = rng.integers(0, 100, (8, 8, 156), dtype=np.uint8) + np.uint8(100 if label == "light" else 0)
            files[f"{label}/{number}.tif"] = tiff(pixels, planarconfig="contig")
    run = train(write_tree(tmp_path / "data", files), tmp_path / "run", "--model.stem", "wavelength")
    more = ["--search", "greedy", "--search-up-to", 2, "--sample", 64, "--shapley", 2]
    code, out, err = run_anychan("evaluate", run, *more)
    assert code == 0, err
    assert max(map(len, out.splitlines())) < 300
    assert len(out.splitlines()) < 120
    found = json.loads((run / "subsets.json").read_text())
    assert found["possible_subsets"] == 2**156 - 1
    assert found["sample"]["n"] == 64
    assert len(found["shapley"]["channels"]) == 156
    assert found["search"]["subsets_looked_at"] == 156 + 155
    assert len((run / "subsets.csv").read_text().splitlines()) == len(found["subsets"]) + 1 > 600
    code, _, err = run_anychan("evaluate", run, "--all-subsets")
    assert code == 2
    assert err.startswith("anychan: 156 channels have 2^156 - 1 subsets, which are too many to evaluate all; --sample")
