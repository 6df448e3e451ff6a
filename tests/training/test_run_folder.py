import dataclasses
import platform
import re
from pathlib import Path

import pytest
import torch

import anychan
from anychan.errors import RunError
from anychan.recipe import Recipe
from anychan.training.checkpoint_io import write_checkpoint
from anychan.training.run_folder import RunFolder, versions
from tests.runs import small_recipe

RECIPE = small_recipe("/data/images.zip")


def test_new_folder_gets_the_recipe(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "deep" / "run")
    assert folder.open(RECIPE) is False
    assert [path.name for path in folder.path.iterdir()] == ["recipe.yaml"]
    assert Recipe.load(folder.path / "recipe.yaml") == folder.load_recipe() == RECIPE


def test_empty_folder_is_as_good_as_none(tmp_path: Path) -> None:
    assert RunFolder(str(tmp_path)).open(RECIPE) is False


def test_unfinished_run_goes_on_once_it_has_a_checkpoint(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.open(RECIPE)
    assert folder.open(RECIPE) is False
    write_checkpoint({"epoch": 0}, folder.last)
    assert folder.open(RECIPE) is True


def test_finished_run_is_kept(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.open(RECIPE)
    folder.result.write_text("{}")
    message = f"{tmp_path}: a finished run is here; give another folder with --out, or delete this one"
    with pytest.raises(RunError, match=f"^{re.escape(message)}$"):
        folder.open(RECIPE)


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        (dataclasses.replace(RECIPE, seed=4), "seed is 0 there and 4 now"),
        (small_recipe("/data/other.zip"), "data.path is '/data/images.zip' there and '/data/other.zip' now"),
        (small_recipe("/data/images.zip", lr=0.5), "train.lr is 0.01 there and 0.5 now"),
        (small_recipe("/data/images.zip", stem="mean"), "model.stem is None there and 'mean' now"),
    ],
)
def test_run_of_another_recipe_is_kept(tmp_path: Path, changed: Recipe, difference: str) -> None:
    folder = RunFolder(tmp_path)
    folder.open(RECIPE)
    write_checkpoint({"epoch": 0}, folder.last)
    message = f"{tmp_path}: an unfinished run of another recipe is here ({difference}); give another folder with"
    with pytest.raises(RunError, match=re.escape(message)):
        folder.open(changed)
    assert folder.load_recipe() == RECIPE


def test_folder_with_something_else_is_kept(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    message = "this is not empty and no run; give another folder with --out"
    with pytest.raises(RunError, match=re.escape(f"{tmp_path}: {message}")):
        RunFolder(tmp_path).open(RECIPE)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(RunError, match=re.escape(f"{tmp_path}/thesis.tex: {message}")):
        RunFolder(tmp_path / "thesis.tex").open(RECIPE)


def test_recipe_that_was_being_written_is_written_anew(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml.partial").write_text("data:")
    assert not RunFolder(tmp_path).open(RECIPE)
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]
    assert RunFolder(tmp_path).load_recipe() == RECIPE


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = f"{tmp_path}/file/run: the run folder cannot be made (Not a directory)"
    with pytest.raises(RunError, match=re.escape(message)):
        RunFolder(tmp_path / "file" / "run").open(RECIPE)


def test_folder_without_recipe_is_no_run(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        message = f"{path}: this is no run folder, there is no recipe.yaml; make one by `anychan train`"
        with pytest.raises(RunError, match=re.escape(message)):
            RunFolder(path).load_recipe()


def test_damaged_recipe_is_named(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("train: {epoch: 3}")
    with pytest.raises(RunError, match=re.escape(f"{tmp_path}/recipe.yaml: no key is called train.epoch; did you")):
        RunFolder(tmp_path).load_recipe()


@pytest.mark.parametrize(
    ("text", "message"),
    [("seed: x", "seed is 'x', but it must be int"), ("data: {size: 0}", "data.size is 0, but it must be 1 or more")],
)
def test_values_of_a_recipe_are_checked(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(RunError, match=re.escape(f"{tmp_path}/recipe.yaml: {message}")):
        RunFolder(tmp_path).load_recipe()


def test_metrics_come_back_and_are_replaced_whole(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.open(RECIPE)
    assert folder.load_metrics() == []
    rows = [{"epoch": 0.0, "val_loss": 0.1 + 0.2}, {"epoch": 1.0, "val_loss": float("inf")}]
    folder.save_metrics(rows)
    assert folder.load_metrics() == rows
    assert folder.metrics.read_text().splitlines()[0] == "epoch,val_loss"
    folder.save_metrics(rows[:1])
    assert folder.load_metrics() == rows[:1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.csv", "recipe.yaml"]


@pytest.mark.parametrize(
    "text", ["epoch,lr\n0.0,0.1\n1.0", "epoch,lr\n0.0,0.1,2\n", "epoch,lr\n0.0,\n", "epoch\n\udcff"]
)
def test_damaged_metrics_are_named(tmp_path: Path, text: str) -> None:
    folder = RunFolder(tmp_path)
    folder.metrics.write_text(text, errors="surrogateescape")
    with pytest.raises(RunError, match=re.escape(f"{tmp_path}/metrics.csv: the file is damaged; the same `anychan")):
        folder.load_metrics()


def test_what_was_half_written_is_deleted(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.open(RECIPE)
    write_checkpoint({"epoch": 0}, folder.last)
    for path in (folder.recipe, folder.best):
        path.with_name(f"{path.name}.partial").touch()
    folder.remove_partial()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["checkpoints", "last.ckpt", "recipe.yaml"]


def test_the_best_epoch_is_no_earlier_one(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.open(RECIPE)
    write_checkpoint({"epoch": 2}, folder.best)
    assert folder.read_best(2) == folder.read_best(1) == {"epoch": 2}
    message = f"{folder.best}: the checkpoint of the best epoch is absent, damaged or an earlier epoch's; put it back"
    with pytest.raises(RunError, match=re.escape(message)):
        folder.read_best(3)
    for content in (b"", None):
        folder.best.unlink() if content is None else folder.best.write_bytes(content)
        with pytest.raises(RunError, match=rf"or delete {re.escape(str(folder.checkpoints))} to start anew$"):
            folder.read_best(0)


def test_start_comes_back(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.load_start() == {}
    for text, expected in (('{"digest": "a"}', {"digest": "a"}), ("{", {}), ("[]", {}), ("[" * 100_000, {})):
        folder.start.write_text(text)
        assert folder.load_start() == expected


def test_versions_are_those_in_use() -> None:
    found = versions()
    assert found["anychan"] == anychan.__version__
    assert found["torch"] == torch.__version__
    assert found["python"] == platform.python_version()
    assert sorted(found) == ["anychan", "numpy", "python", "pytorch-lightning", "torch"]
