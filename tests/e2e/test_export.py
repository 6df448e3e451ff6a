"""A run becomes a file that classifies an image without PyTorch or anychan: the installed command and the example."""

import csv
import json
import os
import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tifffile
from PIL import Image

from anychan.cli import main
from anychan.contract import FILTERS, FITS, ResizeRule
from anychan.data.readers import resize
from anychan.models.pretrained import save
from tests.e2e.test_bad_input import check_sentence
from tests.runs import ODD, RGB_SPLIT, ROOT, run_anychan, write_tree
from tests.scenes import noise, scene_model

EXAMPLE = ROOT / "examples" / "run_onnx.py"
BLOCK = 'import sys\nfor name in ("anychan", "onnx", "onnxscript", "torch"):\n    sys.modules[name] = None\n'


@pytest.fixture(scope="module")
def exported(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on photographs, for any subset of their channels."""
    out = tmp_path_factory.mktemp("exported") / "model.onnx"
    code, said, err = run_anychan("export", finished_run, "--out", out, "--verify")
    assert (code, err) == (0, "")
    assert said.splitlines()[-3:-1] == ["images (batch, 3, height, width)", "present (batch, 3)"]
    return out


@pytest.fixture(scope="module")
def tiles_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model of four Sentinel-2 bands of 16 bits, of which it has the shorter side's centre."""
    folder = tmp_path_factory.mktemp("models")
    save(scene_model(dtype="uint16", resize=ResizeRule(16, "crop", "bicubic")), folder)
    return folder


def run_example(folder: Path, *arguments: object) -> tuple[int, str, str]:
    """Exit code and output of the example, by a Python that cannot import PyTorch or anychan."""
    write_tree(folder / "blocked", {"sitecustomize.py": BLOCK})
    environment = {**os.environ, "PYTHONPATH": str(folder / "blocked"), "OMP_NUM_THREADS": "1"}
    for package in ("torch", "anychan"):
        code = [sys.executable, "-c", f"import {package}"]
        assert subprocess.run(code, env=environment, capture_output=True, check=False).returncode == 1
    command = [sys.executable, str(EXAMPLE), *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def classes(folder: Path, *arguments: object) -> list[tuple[str, float]]:
    """What the example prints: classes and their probabilities, the likeliest first."""
    code, out, err = run_example(folder, *arguments)
    assert code == 0, err
    return [(line[8:], float(line[:6])) for line in out.splitlines()]


def predicted(model: Path, image: Path, *options: str) -> tuple[str, float]:
    """The image's class and its probability by `anychan predict`, of a folder that holds nothing else."""
    out = image.parent.with_suffix(".csv")
    assert main(["predict", str(model), str(image.parent), "--out", str(out), *options]) == 0
    with out.open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    return row["class"], float(row["confidence"])


@pytest.mark.parametrize("name", ["circle_0.jpg", "square_1.png", "stripe_3.png"])
def test_photographs_without_pytorch(name: str, exported: Path, finished_run: Path, tmp_path: Path) -> None:
    """Larger than in training, not square and upside down, as a telephone writes them."""
    image = Image.open(RGB_SPLIT / "images" / name.split("_")[0] / name).convert("RGB").resize((61, 37))
    turned = image.getexif()
    turned[0x0112] = 3
    path = write_tree(tmp_path / "photos", {"keep": b""}) / name
    (path.parent / "keep").unlink()
    image.save(path, exif=turned)
    found = classes(tmp_path, exported, path)
    assert sorted(label for label, _ in found) == ["circle", "square", "stripe"]
    assert sum(share for _, share in found) == pytest.approx(1, abs=2e-4)
    label, share = predicted(finished_run, path)
    assert found[0][0] == label
    assert found[0][1] == pytest.approx(share, abs=0.002)
    assert classes(tmp_path, exported, path, "--top", 1) == found[:1]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("grey.png", "the image is grey or of more than 8 bits (Pillow's mode L)"),
        ("grey16.png", "the image is grey or of more than 8 bits (Pillow's mode I;16)"),
        ("rgba_clear.png", "the image is partly transparent"),
    ],
)
def test_odd_photographs_are_refused_without_pytorch(name: str, text: str, exported: Path, tmp_path: Path) -> None:
    assert run_example(tmp_path, exported, ODD / name) == (2, "", f"{ODD / name}: {text}\n")


def damaged(folder: Path, exported: Path, case: str) -> Path:
    """A file that lies, or leads elsewhere."""
    path, proto = folder / "bad.onnx", onnx.load(exported)
    weight = max(proto.graph.initializer, key=lambda each: len(each.raw_data))
    if case == "no onnx":
        path.write_text("hello")
        return path
    if case == "cut":
        path.write_bytes(exported.read_bytes()[:-1000])
        return path
    if case == "giant":
        weight.dims[:] = [10**6, 10**6]
    elif case == "size":
        about = json.loads(proto.metadata_props[-1].value)
        about["contract"]["resize"]["size"] = 10**7
        proto.metadata_props[-1].value = json.dumps(about)
    elif case == "metadata":
        del proto.metadata_props[:]
    else:
        (folder / "sub").mkdir()
        path = folder / "sub" / "bad.onnx"
        (folder / "secret").write_bytes(weight.raw_data)
        (folder / "sub" / "link").symlink_to(folder / "secret")
        weight.ClearField("raw_data")
        weight.data_location = onnx.TensorProto.EXTERNAL
        where = {"up": "../secret", "absolute": str(folder / "secret"), "link": "link"}[case]
        weight.external_data.add(key="location", value=where)
    path.write_bytes(proto.SerializeToString())
    return path


