import json
from pathlib import Path

import pytest
from PIL import Image

from anychan.data.dataset import load_data
from anychan.evaluation.run import load_run
from anychan.report.finish import finish_run
from anychan.training.fit import fit
from anychan.training.run_folder import RunFolder
from tests.runs import small_recipe


def test_a_run_ends_with_curves_and_one_test(run_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, data = load_run(run_copy)
    found = finish_run(RunFolder(run_copy), model, data, 2)
    test = found["test"]
    assert test["channels"] == ["R", "G", "B"]
    assert test["n"] == len(data.splits["test"]) == 6
    assert test["low"] <= test["accuracy"] <= test["high"]
    assert json.loads(json.dumps(found)) == found
    assert f"test accuracy {100 * test['accuracy']:.1f} %" in capsys.readouterr().out
    with Image.open(run_copy / "curves.png") as picture:
        assert len(picture.convert("RGB").getcolors(2**24) or []) > 10


def test_a_run_on_fixed_channels_is_tested_on_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = fit(small_recipe(epochs=2, channels=["B", "R"]), tmp_path, finish=finish_run)
    result = json.loads((tmp_path / "run.json").read_text())
    test = result["test"]
    assert test["channels"] == ["R", "B"]  # in the data's order
    images = load_data(small_recipe().data, seed=0).splits["test"]
    right = model.select("R,B")(images.tensor.permute(0, 3, 1, 2)[:, [0, 2]]).argmax(1) == images.labels
    assert (test["n"], test["accuracy"]) == (6, pytest.approx(float(right.float().mean())))
    assert capsys.readouterr().out.endswith(f"), n = 6, channels R+B, epoch {result['best_epoch'] + 1}\n")
