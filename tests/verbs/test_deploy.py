from pathlib import Path

from anychan.report.finish import finish_run
from anychan.training.fit import fit
from tests.command import Command
from tests.runs import small_recipe


def test_demo_refuses_a_folder_that_is_a_file(command: Command, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    code, _, err = command("demo", "--out", tmp_path / "taken")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "taken" in err
    assert (tmp_path / "taken").read_text() == "mine"


def test_share_tells_what_it_wrote(command: Command, tmp_path: Path) -> None:
    fit(small_recipe(epochs=1), tmp_path / "run", finish=finish_run)
    code, out, _ = command("share", tmp_path / "run", "--out", tmp_path / "out", "--license", "cc-by-4.0")
    files = "README.md, contract.json, model.safetensors, recipe.yaml"
    assert (code, out) == (0, f"written: {tmp_path}/out ({files})\n")
    assert "license: cc-by-4.0\n" in (tmp_path / "out" / "README.md").read_text()
    code, _, err = command("share", tmp_path / "run", "--out", tmp_path / "out")
    assert (code, err) == (
        2,
        f"anychan: {tmp_path}/out: this is not empty; give another folder with --out, or delete this one\n",
    )


def test_export_takes_a_saved_model(command: Command, finished_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.onnx"
    code, said, err = command("export", finished_run, "--out", out, "--channels", "G,R", "--opset", 18, "--verify")
    assert (code, err) == (0, "")
    assert "largest difference between ONNX Runtime and PyTorch" in said
    assert f"channels G, R; opset 18; {out.stat().st_size / 1e6:.1f} MB: {out}" in said
    code, said, err = command("export", finished_run, "--out", tmp_path / "a.onnx", "--opset", "new")
    assert (code, said, err) == (2, "", "anychan: opset is new, but it must be int\n")
