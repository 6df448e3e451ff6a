import json
import shutil
from pathlib import Path

from anychan.recipe import Recipe
from tests.command import Command
from tests.runs import RGB_SPLIT, options_of, read_metrics, small_recipe

VERBS = ["train", "evaluate", "compare", "profile", "models", "demo"]
SEVEN = ["R+G+B", "R+G", "R+B", "G+B", "R", "G", "B"]


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


def test_train_takes_one_teacher_or_several(command: Command, finished_run: Path, tmp_path: Path) -> None:
    options = options_of(small_recipe(epochs=1, flip=True))
    for number, teacher in enumerate((finished_run, f"[{finished_run}, {finished_run}]")):
        code, _, err = command("train", *options, "--train.teacher", teacher, "--out", tmp_path / str(number))
        assert code == 0, err
        line = f"taught by baseline_cnn, {finished_run}: {number} of 1 epochs are cached"
        assert err.splitlines().count(line) == 1 + number
    code, out, err = command("train", *options, "--train.teacher", tmp_path / "no", "--out", tmp_path / "run")
    absent = tmp_path / "no" / "contract.json"
    assert (code, out) == (2, "")
    assert err == f"anychan: {absent}: there is no contract here; name the folder of a saved model\n"
    assert not (tmp_path / "run").exists()


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
        ["--flip"],
        ["--channels", "R"],
    ):
        assert command("evaluate", run_copy, *options)[0] == 0
    names = ["subsets", "subsets-val", "subsets-own", "subsets-own-val", "channel-drop", "subsets-flip"]
    expected = {f"{name}.{suffix}" for name in names for suffix in ("json", "csv", "png")}
    expected |= {"subsets-front.png", "subsets-own-front.png", "subsets-flip-front.png"}
    assert {path.name for path in run_copy.iterdir()} - before == expected
    for name in names:
        found = json.loads((run_copy / f"{name}.json").read_text())
        assert (found["split"] == "val", found["batch_norm"] == "own") == ("val" in name, "own" in name)
        assert found["flip"] == ("flip" in name)


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


def test_report_takes_one_run_or_several(command: Command, reported_runs: tuple[Path, Path], tmp_path: Path) -> None:
    one = Path(shutil.copytree(reported_runs[1], tmp_path / "one"))
    (one / "model.safetensors").unlink()  # quickly
    assert command("report", one) == (0, f"written: {one}/report.html\n", "")
    assert (one / "report.html").read_text().count("<article") == 1
    code, out, _ = command("report", one, reported_runs[1], "--data.path", "/absent", "--out", tmp_path / "two.html")
    assert (code, out) == (0, f"written: {tmp_path}/two.html\n")
    assert "/absent: there is no such folder or zip" in (tmp_path / "two.html").read_text()
