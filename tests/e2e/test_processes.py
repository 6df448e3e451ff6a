"""Two real processes under `torchrun` train what one process trains, and survive that one of them is killed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from anychan.cli import main
from anychan.recipe import Recipe
from anychan.training.processes import GO_ON
from tests.runs import RGB_SPLIT, ROOT, options_of, read_metrics, small_recipe

CHOSEN = small_recipe(
    epochs=4,
    channel_sampling="uniform",
    sandwich=3,
    distill=0.5,
    cutmix=0.4,
    mixup=0.3,
    flip=True,
    crop_padding=2,
    class_weights="balanced",
    label_smoothing=0.1,
    ema=0.9,
    weight_decay=0.01,
)
# a stem whose guesses get no gradient where no channel is absent
EXPANDED = small_recipe(epochs=3, stem="expansion", channel_sampling="uniform", optimizer="adam")


def start(recipe: Recipe, out: Path, *, processes: int = 2) -> subprocess.Popen[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [*launcher, "-m", "anychan", "train", *options_of(recipe), "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment, cwd=ROOT)


def run(recipe: Recipe, out: Path, *, processes: int = 2) -> tuple[int, str, str]:
    process = start(recipe, out, processes=processes)
    try:
        found, errors = process.communicate(timeout=300)
    finally:
        process.terminate()
        process.wait()
    return process.returncode, found, errors


def workers(process: subprocess.Popen[str]) -> list[int]:
    """Process ids, in the order of their ranks."""
    return sorted(map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()))


def losses(folder: Path) -> torch.Tensor:
    """(epochs, 4)"""
    names = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
    return torch.tensor([[row[name] for name in names] for row in read_metrics(folder)])


def assert_same(one: Path, two: Path) -> None:
    """Rounding differs, because sums are in another order: by 1e-4 of a loss, and 1e-3 of a weight, at most."""
    torch.testing.assert_close(losses(two), losses(one), rtol=1e-4, atol=1e-4)
    expected, found = load_file(one / "model.safetensors"), load_file(two / "model.safetensors")
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("recipe", [CHOSEN, EXPANDED], ids=["much of all", "stem used in part"])
def test_two_processes_train_what_one_trains(recipe: Recipe, tmp_path: Path) -> None:
    assert main(["train", *options_of(recipe), "--out", str(tmp_path / "one")]) == 0
    code, out, errors = run(recipe, tmp_path / "two")
    assert code == 0, errors
    assert out.count("the run is in") == 1
    assert len(re.findall(r"^epoch ", errors, re.MULTILINE)) == recipe.train.epochs
    if recipe is CHOSEN:  # for others PyTorch warns where a first step happens to use all parameters
        assert not re.search(r"\w+Warning: |^\[rank", errors, re.MULTILINE)
    assert_same(tmp_path / "one", tmp_path / "two")
    made = [json.loads((tmp_path / name / "run.json").read_text()) for name in ("one", "two")]
    assert [facts["processes"] for facts in made] == [1, 2]
    assert made[0]["test"]["accuracy"] == made[1]["test"]["accuracy"]


def told(errors: str) -> list[str]:
    return [line for line in errors.splitlines() if line.startswith("anychan: ")]


def stop(recipe: Recipe, out: Path, how: Callable[[subprocess.Popen[str]], None]) -> str:
    """Start a run, stop it when it has three epochs; standard error."""
    process = start(recipe, out)
    try:
        deadline = time.monotonic() + 100
        while not (out / "metrics.csv").exists() or len(read_metrics(out)) < 3:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, "no rows"
            time.sleep(0.01)
        how(process)
        errors = process.communicate(timeout=60)[1]
    finally:
        process.terminate()
        process.wait()
    assert process.returncode != 0
    assert not (out / "run.json").exists()
    return errors


@pytest.mark.parametrize("killed", [0, 1])
def test_killed_process_ends_the_run_which_goes_on_by_the_same_command(killed: int, tmp_path: Path) -> None:
    recipe = small_recipe(epochs=30, batch_size=3, channel_sampling="uniform", ema=0.9, checkpoint_seconds=0)
    out = tmp_path / "killed"
    errors = stop(recipe, out, lambda process: os.kill(workers(process)[killed], signal.SIGKILL))
    (sentence,) = told(errors)  # or, of a process that is ended while it writes, that the training was interrupted
    assert sentence.startswith(f"anychan: {out}: ")
    assert sentence.endswith(GO_ON)
    done = len(read_metrics(out))
    assert 3 <= done < 30

    code, _, errors = run(recipe, out)
    assert code == 0, errors
    assert "going on with" in errors
    assert run(recipe, tmp_path / "whole")[0] == 0
    assert losses(out).equal(losses(tmp_path / "whole"))
    assert (out / "model.safetensors").read_bytes() == (tmp_path / "whole" / "model.safetensors").read_bytes()


def test_interrupted_run_says_so_once(tmp_path: Path) -> None:
    errors = stop(small_recipe(epochs=300), tmp_path / "run", lambda process: process.send_signal(signal.SIGTERM))
    assert len(told(errors)) == 1
    assert told(errors)[0].endswith(GO_ON)


def test_command_of_the_docs(tmp_path: Path) -> None:
    """As it stands, but for the data (three classes of drawings) and one epoch; Slurm, where it is, does not matter."""
    page = (ROOT / "docs" / "distributed.md").read_text()
    (line,) = re.findall(r"^torchrun --standalone .*", page, re.MULTILINE)
    program, *words = line.replace("path/to/data", str(RGB_SPLIT)).replace("runs/", f"{tmp_path}/").split()
    small = ["--data.num_classes", "3", "--train.epochs", "1", "--train.warmup_epochs", "0", "--train.batch_size", "6"]
    slurm = {"SLURM_NTASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_NODEID": "0", "SLURM_JOB_NAME": "x"}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **slurm}
    command = [str(Path(sys.executable).with_name(program)), *words, *small]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "two" / "run.json").read_text())["processes"] == 2


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"data_path": "absent"}, "absent: there is no such folder or zip; give --data.path"),
        ({"lr": -1.0}, "train.lr is -1.0, but it must be above 0"),  # before they have met
    ],
    ids=["data", "option"],
)
def test_error_of_all_processes_is_told_once(change: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    path = str(tmp_path / "absent") if "data_path" in change else RGB_SPLIT
    recipe = small_recipe(path, **{name: value for name, value in change.items() if name != "data_path"})
    code, out, errors = run(recipe, tmp_path / "run")
    assert code != 0
    (line,) = told(errors)
    assert line.endswith(sentence)
    assert out == ""
    assert not (tmp_path / "run").exists()


def test_batch_of_fewer_images_than_processes(tmp_path: Path) -> None:
    code, _, errors = run(small_recipe(batch_size=10), tmp_path / "run", processes=3)
    assert code != 0
    assert errors.count("an epoch has a batch of 2 images, but there are 3 processes, which each need one") == 1
    assert not (tmp_path / "run").exists()
