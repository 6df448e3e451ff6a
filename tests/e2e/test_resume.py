"""A run that is killed and started again by the same command ends as one that never stopped, to the bit."""

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from anychan.cli import main
from anychan.recipe import Recipe
from tests.runs import options_of, read_metrics, run_anychan, small_recipe, start_anychan

RECIPES = {
    "cosine": small_recipe(
        epochs=60,
        batch_size=4,
        crop_padding=2,
        flip=True,
        channel_sampling="uniform",
        warmup_epochs=3,
        channel_drop=0.2,
        freeze=["body.1"],  # a batch norm, whose statistics stay too
        layer_lr_decay=0.7,
        mixup=0.3,
        progressive_sizes=[8, 16, 12],
        ema=0.95,
    ),
    # best at epoch 36, stopped after 46
    "early stopping": small_recipe(
        epochs=400,
        optimizer="adam",
        lr=0.0003,
        schedule="none",
        weight_decay=0,
        label_smoothing=0.2,
        monitor="val_loss",
        patience=10,
        channel_sampling="uniform",
        flip=True,
    ),
}
TIMES = ("seconds", "images_per_second")


def start(recipe: Recipe, out: Path) -> subprocess.Popen[str]:
    return start_anychan("train", *options_of(recipe), "--out", out)


def stop(process: subprocess.Popen[str], run: Path, *, rows: int, by: signal.Signals) -> tuple[int, str]:
    """Wait for so many rows of metrics.csv, send the signal, give exit code and standard error."""
    deadline = time.monotonic() + 120
    try:
        while not (run / "metrics.csv").exists() or len(read_metrics(run)) < rows:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, "no rows after two minutes"
            time.sleep(0.002)
        process.send_signal(by)
        return process.wait(timeout=60), process.communicate()[1]
    finally:
        process.kill()
        process.wait()


def without_times(run: Path) -> list[dict[str, float]]:
    return [{key: value for key, value in row.items() if key not in TIMES} for row in read_metrics(run)]


@pytest.mark.parametrize(("name", "rows"), [("cosine", 2), ("early stopping", 30)])
def test_killed_run_goes_on_to_the_same_bits(name: str, rows: int, tmp_path: Path) -> None:
    recipe, whole, killed = RECIPES[name], tmp_path / "whole", tmp_path / "killed"
    code, _ = stop(start(recipe, killed), killed, rows=rows, by=signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert not (killed / "run.json").exists()
    assert main(["train", *options_of(recipe), "--out", str(whole)]) == 0
    done = len(read_metrics(killed))
    assert rows <= done < len(read_metrics(whole))

    code, out, err = run_anychan("train", *options_of(recipe), "--out", killed)
    assert code == 0, err
    assert "going on with" in err
    assert "test accuracy" in out
    assert f"epoch {done - 1:>3}/" not in err  # not done again; the last row alone may have lacked its checkpoint
    assert (killed / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert (killed / "contract.json").read_bytes() == (whole / "contract.json").read_bytes()
    assert without_times(killed) == without_times(whole)
    assert [row["epoch"] for row in read_metrics(killed)] == list(range(len(read_metrics(whole))))
    results = [json.loads((run / "run.json").read_text()) for run in (whole, killed)]
    for key in ("best_epoch", "epochs", "val_accuracy", "test", "images"):
        assert results[0][key] == results[1][key]
    if name == "early stopping":
        assert results[0]["epochs"] == results[0]["best_epoch"] + 1 + 10 < 400
    assert not list(killed.rglob("*.partial"))


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_says_how_to_go_on(by: signal.Signals, tmp_path: Path) -> None:
    code, err = stop(start(small_recipe(epochs=3000), tmp_path / "run"), tmp_path / "run", rows=2, by=by)
    assert code == 2
    message = "training was interrupted; the same command goes on from its last checkpoint"
    assert err.splitlines()[-1] == f"anychan: {tmp_path}/run: {message}"
    assert "Traceback" not in err
    assert not (tmp_path / "run" / "run.json").exists()
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()
