"""Train and evaluate by the installed command, on real files."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from tests.runs import RGB_SPLIT, ROOT, S2_TILES, options_of, read_metrics, run_anychan, small_recipe


def succeed(*arguments: object) -> str:
    """Standard output of a command that must succeed."""
    code, out, err = run_anychan(*arguments)
    assert code == 0, err
    assert "Traceback" not in err
    assert "Warning" not in err
    return out


def evaluated(*arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(succeed("evaluate", *arguments, "--json"))
    return found


def accuracies(report: dict[str, Any]) -> dict[str, float]:
    return {"+".join(row["channels"]): row["accuracy"] for row in report["subsets"]}


def check_picture(path: Path) -> None:
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert len(image.convert("RGB").getcolors(1 << 20) or []) > 20


def test_photographs_from_files_to_report(tmp_path: Path) -> None:
    recipe = small_recipe(epochs=8, channel_sampling="uniform", stem="completion", crop_padding=1, flip=True)
    out = succeed("train", *options_of(recipe), "--out", tmp_path / "run")
    test = json.loads((tmp_path / "run" / "run.json").read_text())["test"]
    assert f"test accuracy {100 * test['accuracy']:.1f} %" in out
    assert test["accuracy"] >= 5 / 6  # chance is 1/3
    shared, own = evaluated(tmp_path / "run"), evaluated(tmp_path / "run", "--batch-norm", "own")
    assert list(accuracies(shared)) == ["R+G+B", "R+G", "R+B", "G+B", "R", "G", "B"]
    assert accuracies(shared)["R+G+B"] == test["accuracy"]
    assert own["batch_norm"] == "own"
    assert sum(accuracies(own).values()) / 7 > 0.5
    for name in ("curves.png", "subsets.png"):
        check_picture(tmp_path / "run" / name)


def test_tiles_from_folders_to_report(tmp_path: Path) -> None:
    data = ["--data.path", S2_TILES, "--data.size", 12, "--model.name", "resnet8", "--model.stem", "completion"]
    train = [
        "--train.epochs",
        12,
        "--train.batch_size",
        4,
        "--train.lr",
        0.05,
        "--train.channel_sampling",
        "uniform_size",
    ]
    succeed("train", *data, *train, "--out", tmp_path / "run")
    found = evaluated(tmp_path / "run", "--batch-norm", "own", "--split", "val")
    assert found["possible_subsets"] == 15
    assert len(found["subsets"]) == 15
    assert accuracies(found)["B02+B03+B04+B08"] == 1.0  # forest lies above its band's mean and water below
    chosen = evaluated(tmp_path / "run", "--channels", "B8,green")
    assert list(accuracies(chosen)) == ["B03+B08"]
    profile = json.loads(succeed("profile", tmp_path / "run", "--channels", "B04", "--json"))
    assert profile["input_shape"] == [1, 1, 12, 12]


def test_quickstart_recipe_for_one_epoch(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    """Ten classes of real photographs, some of them grey; chance is 10 %."""
    path = real_data("tiny-imagenet-50.zip")
    started = time.monotonic()
    recipe = ROOT / "recipes" / "quickstart.yaml"
    options = ["--data.path", path, "--train.epochs", 1, "--train.warmup_epochs", 0]
    succeed("train", "--config", recipe, *options, "--out", tmp_path / "run")
    (row,) = read_metrics(tmp_path / "run")
    assert row["val_accuracy"] > 0.14  # 500 images: four standard errors above chance
    result = json.loads((tmp_path / "run" / "run.json").read_text())
    assert result["images"] == {"train": 4500, "val": 500, "test": 500}
    assert time.monotonic() - started < 120


def test_rgb_fixture_is_what_the_tests_think() -> None:
    assert len((RGB_SPLIT / "train.txt").read_text().splitlines()) == 12
