import json
from pathlib import Path

import pytest
from PIL import Image

from anychan.evaluation.run import load_run
from anychan.report.finish import finish_run
from anychan.training.run_folder import RunFolder


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
