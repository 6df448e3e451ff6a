"""From a run to another sensor's classes by the installed command: one band less, one more, other labels."""

import json
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from anychan.cli import main
from tests.command import Command
from tests.runs import read_metrics, run_anychan, start_anychan
from tests.sensors import write_sensor

BANDS = {"b1": 480, "b2": 560, "b3": 660, "b4": 830}
SMALL = ["--data.size", 8, "--data.val_fraction", 0.25, "--data.test_fraction", 0.25, "--train.batch_size", 8]
TRAIN = [*SMALL, "--train.precision", "float32"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shared model of four bands."""
    folder = tmp_path_factory.mktemp("base")
    data = write_sensor(folder / "data", list(BANDS), wavelengths=BANDS)
    network = ["--model.name", "baseline_cnn", "--model.stem", "completion", "--train.epochs", 3]
    for words in (
        ["train", "--data.path", data, *TRAIN, *network, "--out", folder / "run"],
        ["share", folder / "run", "--out", folder / "shared"],
    ):
        assert main([str(word) for word in words]) == 0
    return folder / "shared"


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images without b3 and with b9, and of three classes, one of which the model knows."""
    known = {"b9": 2200, "b4": BANDS["b4"], "b1": BANDS["b1"], "b2": BANDS["b2"]}
    folder = write_sensor(tmp_path_factory.mktemp("other") / "images", list(known), wavelengths=known)
    (folder / "light").rename(folder / "bright")
    (folder / "haze").mkdir()
    for number in range(4):
        (folder / "bright" / f"{number}.tif").rename(folder / "haze" / f"{number}.tif")
    return folder


def test_one_band_less_and_one_more(base: Path, other: Path, tmp_path: Path, command: Command) -> None:
    """With all but the head frozen, the trained model still holds each known band's kernel to the bit."""
    words = ["train", "--data.path", other, *TRAIN, "--model.init_from", base, "--train.epochs", 2]
    code, out, err = command(*words, "--out", tmp_path / "run")
    assert (code, out) == (2, "")
    assert err == (
        "anychan: no weights for b9: they are none of b1, b2, b3, b4 and not between two of them by wavelength; choose "
        "new_channels: 'nearest' (by wavelength), 'zero', or 'random' (drawn anew)\n"
    )
    assert not (tmp_path / "run").exists()
    more = ["--model.new_channels", "nearest", "--train.freeze", "[stem, body]", "--out", tmp_path / "run"]
    code, out, err = run_anychan(*words, *more)
    assert code == 0, err
    assert "test accuracy" in out
    told = err.splitlines()
    assert told[0].startswith("training baseline_cnn on b9+b4+b1+b2, 3 classes, 8x8 pixels: ")
    assert told[1:9] == [
        f"weights of {base} (baseline_cnn, stem completion):",
        "  drone:b9 ← drone:b4  (nearest)",
        "  drone:b4 ← drone:b4  (identity)",
        "  drone:b1 ← drone:b1  (identity)",
        "  drone:b2 ← drone:b2  (identity)",
        "  offset and scale of the new images for drone:b9, as before for the others",
        "  left out, as the images do not have them: drone:b3",
        "  head drawn anew: 3 classes in place of 2, 1 of the same name",
    ]
    before, now = (load_file(folder / "model.safetensors") for folder in (base, tmp_path / "run"))
    assert torch.equal(now["stem.conv.weight"], before["stem.conv.weight"][:, [3, 3, 0, 1]])
    assert all(torch.equal(now[name], value) for name, value in before.items() if name.startswith("body."))
    assert now["head.2.weight"].shape[0] == 3
    contracts = [json.loads((folder / "contract.json").read_text()) for folder in (base, tmp_path / "run")]
    assert contracts[1]["offset"][1:] == [contracts[0]["offset"][place] for place in (3, 0, 1)]
    assert contracts[1]["classes"] == ["bright", "dark", "haze"]
    asked = ["evaluate", tmp_path / "run", "--channels", "b9", "--json"]
    assert command.json(*asked)["untrained"] == ["stem", "body"]
    base.rename(base.with_name("away"))
    try:
        assert command.json(*asked)["untrained"] == []  # there is nothing to compare with
    finally:
        base.with_name("away").rename(base)


@pytest.mark.slow
def test_killed_fine_tuning_goes_on_to_the_same_bits(base: Path, other: Path, tmp_path: Path) -> None:
    """Even where the folder that it began with has gone away and come back."""
    sampled = ["--train.channel_sampling", "uniform", "--train.ema", 0.9, "--train.layer_lr_decay", 0.7]
    begin = ["--model.init_from", base, "--model.new_channels", "random", "--train.epochs", 40, *sampled]
    words = ["train", "--data.path", other, *TRAIN, *begin, "--out"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = start_anychan(*words, killed)
    try:
        deadline = time.monotonic() + 120
        while not (killed / "metrics.csv").exists() or len(read_metrics(killed)) < 2:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, "no rows after two minutes"
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.communicate()
    assert not (killed / "run.json").exists()
    base.rename(base.with_name("away"))
    code, _, err = run_anychan(*words, killed)
    base.with_name("away").rename(base)
    assert code == 2
    assert err == f"anychan: {base}/contract.json: there is no contract here; name the folder of a saved model\n"
    for out in (killed, whole):
        assert main([str(word) for word in (*words, out)]) == 0
    for name in ("model.safetensors", "contract.json", "start.json"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
