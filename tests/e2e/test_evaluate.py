"""An evaluation that is killed goes on where it was, and ends as one that never stopped."""

import json
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from anychan.channels import Channel
from anychan.cli import main
from tests.runs import ROOT, run_anychan, start_anychan, tiff, write_tree

CHANNELS = [f"c{number}" for number in range(9)]  # 511 subsets: some seconds


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of one epoch on nine channels."""
    rng = np.random.default_rng(0)
    files: dict[str, bytes | str] = {"channels.yaml": f"channels: [{', '.join(CHANNELS)}]\n"}
    for label in ("dark", "light"):
        for number in range(8):
            pixels = rng.integers(0, 100, (8, 8, 9), dtype=np.uint8) + (100 if label == "light" else 0)
            files[f"{label}/{number}.tif"] = tiff(pixels.astype(np.uint8), planarconfig="contig")
    data = write_tree(tmp_path / "data", files)
    options = ["--data.path", data, "--data.size", 8, "--data.val_fraction", 0.25, "--data.test_fraction", 0.25]
    model = ["--model.name", "resnet8", "--train.epochs", 1, "--train.batch_size", 4]
    assert main(["train", *map(str, [*options, *model]), "--out", str(tmp_path / "run")]) == 0
    assert Channel(CHANNELS[0], "custom").identity == "custom:c0"
    return tmp_path / "run"


def kill_in_the_middle(run: Path, by: signal.Signals = signal.SIGKILL) -> None:
    """Start an evaluation of all subsets, and end it as soon as something was kept."""
    process = start_anychan("evaluate", run, "--all-subsets")
    try:
        deadline = time.monotonic() + 240
        while not (run / "subsets.partial.npz").exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, "nothing was kept after four minutes"
            time.sleep(0.01)
        process.send_signal(by)
        assert process.wait(timeout=60) == (-signal.SIGKILL if by == signal.SIGKILL else 130)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT])
def test_killed_evaluation_goes_on(by: signal.Signals, run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    partial = run / "subsets.partial.npz"
    kill_in_the_middle(run, by)
    assert not (run / "subsets.json").exists()

    code, out, err = run_anychan("evaluate", run, "--all-subsets", "--json")
    assert code == 0, err
    told = re.fullmatch(
        rf"{re.escape(str(partial))}: (\d+) of 511 subsets were evaluated before; going on", err.strip()
    )
    assert told is not None, err
    assert 0 < int(told[1]) < 511
    written = json.loads((run / "subsets.json").read_text())
    assert json.loads(out) == written
    assert not list(run.glob("*.partial*"))

    capfd.readouterr()
    assert main(["evaluate", str(run), "--all-subsets", "--json"]) == 0
    whole, err = capfd.readouterr()
    assert err == ""
    assert json.loads(whole) == written
    assert len(written["subsets"]) == 511
    assert written["violations"]["pairs"] == 9 * 2**8 - 9
    worth = [row["value"] for row in written["shapley"]["channels"]]
    assert sum(worth) == pytest.approx(written["shapley"]["all"] - written["shapley"]["none"], abs=1e-12)


@pytest.mark.slow
def test_all_subsets_of_13_bands_take_five_minutes_at_most(tmp_path: Path) -> None:
    """8,191 subsets of the demo's 60 test images, stopped and started again; on 2 idle cores."""
    demo, run = ROOT / "src" / "anychan" / "demo_data", tmp_path / "run"
    options = ["--data.path", demo / "eurosat-s2-32.zip", "--train.epochs", 1, "--train.warmup_epochs", 0]
    code, _, err = run_anychan("train", "--config", demo / "demo.yaml", *options, "--out", run)
    assert code == 0, err
    started = time.monotonic()
    kill_in_the_middle(run)
    assert main(["evaluate", str(run), "--all-subsets", "--json"]) == 0
    assert time.monotonic() - started < 300
    found = json.loads((run / "subsets.json").read_text())
    assert len(found["subsets"]) == 8191
    assert found["violations"]["pairs"] == 13 * 2**12 - 13
    worth = [row["value"] for row in found["shapley"]["channels"]]
    assert sum(worth) == pytest.approx(found["shapley"]["all"] - found["shapley"]["none"], abs=1e-12)
