import sys
from pathlib import Path

import pytest

from anychan.models.catalog import CATALOG
from anychan.profiling.engines import ENGINES
from tests.command import Command

VERBS = ["train", "evaluate", "compare", "profile", "models", "demo"]
SEVEN = ["R+G+B", "R+G", "R+B", "G+B", "R", "G", "B"]


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
    found = command.json("profile", "baseline_cnn", "--json", "--no-depth")
    listed = next(row for row in command.json("models", "--json") if row["name"] == "baseline_cnn")
    assert {key: found[key] for key in ("name", "params", "macs", "input_shape")} == {
        key: listed[key] for key in ("name", "params", "macs", "input_shape")
    }
    assert found["channels"] == ["R", "G", "B"]
    other = command.json(
        *("profile", "baseline_cnn", "--json", "--no-depth", "--size", 8),
        *("--num-classes", 7, "--channels", "sentinel2:B02,DNA"),
    )
    assert other["channels"] == ["B02", "DNA"]
    assert other["input_shape"] == [1, 2, 8, 8]
    # two 3×3 convolutions with batch norms, and a linear layer, by hand
    assert other["params"] == (2 * 9 * 32 + 32) + 64 + (32 * 9 * 64 + 64) + 128 + (64 * 7 + 7)
    entries = [
        command.json("profile", "resnet18", "--json", "--no-depth", "--options", f'{{"entry": "{e}"}}')
        for e in ("3x3", "7x7")
    ]
    assert entries[0]["macs"] != entries[1]["macs"]
    code, out, _ = command("profile", "baseline_cnn", "--no-depth")
    assert code == 0
    assert f"{found['params']:,}" in out


def test_profile_shows_the_depth(command: Command, tmp_path: Path) -> None:
    found = command.json("profile", "se_2layer_cnn", "--size", 37, "--json")["depth"]
    three = ("features", "features_with_gates", "classifier")
    assert [found[key] for key in (*three, "weighted_modules")] == [2, 6, 2, 8]
    assert [layer["names"] for layer in found["path"]] == [["stem.conv"], ["body.4"], ["head.2"], ["head.4"]]
    code, out, err = command("profile", "se_2layer_cnn", "--size", 37, "--picture", tmp_path / "path.png")
    assert (code, err) == (0, "")
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in out.splitlines()]
    assert ["with gates", "6"] in rows
    assert out.splitlines()[-1] == f"written: {tmp_path}/path.png"
    assert [path.name for path in tmp_path.iterdir()] == ["path.png"]


def test_profile_without_the_depth(command: Command) -> None:
    found = command.json("profile", "resnet8", "--json", "--no-depth")
    assert "depth" not in found
    assert found["written"] == {"picture": None}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--picture", "path.svg"], "--picture is path.svg, but it must end in .png"),
        (
            ["--picture", "none/path.png"],
            "--picture is none/path.png, but there is no folder none; make it, or write elsewhere",
        ),
        (["--picture", "path.png", "--no-depth"], "--picture draws the depth that --no-depth leaves out; give one of"),
    ],
)
def test_bad_pictures(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = command("profile", "resnet8", *options)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_profile_of_a_saved_model(command: Command, finished_run: Path) -> None:
    whole = command.json("profile", finished_run, "--json", "--no-depth")
    part = command.json("profile", finished_run, "--json", "--no-depth", "--channels", "B")
    assert (whole["name"], whole["input_shape"]) == ("baseline_cnn", [1, 3, 16, 16])
    assert (part["channels"], part["input_shape"]) == (["B"], [1, 1, 16, 16])
    # zero fill has an offset: B and a map of ones in place of three channels, and 32 × 3 × 9 for the kernel over it
    assert whole["macs"] - part["macs"] == 16 * 16 * 32 * 9 - 32 * 3 * 9


def test_latency_without_the_extra_is_refused(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)  # as if it were not installed
    code, out, err = command("profile", "dynamic_cnn_v1", "--size", 8, "--latency")
    assert (code, out) == (2, "")
    assert err == "anychan: engine 'onnxruntime' needs onnxscript: pip install 'anychan[export]'\n"


@pytest.mark.slow
def test_profile_with_latency(command: Command) -> None:
    found = command.json(
        "profile", "dynamic_cnn_v1", "--size", 8, "--channels", "sentinel2:B02,DNA", "--latency", "--json"
    )
    assert found["input_shape"] == [1, 2, 8, 8]
    pairs = [(row["engine"], row["threads"]) for row in found["latency"]]
    assert pairs == [(engine, threads) for threads in (1, 2) for engine in ENGINES]
    assert all(row["p99_ms"] >= row["p50_ms"] > 0 < row["cold_start_ms"] for row in found["latency"])
