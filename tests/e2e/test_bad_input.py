"""What a user can get wrong: each told in one sentence, with exit code 2 and nothing half-written."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from anychan.cli import main
from tests.runs import (
    ODD,
    RGB_SPLIT,
    S2_TILES,
    constant_channels,
    copy_of,
    options_of,
    png,
    run_anychan,
    small_recipe,
    tiff,
    write_tree,
)

TRAIN = [*options_of(small_recipe(epochs=1))[2:], "--data.path"]  # without the seed; the path comes last


def edited(file: str, change: Callable[[list[str]], list[str]]) -> Callable[[Path], Path]:
    """rgb_split with some lines changed."""

    def make(folder: Path) -> Path:
        path = copy_of(RGB_SPLIT, folder) / file
        path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")
        return path.parent

    return make


def replaced(name: str, content: bytes | None, fixture: Path = RGB_SPLIT) -> Callable[[Path], Path]:
    """A fixture with one file replaced, or taken away."""

    def make(folder: Path) -> Path:
        path = copy_of(fixture, folder) / name
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        return folder / fixture.name

    return make


def classes_of(content: bytes, suffix: str = "png") -> Callable[[Path], Path]:
    """Two folders of equal images."""
    return lambda folder: write_tree(
        folder / "data", {f"{name}/{n}.{suffix}": content for name in "ab" for n in range(8)}
    )


def odd(name: str) -> bytes:
    return (ODD / name).read_bytes()


FIRST, SECOND = "images/circle/circle_0.jpg", "images/circle/circle_1.png"
TILE = constant_channels(1000, 2000, 3000, 4000, height=12, width=12, dtype=np.uint16)
NOISE = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
FLAT_BLUE = NOISE * np.array([1, 1, 0], np.uint8)

BAD_DATA: dict[str, tuple[Callable[[Path], Path], str]] = {
    "line without label": (
        edited("train.txt", lambda lines: [*lines[:2], lines[2].split()[0], *lines[3:]]),
        "{data}/train.txt line 3: 'images/circle/circle_2.jpg' has no label; write 'path label' with a whole number",
    ),
    "label too high": (
        edited("val.txt", lambda lines: [f"{FIRST} 3", *lines]),
        "{data}/val.txt line 1: label 3 is out of range; labels are 0 to 2",
    ),
    "label below 0": (
        edited("test.txt", lambda lines: [*lines, f"{FIRST} -1"]),
        "{data}/test.txt line 7: label -1 is out of range; labels are 0 to 2",
    ),
    "empty split": (edited("val.txt", lambda lines: []), "{data}/val.txt: the split holds no image"),
    "no val.txt": (
        replaced("val.txt", None),
        "{data}: there is a train.txt but no val.txt beside it",
    ),
    "missing image": (
        replaced(SECOND, None),
        "{data}/" + SECOND + ": the file cannot be read (No such file or directory)",
    ),
    "truncated image": (
        replaced(FIRST, odd("truncated.jpg")),
        "{data}/" + FIRST + ": the image is damaged or truncated (",
    ),
    "no image": (
        replaced(SECOND, odd("not_an_image.png")),
        "{data}/" + SECOND + ": the file is no image that Pillow knows",
    ),
    "grey photograph": (
        replaced(SECOND, odd("grey.png")),
        "{data}/" + SECOND + ": the image is grey; to read it as R = G = B, say --data.grey repeat",
    ),
    "transparent": (
        replaced(SECOND, odd("rgba_clear.png")),
        "{data}/" + SECOND + ": the image is partly transparent, and transparency is not one of the channels",
    ),
    "wrong band count": (
        replaced("forest/forest_1.tif", tiff(TILE[..., :3], planarconfig="contig"), S2_TILES),
        "{data}/forest/forest_1.tif: the image has 3 channels, but 4 are expected: ('B02', 'B03', 'B04', 'B08')",
    ),
    "two bit depths": (
        replaced("forest/forest_0.tif", tiff(TILE.astype(np.uint8), planarconfig="contig"), S2_TILES),
        "{data}: images of two number types, ",
    ),
    "tiffs without names": (
        replaced("channels.yaml", None, S2_TILES),
        "{data}: nobody says which channels its .tif files hold; write a channels.yaml beside them (",
    ),
    "µm for nm": (
        replaced("channels.yaml", b"channels: [{name: B02, wavelength_nm: 0.49}]", S2_TILES),
        "{data}/channels.yaml: channel 'custom:B02': wavelength_nm is 0.49, which looks like µm; write 490",
    ),
    "tile of NaN": (
        replaced("forest/forest_1.tif", tiff(TILE * np.float32("nan"), planarconfig="contig"), S2_TILES),
        "{data}/forest/forest_1.tif: the image holds NaN or infinity; if NaN stands for no data, say `no_data: nan` in",
    ),
    "no band files": (
        replaced("channels.yaml", b'channels: [a, b]\nfiles: "{sample}_{channel}.tif"', S2_TILES),
        "{data}: no file fits the pattern '{sample}_{channel}.tif' with a channel of ('a', 'b')",
    ),
    "unknown band": (
        replaced("channels.yaml", b"channels: [sentinel2:B99]", S2_TILES),
        "{data}/channels.yaml: channel 'B99' is not one of B01, B02",
    ),
    "constant channel": (
        classes_of(png(FLAT_BLUE)),
        "channel 'B' has the same value, 0, in every pixel of the training images; leave it out",
    ),
    "absent": (lambda folder: folder / "absent", "{data}: there is no such folder or zip; give --data.path"),
    "no zip": (
        lambda folder: write_tree(folder, {"data.zip": b"hello"}) / "data.zip",
        "{data}: the zip cannot be read (File is not a zip file)",
    ),
    "empty folder": (lambda folder: folder, "{data}: there is no train.txt, no samples.csv and no image ("),
}


def check_sentence(code: int, out: str, err: str, message: str) -> None:
    assert code == 2
    assert out == ""
    assert re.fullmatch(r"anychan: [^\n]+\n", err), err
    assert err.startswith(f"anychan: {message}")


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data_is_told_in_one_sentence(
    case: str, tmp_path: Path, empty_cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make, message = BAD_DATA[case]
    (tmp_path / "given").mkdir()
    data = make(tmp_path / "given")
    code = main(["train", *TRAIN, str(data), "--out", str(tmp_path / "run")])
    check_sentence(code, *capfd.readouterr(), message.replace("{data}", str(data)))
    assert not (tmp_path / "run").exists()
    assert not list(empty_cache.rglob("*.partial"))


BAD_OPTIONS: dict[str, tuple[list[str], str]] = {
    "no data": (["--data.path", ""], "no data was named; give a folder or zip with --data.path"),
    "unknown model": (["--model.name", "resnet7"], "no model is called 'resnet7'; the catalogue has dynamic_cnn_v1,"),
    "frozen by one word": (
        ["--train.freeze", "bod"],
        "train.freeze is bod, but it must be one of 'none', 'body', list",
    ),
    "unknown module": (["--train.freeze", "[neck]"], "train.freeze names 'neck', but the model's modules are stem, "),
    "weights of no library": (["--model.pretrained", "a"], "model.pretrained is for networks of timm and torchvision"),
    "no saved model": (
        ["--model.init_from", "absent"],
        f"{Path.cwd()}/absent/contract.json: there is no contract here;",
    ),
    "two beginnings": (
        ["--model.init_from", "a", "--model.pretrained", "b"],
        "model.pretrained and model.init_from were both given; give the weights to begin with once",
    ),
    "unknown stem": (["--model.stem", "median"], "no stem is called 'median'; there are completion, learned_padding,"),
    "unknown option": (["--model.options", '{"depth": 3}'], "baseline_cnn has no option 'depth'; its options: none"),
    "unknown sensor": (["--data.channels", "sentinel3"], "no sensor is called 'sentinel3'; name one of rgb, sentinel2"),
    "unknown channel": (["--data.channels", '["rgb:R", "rgb:G", "rgb:NIR"]'], "channel 'NIR' is not one of R, G, B"),
    "two channels for three": (["--data.channels", "rgb:R,rgb:G"], f"{RGB_SPLIT}/{FIRST}: the image has 3 channels,"),
    "too many classes": (["--data.num_classes", "4"], f"{RGB_SPLIT}: 4 classes were asked for, but there are 3"),
    "image too small": (["--model.name", "simple_2layer_cnn"], "simple_2layer_cnn takes images of at least 37x37"),
    "bad number": (["--train.epochs", "0"], "train.epochs is 0, but it must be 1 or more"),
    "no number": (["--train.epochs", "many"], "train.epochs is many, but it must be int"),
    "unknown choice": (
        ["--train.optimizer", "lion"],
        "train.optimizer is lion, but it must be one of 'adam', 'adamw',",
    ),
    "unknown key": (["--train.learning_rate", "0.1"], "unrecognized arguments: --train.learning_rate"),
    "imagenet for others": (
        ["--data.channels", "a,b,c", "--data.normalize", "imagenet"],
        "data.normalize 'imagenet' is for R, G, B, not for a+b+c; use 'dataset'",
    ),
    "no config": (["--config", "absent.yaml"], "absent.yaml: the recipe cannot be read (No such file or directory)"),
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_bad_options_are_told_in_one_sentence(case: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    options, message = BAD_OPTIONS[case]
    code = main(["train", *TRAIN, str(RGB_SPLIT), "--out", str(tmp_path / "run"), *options])
    check_sentence(code, *capfd.readouterr(), message)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            [],
            "say what to do: train, evaluate, compare, report, data, profile, models, predict, share, export, serve, ",
        ),
        (["fly"], "argument subcommand: invalid choice: 'fly'"),
        (["train"], "--out is required"),
        (["profile", "resnet7"], "no model is called 'resnet7'; the catalogue has"),
        (["profile", "resnet8", "--size", "0"], "--size is 0, but it must be 1 or more"),
        (["profile", "simple_2layer_cnn", "--size", "9"], "simple_2layer_cnn takes images of at least 37x37 pixels"),
        (["profile", "resnet8", "--num-classes", "1"], "a classifier needs at least 2 classes, not 1"),
        (["profile", "resnet8", "--channels", "nir"], "no sensor is called 'nir'"),
        (["profile", "."], "contract.json: there is no contract here; name the folder of a saved model"),
        (["evaluate", "absent"], "absent: this is no run folder, there is no recipe.yaml; make one by `anychan train`"),
        (["compare", "absent"], "absent: this is no run folder, there is no recipe.yaml; make one by `anychan train`"),
        (["compare"], "runs: name one at least"),
        (["report"], "runs: name one at least"),
        (["report", "absent"], "absent: this is no run folder, there is no recipe.yaml; make one by `anychan train`"),
        (["report", "a", "--out", "a.pdf"], "--out is a.pdf, but it must end in .html"),
        (["report", "a", "--out", "b/a.html"], "--out is b/a.html, but there is no folder b; make it, or write"),
        (["share", "absent", "--out", "out"], "absent: this is no run folder, there is no recipe.yaml; make one by"),
        (["share", "absent"], "--out is required"),
        (["serve", "absent"], "absent/contract.json: there is no contract here; name the folder of a saved model"),
        (["serve", "demo", "--port", "0"], "--port is 0, but it must be between 1 and 65535"),
        (["serve", "demo", "--max-mib", "0"], "--max-mib is 0, but it must be 1 or more"),
        (["serve", "demo", "--examples", "absent"], "absent: there is no such folder"),
        (["evaluate", "absent", "--channel-drop", "1.5"], "--channel-drop is 1.5, but it must be between 0 and 1"),
        (["evaluate", "absent", "--within", "2"], "--within is 2.0, but it must be between 0 and 1"),
        (["evaluate", "absent", "--sample", "-3"], "--sample is -3, but it must be 0 or more subsets"),
        (["evaluate", "absent", "--sample", "3", "--all-subsets"], "--sample and --all-subsets were given; give one"),
    ],
)
def test_other_verbs_tell_too(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    check_sentence(main(arguments), *capfd.readouterr(), message)
    assert list(tmp_path.iterdir()) == []


def test_recipe_with_a_typo_names_its_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("train:\n  epoch: 3\n")
    code = main(["train", "--config", str(path), "--out", str(tmp_path / "run")])
    check_sentence(code, *capfd.readouterr(), f"{path}: no key is called train.epoch; did you mean train.epochs")


def test_option_with_a_typo_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code = main(["train", *TRAIN, str(RGB_SPLIT), "--out", str(tmp_path / "run"), "--train.epoch", "1"])
    check_sentence(code, *capfd.readouterr(), "unrecognized arguments: --train.epoch")


def test_grey_photographs_are_accepted_when_asked_for(tmp_path: Path) -> None:
    data = replaced(SECOND, odd("grey.png"))(tmp_path)
    assert main(["train", *TRAIN, str(data), "--out", str(tmp_path / "run"), "--data.grey", "repeat"]) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("finished", "a finished run is here; give another folder with --out, or delete this one"),
        ("other recipe", "an unfinished run of another recipe is here (train.epochs is 6 there and 1 now); give"),
        ("foreign", "this is not empty and no run; give another folder with --out"),
    ],
)
def test_run_folders_in_use_are_kept(
    run_copy: Path, change: str, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    if change != "finished":
        (run_copy / "run.json").unlink()
    if change == "foreign":
        (run_copy / "recipe.yaml").unlink()
    before = {path: path.read_bytes() for path in run_copy.rglob("*") if path.is_file()}
    code = main(["train", *TRAIN, str(RGB_SPLIT), "--out", str(run_copy)])
    check_sentence(code, *capfd.readouterr(), f"{run_copy}: {message}")
    assert {path: path.read_bytes() for path in run_copy.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ("model.safetensors", [], "{run}: the run is not finished; the same `anychan train` command goes on with it"),
        ("recipe.yaml", [], "{run}: this is no run folder, there is no recipe.yaml; make one by `anychan train`"),
        ("contract.json", [], "{run}/contract.json: there is no contract here"),
        ("", ["--channels", "R,NIR"], "channel 'NIR' is not one of R, G, B; name one of these, or adapt the model"),
        ("", ["--channels", "R,R"], "channel 'R' is asked for twice; name each channel once"),
        ("", ["--data.path", "/absent"], "/absent: there is no such folder or zip; give --data.path"),
        ("", ["--data.path", str(S2_TILES)], "the data's classes ('forest', 'water') are not the model's"),
        ("", ["--sample", "3"], "--sample: all 7 subsets are evaluated anyway; leave it out"),
        ("", ["--costs", '{"R": 1}'], "costs: G, B have no cost; give one for each channel, 0 if it is free"),
        ("", ["--costs", '{"NIR": 1}'], "channel 'NIR' is not one of R, G, B; name one of these"),
        ("", ["--costs", '{"R": 1, "red": 1}'], "--costs: channel 'R' is there twice; give one cost for each channel"),
        ("", ["--split", "train"], "split is train, but it must be one of 'test', 'val'"),
    ],
)
def test_evaluate_tells_what_it_cannot_use(
    run_copy: Path, change: str, options: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    if change:
        (run_copy / change).unlink()
    before = sorted(run_copy.iterdir())
    check_sentence(main(["evaluate", str(run_copy), *options]), *capfd.readouterr(), message.format(run=run_copy))
    assert sorted(run_copy.iterdir()) == before


def test_the_installed_command_tells_it_the_same_way(tmp_path: Path) -> None:
    data = edited("train.txt", lambda lines: [*lines, "lonely.png"])(tmp_path)
    shutil.rmtree(data / "images")
    found = run_anychan("train", *TRAIN, data, "--out", tmp_path / "run")
    check_sentence(*found, f"{data}/train.txt line 13: 'lonely.png' has no label; write 'path label' with a whole")
    assert not (tmp_path / "run").exists()
    code, _, err = run_anychan("profile", "resnet7", "--debug")
    assert code == 1
    assert err.startswith("Traceback")
    assert "ConfigError: no model is called 'resnet7'" in err
