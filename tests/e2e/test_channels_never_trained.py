"""Train on some bands, evaluate on data with others: what `anychan evaluate` says, refuses and leaves out."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from anychan.cli import main
from tests.command import Command
from tests.sensors import write_sensor

NM = {"b1": 450.0, "b2": 550.0, "b3": 650.0, "b4": 850.0}
Run = Callable[[str], Path]
FOUR = ["b1", "b2", "b3", "b4"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("never_trained")


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    """Stem → a run of two epochs on b1, b2, b3."""
    data = write_sensor(folder / "three", FOUR[:3], wavelengths=NM)

    def train(stem: str) -> Path:
        out = folder / stem
        if not out.exists():
            options = ["--data.path", data, "--data.size", 8, "--data.val_fraction", 0.25, "--data.test_fraction", 0.25]
            options += ["--model.stem", stem, "--train.epochs", 2, "--train.batch_size", 4, "--train.lr", 0.01]
            assert main(["train", *map(str, options), "--out", str(out)]) == 0
        return out

    return train


def test_own_data_has_nothing_to_say(command: Command, run: Run) -> None:
    code, out, err = command("evaluate", run("mean"))
    assert (code, err) == (0, "")
    assert "channels of the data" not in out
    found = json.loads((run("mean") / "subsets.json").read_text())
    assert found["channel_status"] == {"b1": "trained", "b2": "trained", "b3": "trained"}
    assert found["absent_channels"] == []


def test_bands_never_trained_are_interpolated(command: Command, run: Run, folder: Path) -> None:
    new = write_sensor(folder / "other-bands", ["b4", "b2", "b1"], wavelengths=NM)
    before = (run("wavelength") / "contract.json").read_text()
    code, out, err = command("evaluate", run("wavelength"), "--data.path", new)
    assert code == 0, err
    assert "  trained (2): b2, b1\n" in out
    assert "  interpolated (1): b4: never trained, the kernels come from wavelengths alone\n" in out
    assert "not in this data: b3; filled by stem 'wavelength'\n" in out
    found = json.loads((run("wavelength") / "subsets-on-other-bands.json").read_text())
    assert found["channel_status"] == {"b4": "interpolated", "b2": "trained", "b1": "trained"}
    assert found["absent_channels"] == ["b3"]
    assert {"+".join(row["channels"]) for row in found["subsets"]} == {
        *("b1+b2+b4", "b1+b2", "b1+b4", "b2+b4", "b1", "b2", "b4")
    }
    assert found["possible_subsets"] == 7
    assert (run("wavelength") / "subsets-on-other-bands.csv").read_text().startswith("channels,accuracy,low,high")
    assert (run("wavelength") / "contract.json").read_text() == before


def test_what_cannot_be_interpolated_is_refused(command: Command, run: Run, folder: Path) -> None:
    new = write_sensor(folder / "four", FOUR, wavelengths=NM)
    files = sorted(run("mean").iterdir())
    code, out, err = command("evaluate", run("mean"), "--data.path", new)
    assert (code, out) == (2, "")
    assert err == (
        "anychan: the model knows nothing of b4: never trained, and stem 'mean' makes no kernels for new channels "
        "(stem 'wavelength' does, from wavelengths); --allow-unknown-channels leaves such channels out\n"
    )
    assert sorted(run("mean").iterdir()) == files


def test_unknown_channels_are_left_out_when_allowed(command: Command, run: Run, folder: Path) -> None:
    """The answers are those on the same images without the band."""
    new = write_sensor(folder / "with-b4", FOUR, wavelengths=NM)
    code, out, err = command("evaluate", run("mean"), "--data.path", new, "--allow-unknown-channels")
    assert code == 0, err
    assert "  unknown (1): b4: never trained, left out of the input\n" in out
    found = json.loads((run("mean") / "subsets-on-with-b4.json").read_text())
    assert found["channel_status"]["b4"] == "unknown"
    assert len(found["subsets"]) == 7
    assert not any("b4" in row["channels"] for row in found["subsets"])
    code, out, _ = command("evaluate", run("mean"), "--data.path", new, "--channels", "b2", "--json")
    assert code == 0  # b4 is not asked for
    code, _, err = command("evaluate", run("mean"), "--data.path", new, "--channels", "b2,b4")
    assert code == 2
    assert err.startswith("anychan: channel 'b4' is not one of b1, b2, b3; name one of these")


def test_fewer_channels_than_trained(command: Command, run: Run, folder: Path) -> None:
    new = write_sensor(folder / "two", ["b3", "b1"], wavelengths=NM)
    found = command.json("evaluate", run("mean"), "--data.path", new, "--json")
    assert ["+".join(row["channels"]) for row in found["subsets"]] == ["b1+b3", "b1", "b3"]
    assert found["absent_channels"] == ["b2"]
    assert found["smallest_sensor"]["cost_of_all"] == 2


def test_classes_stay_strict(command: Command, run: Run, folder: Path) -> None:
    new = write_sensor(folder / "renamed", FOUR[:2], wavelengths=NM)
    (new / "light").rename(new / "bright")
    code, _, err = command("evaluate", run("mean"), "--data.path", new)
    assert code == 2
    assert "the data's classes ('bright', 'dark') are not the model's ('dark', 'light')" in err


def test_a_band_of_another_wavelength_is_another_band(command: Command, run: Run, folder: Path) -> None:
    new = write_sensor(folder / "shifted", FOUR[:3], wavelengths={**NM, "b2": 560.0})
    code, _, err = command("evaluate", run("wavelength"), "--data.path", new)
    assert code == 2
    assert "channel 'drone:b2' is centred at 560.0 nm" in err


def test_an_offset_is_warned_of(command: Command, run: Run, folder: Path) -> None:
    new = write_sensor(folder / "offset", FOUR[:3], wavelengths=NM, offset=5000)
    code, _, err = command("evaluate", run("mean"), "--data.path", new, "--json")
    assert code == 0
    lines = err.splitlines()
    assert [line.split(":")[:2] for line in lines] == [["warning", f" channel {name}"] for name in FOUR[:3]]
    assert "standard deviations above that of the training images" in lines[0]
    code, _, err = command("evaluate", run("mean"), "--data.path", new, "--sample", 3)
    assert (code, len(err.splitlines())) == (2, 1)  # what is refused is refused in one line


def test_channels_of_other_data_may_be_named(command: Command, run: Run, folder: Path) -> None:
    new = write_sensor(folder / "unnamed", FOUR[:3])
    (new / "channels.yaml").unlink()
    code, _, err = command("evaluate", run("mean"), "--data.path", new)
    assert code == 2
    assert "nobody says which channels" in err
    code, _, err = command("evaluate", run("mean"), "--data.path", new, "--data.channels", "b1,dye,b3")
    assert code == 2  # of a sensor "custom", so none of them is the drone's
    assert err.startswith("anychan: the model knows nothing of b1, dye, b3: never trained")


@pytest.mark.parametrize("stem", ["mean", "wavelength"])
def test_a_channel_left_out_of_training_is_not_taken_for_trained(command: Command, folder: Path, stem: str) -> None:
    data, out = write_sensor(folder / f"left-out-{stem}", FOUR[:3], wavelengths=NM), folder / f"run-{stem}"
    options = ["--data.path", data, "--data.size", 8, "--data.val_fraction", 0.25, "--data.test_fraction", 0.25]
    options += ["--model.stem", stem, "--train.epochs", 1, "--train.batch_size", 4, "--train.channels", '["b1", "b3"]']
    code, _, err = command("train", *options, "--out", out)
    assert code == 0, err
    if stem == "mean":
        code, _, err = command("evaluate", out)
        assert code == 2
        assert err.startswith("anychan: the model knows nothing of b2: never trained")
        found = command.json("evaluate", out, "--allow-unknown-channels", "--json")
        assert ["+".join(row["channels"]) for row in found["subsets"]] == ["b1+b3", "b1", "b3"]
    else:
        found = command.json("evaluate", out, "--json")
        assert len(found["subsets"]) == 7
    expected = {"b1": "trained", "b2": "unknown" if stem == "mean" else "interpolated", "b3": "trained"}
    assert found["channel_status"] == expected