@pytest.mark.parametrize(
    ("case", "text"),
    [
        ("no onnx", "the file is damaged, or none that `anychan export` wrote (.*Protobuf parsing failed"),
        ("cut", "the file is damaged, or none that `anychan export` wrote (.*Protobuf parsing failed"),
        ("giant", "the file is damaged, or none that `anychan export` wrote (.*4000000000000 bytes"),
        ("metadata", "the file is damaged, or none that `anychan export` wrote (it lacks 'anychan')"),
        ("size", "cannot classify .* (it is for images of 10,000,000 pixels)"),
        ("up", "the file is damaged, or none that `anychan export` wrote (.*escapes model directory"),
        ("absolute", "the file is damaged, or none that `anychan export` wrote (.*Absolute path not allowed"),
        ("link", "the file is damaged, or none that `anychan export` wrote (.*escapes model directory"),
    ],
)
def test_damaged_files_are_told_without_pytorch(case: str, text: str, exported: Path, tmp_path: Path) -> None:
    path = damaged(tmp_path, exported, case)
    code, out, err = run_example(tmp_path, path, RGB_SPLIT / "images" / "circle" / "circle_0.jpg")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert re.match(f"{re.escape(str(path))}:? " + text.replace("(", r"\(").replace(")", r"\)"), err), err


@pytest.mark.parametrize("name", ["a.tif", "a.npy", "cut.png", "absent.png"])
def test_images_that_cannot_be_read_are_told_without_pytorch(name: str, exported: Path, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((9, 9, 3), np.uint16), photometric="rgb")
    np.save(tmp_path / "a.npy", np.array([{}]), allow_pickle=True)
    (tmp_path / "cut.png").write_bytes((ODD / "palette.png").read_bytes()[:-40])
    code, out, err = run_example(tmp_path, exported, tmp_path / name)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"{tmp_path / name}: the image cannot be read; give PNG, JPEG, GIF, WEBP, BMP or .npy (")


def test_bands_by_name_without_pytorch(tiles_model: Path, tmp_path: Path) -> None:
    """Two of four bands in another order, for both forms of file."""
    path = tmp_path / "tiles" / "tile.npy"
    path.parent.mkdir()
    np.save(path, noise(40, 24, 2))
    label, share = predicted(tiles_model, path, "--channels", "nir,B02")
    for options in ([], ["--channels", "B02,B08"]):
        file = tmp_path / "model.onnx"
        assert main(["export", str(tiles_model), "--out", str(file), *options]) == 0
        (found, *_) = classes(tmp_path, file, path, "--channels", "B8,blue")
        assert found[0] == label
        assert found[1] == pytest.approx(share, abs=0.002)
    code, _, err = run_example(tmp_path, file, path, "--channels", "B02,B11")
    assert (code, err) == (2, "channel 'B11' is not one of B02, B08\n")
    np.save(path, noise(16, 16, 1))
    code, _, err = run_example(tmp_path, file, path, "--channels", "B02")
    assert (code, err) == (2, "the file takes no image without B08; export the model for these channels, or for all\n")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["{run}", "--out", "{folder}/m.pt"], "--out is {folder}/m.pt, but it must end in .onnx"),
        (["{run}"], "--out is required"),
        (["{run}", "--out", "{folder}/no/m.onnx"], "{folder}/no/m.onnx: there is no folder {folder}/no; make it first"),
        (["{folder}/no", "--out", "{folder}/m.onnx"], "{folder}/no/contract.json: there is no contract here; name the"),
        (["{run}", "--out", "{folder}/m.onnx", "--channels", "R,NIR"], "channel 'NIR' is not one of R, G, B; name"),
        (
            ["{run}", "--out", "{folder}/m.onnx", "--channels", "sentinel2"],
            "channel 'sentinel2:B01' is not one of R",
        ),
        (["{run}", "--out", "{folder}/m.onnx", "--opset", "99"], "--opset is 99, but it must be 18 to 22"),
    ],
)
def test_export_tells_what_it_cannot_use(
    options: list[str], text: str, finished_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    names = {"run": str(finished_run), "folder": str(tmp_path)}
    code = main(["export", *(option.format(**names) for option in options)])
    check_sentence(code, *capfd.readouterr(), text.format(**names))
    assert not list(tmp_path.iterdir())


def test_a_missing_extra_is_told_in_one_sentence(finished_run: Path, tmp_path: Path) -> None:
    write_tree(tmp_path / "blocked", {"sitecustomize.py": 'import sys\nsys.modules["onnxscript"] = None\n'})
    path = os.pathsep.join([str(tmp_path / "blocked"), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [str(Path(sys.executable).with_name("anychan")), "export", str(finished_run), "--out", "model.onnx"]
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    check_sentence(done.returncode, done.stdout, done.stderr, "anychan export needs onnxscript: pip install 'anychan[")
    assert not (tmp_path / "model.onnx").exists()


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("method", FILTERS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_the_example_resizes_as_pillow_does(dtype: type, method: str, fit: str) -> None:
    """Within one level, as it rounds more exactly than Pillow."""
    spec = spec_from_file_location("run_onnx", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    example: Any = module_from_spec(spec)
    spec.loader.exec_module(example)
    rng = np.random.default_rng(0)
    for height, width in ((37, 53), (9, 7), (16, 40), (301, 212)):
        image: Any = rng.integers(0, 256, (height, width, 3)).astype(dtype)
        expected = resize(image, ResizeRule(16, fit, method)).astype(float)
        found = example.resize(image, {"size": 16, "fit": fit, "filter": method})
        assert abs(found - expected).max() <= (1 if dtype != np.float32 else 1e-4)
        assert (abs(found - expected) > 1e-4).mean() < 0.02
