import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from anychan import __version__
from anychan.cli import main
from anychan.errors import ConfigError, DataError
from anychan.models.catalog import CATALOG
from anychan.recipe import Recipe
from tests.runs import RGB_SPLIT, options_of, read_metrics, small_recipe

VERBS = ["train", "evaluate", "compare", "profile", "models", "demo"]
SEVEN = ["R+G+B", "R+G", "R+B", "G+B", "R", "G", "B"]


class Command:
    """Runs the command line in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        self.capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = self.capsys.readouterr()
        return code, out, err

    def json(self, *arguments: object) -> Any:
        code, out, err = self(*arguments)
        assert code == 0, err
        assert len(out.splitlines()) == 1
        return json.loads(out)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@pytest.mark.parametrize("arguments", [["--help"], *([verb, "--help"] for verb in VERBS)], ids=" ".join)
def test_help_is_complete_and_light(arguments: list[str]) -> None:
    code = (
        "import atexit, sys; from anychan.cli import main\n"
        "heavy = ('torch', 'pytorch_lightning', 'matplotlib', 'tifffile', 'PIL')\n"
        "atexit.register(lambda: print('loaded', [name for name in heavy if name in sys.modules]))\n"
        f"main({arguments!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded []"
    assert done.stdout.startswith("usage: anychan")
    if arguments == ["--help"]:
        assert all(f"\n    {verb} " in done.stdout for verb in VERBS)


def test_every_recipe_key_is_an_option_with_help(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        command("train", "--help")
    assert left.value.code == 0
    text = capsys.readouterr().out
    for section, entries in Recipe().to_dict().items():
        if isinstance(entries, dict):
            for key in entries:
                (line, *rest) = text.split(f"  --{section}.{key} ")[1].splitlines()
                assert "(type: " in " ".join([line, *rest[:6]]), key
    assert "what to do with grey photographs" in re.sub(r"\s+", " ", text)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out == f"anychan {__version__}\n"


def test_models_are_the_catalogue(command: Command) -> None:
    rows = command.json("models", "--json")
    assert [row["name"] for row in rows] == list(CATALOG)
    for row in rows:
        spec = CATALOG[row["name"]]
        assert type(row["params"]) is type(row["macs"]) is int
        assert row["macs"] > row["params"] > 0
        assert row["input_shape"] == [1, 3, spec.size, spec.size]
        assert row["num_classes"] == spec.num_classes
    code, out, _ = command("models")
    assert code == 0
    assert all(name in out for name in CATALOG)


def test_profile_of_the_catalogue(command: Command) -> None:
    found = command.json("profile", "baseline_cnn", "--json")
    listed = next(row for row in command.json("models", "--json") if row["name"] == "baseline_cnn")
    assert {key: found[key] for key in ("name", "params", "macs", "input_shape")} == {
        key: listed[key] for key in ("name", "params", "macs", "input_shape")
    }
    assert found["channels"] == ["R", "G", "B"]
    other = command.json(
        *("profile", "baseline_cnn", "--json", "--size", 8, "--num-classes", 7, "--channels", "sentinel2:B02,DNA")
    )
    assert other["channels"] == ["B02", "DNA"]
    assert other["input_shape"] == [1, 2, 8, 8]
    # two 3×3 convolutions with batch norms, and a linear layer, by hand
    assert other["params"] == (2 * 9 * 32 + 32) + 64 + (32 * 9 * 64 + 64) + 128 + (64 * 7 + 7)
    entries = [
        command.json("profile", "resnet18", "--json", "--options", f'{{"entry": "{e}"}}') for e in ("3x3", "7x7")
    ]
    assert entries[0]["macs"] != entries[1]["macs"]
    code, out, _ = command("profile", "baseline_cnn")
    assert code == 0
    assert f"{found['params']:,}" in out


def test_profile_of_a_saved_model(command: Command, finished_run: Path) -> None:
    whole = command.json("profile", finished_run, "--json")
    part = command.json("profile", finished_run, "--json", "--channels", "B")
    assert (whole["name"], whole["input_shape"]) == ("baseline_cnn", [1, 3, 16, 16])
    assert (part["channels"], part["input_shape"]) == (["B"], [1, 1, 16, 16])
    # zero fill has an offset: B and a map of ones in place of three channels, and 32 × 3 × 9 for the kernel over it
    assert whole["macs"] - part["macs"] == 16 * 16 * 32 * 9 - 32 * 3 * 9


def test_printed_config_is_accepted(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        command("train", *options_of(small_recipe(epochs=1)), "--out", tmp_path / "printed", "--print_config")
    assert left.value.code == 0
    (tmp_path / "recipe.yaml").write_text(capsys.readouterr().out)
    code, _, err = command("train", "--config", tmp_path / "recipe.yaml", "--out", tmp_path / "run")
    assert code == 0, err
    assert Recipe.load(tmp_path / "run" / "recipe.yaml") == small_recipe(epochs=1)


def test_config_is_printed_as_yaml(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = small_recipe(epochs=7, flip=True, seed=4)
    with pytest.raises(SystemExit):
        command("train", *options_of(recipe), "--out", tmp_path / "run", "--print_config")
    values = yaml.safe_load(capsys.readouterr().out)
    values.pop("out", None)
    assert Recipe.from_dict(values) == recipe
    assert list(tmp_path.iterdir()) == []


def test_options_after_a_recipe_win(command: Command, tmp_path: Path) -> None:
    recipe = small_recipe(epochs=5, label_smoothing=0.2)
    recipe.save(tmp_path / "recipe.yaml")
    before, after = ["--train.lr", 0.5], ["--train.epochs", 1, "--seed", 3, "--model.options", "{}"]
    code, _, err = command("train", *before, "--config", tmp_path / "recipe.yaml", *after, "--out", tmp_path / "run")
    assert code == 0, err
    found = Recipe.load(tmp_path / "run" / "recipe.yaml")
    assert found == small_recipe(epochs=1, label_smoothing=0.2, seed=3)


def test_train_writes_and_tells_the_test_accuracy(command: Command, tmp_path: Path) -> None:
    code, out, err = command("train", *options_of(small_recipe(epochs=2)), "--out", tmp_path / "run")
    assert code == 0
    result = json.loads((tmp_path / "run" / "run.json").read_text())
    test = result["test"]
    assert (test["channels"], test["n"]) == (["R", "G", "B"], 6)
    assert out.splitlines()[0].startswith(f"test accuracy {100 * test['accuracy']:.1f} % (")
    assert out.splitlines()[0].endswith(f"n = 6, all channels, epoch {result['best_epoch'] + 1}")
    assert out.splitlines()[1].endswith(f"next: anychan evaluate {tmp_path}/run")
    assert (tmp_path / "run" / "curves.png").stat().st_size > 5000
    assert len(err.splitlines()) == 1 + len(read_metrics(tmp_path / "run"))


def test_evaluate_prints_one_json_object(command: Command, run_copy: Path) -> None:
    found = command.json("evaluate", run_copy, "--json")
    assert [" + ".join(row["channels"]).replace(" ", "") for row in found["subsets"]] == SEVEN
    for row in found["subsets"]:
        assert sorted(row) == ["accuracy", "calibration_error", "channels", "high", "low", "n", "p_value"]
        assert 0 <= row["low"] <= row["accuracy"] <= row["high"] <= 1
        assert row["n"] == 6
    assert {key: found[key] for key in ("model", "stem", "split", "batch_norm", "possible_subsets")} == {
        "model": "baseline_cnn",
        "stem": "zero",
        "split": "test",
        "batch_norm": "shared",
        "possible_subsets": 7,
    }
    assert json.loads((run_copy / "subsets.json").read_text()) == found
    lines = (run_copy / "subsets.csv").read_text().splitlines()
    assert lines[0] == "channels,accuracy,low,high,n,p_value,calibration_error"
    assert [line.split(",")[0] for line in lines[1:]] == SEVEN
    assert (run_copy / "subsets.png").stat().st_size > 5000
    assert [row["channel"] for row in found["shapley"]["channels"]] == ["R", "G", "B"]
    assert found["violations"]["pairs"] == 9
    assert found["smallest_sensor"]["cost_of_all"] == 3


def test_evaluate_draws_a_table(command: Command, run_copy: Path) -> None:
    code, out, _ = command("evaluate", run_copy, "--batch-norm", "own")
    assert code == 0
    assert "own batch-norm" in out
    assert all(name in out for name in SEVEN)
    assert "of 7 subsets" not in out
    _, out, _ = command("evaluate", run_copy, "--channels", "R")
    assert out.splitlines()[-1] == "1 of 7 subsets; --all-subsets or --channels for others"


def test_evaluate_takes_the_subsets_asked_for(command: Command, run_copy: Path) -> None:
    found = command.json("evaluate", run_copy, "--json", "--channels", "B,R", "--channels", "green", "--split", "val")
    assert [row["channels"] for row in found["subsets"]] == [["R", "B"], ["G"]]
    assert found["split"] == "val"
    everything = command.json("evaluate", run_copy, "--json", "--all-subsets")
    assert len(everything["subsets"]) == 7


def test_each_kind_of_report_has_files_of_its_own(command: Command, run_copy: Path) -> None:
    before = {path.name for path in run_copy.iterdir()}
    for options in (
        [],
        ["--split", "val"],
        ["--batch-norm", "own"],
        ["--batch-norm", "own", "--split", "val"],
        ["--channel-drop", "0.5"],
        ["--channels", "R"],
    ):
        assert command("evaluate", run_copy, *options)[0] == 0
    names = ["subsets", "subsets-val", "subsets-own", "subsets-own-val", "channel-drop"]
    expected = {f"{name}.{suffix}" for name in names for suffix in ("json", "csv", "png")}
    expected |= {"subsets-front.png", "subsets-own-front.png"}
    assert {path.name for path in run_copy.iterdir()} - before == expected
    for name in names:
        found = json.loads((run_copy / f"{name}.json").read_text())
        assert (found["split"] == "val", found["batch_norm"] == "own") == ("val" in name, "own" in name)


def test_evaluate_with_channel_drop(command: Command, run_copy: Path) -> None:
    found = command.json("evaluate", run_copy, "--json", "--channel-drop", "0.5")
    assert found["channel_drop"] == 0.5
    assert [row["channels"] for row in found["subsets"]] == [["R", "G", "B"]]


def test_evaluate_finds_data_that_moved(command: Command, run_copy: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(RGB_SPLIT, tmp_path / "moved")
    recipe = run_copy / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace(str(RGB_SPLIT), "/gone"))
    assert command("evaluate", run_copy)[0] == 2
    assert len(command.json("evaluate", run_copy, "--json", "--data.path", moved)["subsets"]) == 7


def test_evaluate_chooses_the_smallest_sensor_by_costs(command: Command, run_copy: Path) -> None:
    options = ("--within", 1, "--costs", '{"red": 3, "G": 2, "rgb:B": 2.5}')
    found = command.json("evaluate", run_copy, "--json", *options)["smallest_sensor"]
    assert (found["channels"], found["cost"], found["cost_of_all"], found["within"]) == (["G"], 2, 7.5, 1)


def test_debug_raises(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no model is called 'resnet7'"):
        main(["profile", "resnet7", "--debug"])
    with pytest.raises(DataError, match="no data was named"):
        main(["--debug", "train", "--out", str(tmp_path / "run")])


def test_interruption_has_its_own_code(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("anychan.profiling.macs.catalog_profiles", interrupt)
    assert command("models") == (130, "", "anychan: interrupted\n")
