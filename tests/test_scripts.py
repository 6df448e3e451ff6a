"""The scripts that make data: they repeat, and they say what is wrong with what they are given."""

import importlib.util
import io
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tifffile
from PIL import Image
from safetensors.torch import load_file

from tests.browser import require_browser
from tests.runs import FIXTURES, ROOT, Array, tiff

Loader = Callable[[str], ModuleType]
DEMO_ZIP = ROOT / "src" / "anychan" / "demo_data" / "eurosat-s2-32.zip"


@pytest.fixture(scope="module")
def script() -> Iterator[Loader]:
    """Load a script of the folder `scripts` as a module."""
    loaded = []

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # named tuples look their module up
        loaded.append(name)
        spec.loader.exec_module(module)
        return module

    yield load
    for name in loaded:
        sys.modules.pop(name, None)


def pixels(data: bytes, name: str) -> Array:
    if name.endswith(".tif"):
        found: Array = tifffile.imread(io.BytesIO(data))
        return found
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def zip_of(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_fixtures_are_what_their_script_makes(script: Loader, tmp_path: Path) -> None:
    assert script("make_test_fixtures").main([str(tmp_path)]) == 0
    made = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    committed = {
        path.relative_to(FIXTURES).as_posix(): path.read_bytes() for path in FIXTURES.rglob("*") if path.is_file()
    }
    assert made.keys() == committed.keys()
    for name, data in made.items():
        if not name.endswith((".jpg", ".png", ".tif")) or name.endswith(("not_an_image.png", "truncated.jpg")):
            assert name.endswith("truncated.jpg") or data == committed[name]
            continue
        tolerance = 4 if name.endswith(".jpg") else 0  # libjpeg's versions round differently
        a, b = pixels(data, name).astype(int), pixels(committed[name], name).astype(int)
        np.testing.assert_allclose(a, b, atol=tolerance, err_msg=name)


def test_fixture_script_tells_what_it_cannot_write(
    script: Loader, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert script("make_test_fixtures").main([str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.startswith("error: ")


TILE = np.arange(64 * 64 * 13, dtype=np.uint16).reshape(64, 64, 13)


def eurosat(path: Path, tile: bytes, *, classes: int = 10, tiles: int = 20) -> Path:
    names = [f"EuroSAT/C{label}/C{label}_{number}.tif" for label in range(classes) for number in range(tiles)]
    return zip_of(path, {"EuroSAT/readme.txt": b"", **dict.fromkeys(names, tile)})


def test_demo_script_crops_and_splits(script: Loader, tmp_path: Path) -> None:
    source = eurosat(tmp_path / "source.zip", tiff(TILE, planarconfig="contig", compression="zlib"))
    make = script("make_demo_data")
    assert make.main([str(source), "--out", str(tmp_path / "deep" / "1.zip")]) == 0
    assert make.main([str(source), "--out", str(tmp_path / "2.zip")]) == 0
    assert make.main([str(source), "--out", str(tmp_path / "3.zip"), "--seed", "1"]) == 0
    found = contents(tmp_path / "deep" / "1.zip")
    assert (tmp_path / "2.zip").read_bytes() == (tmp_path / "deep" / "1.zip").read_bytes()
    assert contents(tmp_path / "3.zip")["test.txt"] != found["test.txt"]
    assert {split: len(found[f"{split}.txt"].splitlines()) for split in ("train", "val", "test")} == {
        "train": 120,
        "val": 20,
        "test": 60,
    }
    np.testing.assert_array_equal(pixels(found["images/C3/C3_7.tif"], "a.tif"), TILE[16:48, 16:48].transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("absent", "No such file or directory"),
        ("text", "is not a readable zip file (File is not a zip file)"),
        ("few", "10 classes of 20 tiles are needed"),
        ("damaged", "EuroSAT/C0/C0_0.tif is not a readable TIFF file"),
        ("small", "EuroSAT/C0/C0_0.tif is (32, 64, 13) uint16; (64, 64, 13) uint16 is needed"),
    ],
)
def test_demo_script_says_what_is_wrong(
    script: Loader, tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, message: str
) -> None:
    path = tmp_path / "source.zip"
    if source == "text":
        path.write_text("hello")
    elif source == "few":
        eurosat(path, b"", classes=9)
    elif source != "absent":
        eurosat(path, b"no tile" if source == "damaged" else tiff(TILE[:32], planarconfig="contig"))
    assert script("make_demo_data").main([str(path), "--out", str(tmp_path / "out.zip")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.zip").exists()


def test_packaged_tiles_are_what_the_script_makes(
    script: Loader, real_data: Callable[[str], Path], tmp_path: Path
) -> None:
    source = real_data("eurosat-ms-mini.zip")
    assert script("make_demo_data").main([str(source), "--out", str(tmp_path / "out.zip")]) == 0
    made, packaged = contents(tmp_path / "out.zip"), contents(DEMO_ZIP)
    assert made.keys() == packaged.keys()
    for name, data in made.items():
        if name.endswith(".tif"):
            np.testing.assert_array_equal(pixels(data, name), pixels(packaged[name], name), err_msg=name)
        else:
            assert data == packaged[name]


def test_demo_model_script_tells_where_it_cannot_write(
    script: Loader, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("mine")
    assert script("make_demo_model").main(["--out", str(tmp_path / "taken")]) == 2
    assert capsys.readouterr().err.startswith("error: [Errno 17] File exists")
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.slow
def test_demo_model_script_writes_a_model_like_the_packaged_one(script: Loader, tmp_path: Path) -> None:
    """All but the weights' values, after one epoch."""
    assert script("make_demo_model").main(["--out", str(tmp_path / "out"), "--epochs", "1"]) == 0
    packaged = ROOT / "src" / "anychan" / "demo_model"
    assert sorted(path.name for path in packaged.iterdir()) == sorted(p.name for p in (tmp_path / "out").iterdir())
    assert (tmp_path / "out" / "contract.json").read_text() == (packaged / "contract.json").read_text()
    made, kept = (load_file(folder / "model.safetensors") for folder in (tmp_path / "out", packaged))
    assert {name: value.shape for name, value in made.items()} == {name: value.shape for name, value in kept.items()}
    lines = [(folder / "README.md").read_text().splitlines() for folder in (tmp_path / "out", packaged)]
    assert [line[:20] for line in lines[0] if line[:3] != "The"] == [
        line[:20] for line in lines[1] if line[:3] != "The"
    ]


LIST = "# label wnid name numbers\n0\tn01\tcat\t1 3\n1\tn02\tsea lion\t0 2\n"
ANNOTATIONS = "".join(
    f"val_{n}.JPEG\t{wnid}\t0\t0\t62\t62\n" for n, wnid in enumerate(["n02", "n99", "n01", "n02", "n01"])
)


@pytest.fixture
def tiny(script: Loader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, for an archive of three classes of five images of which two are kept."""
    module = script("make_tiny_imagenet_50")
    (tmp_path / "list.txt").write_text(LIST)
    monkeypatch.setattr(module, "CLASS_LIST", tmp_path / "list.txt")
    monkeypatch.setattr(module, "EXPECTED_COUNTS", {"train": 6, "val": 4, "test": 4})
    return module


def tiny_source(path: Path, *, leave_out: str = "?", annotations: str = ANNOTATIONS) -> Path:
    root = "tiny-imagenet-200"
    entries = {f"{root}/val/val_annotations.txt": annotations.encode()}
    for wnid in ("n01", "n02", "n99"):
        for number in range(5):
            entries[f"{root}/train/{wnid}/images/{wnid}_{number}.JPEG"] = f"{wnid} {number}".encode()
    for number in range(5):
        entries[f"{root}/val/images/val_{number}.JPEG"] = f"val {number}".encode()
    return zip_of(path, {name: data for name, data in entries.items() if leave_out not in name})


def test_tiny_imagenet_is_split_by_its_list(tiny: ModuleType, tmp_path: Path) -> None:
    assert tiny.main([str(tiny_source(tmp_path / "source.zip")), str(tmp_path / "out.zip")]) == 0
    found = {name: data.decode() for name, data in contents(tmp_path / "out.zip").items()}
    assert found["classes.txt"] == "0 n01 cat\n1 n02 sea lion\n"
    assert found["val.txt"] == "".join(
        f"images/{wnid}/{wnid}_{n}.JPEG {label}\n"
        for label, wnid, numbers in ((0, "n01", "13"), (1, "n02", "02"))
        for n in numbers
    )
    assert found["train.txt"].splitlines()[0] == "images/n01/n01_0.JPEG 0"
    test = ["images/n01/val_2.JPEG 0", "images/n01/val_4.JPEG 0", "images/n02/val_0.JPEG 1", "images/n02/val_3.JPEG 1"]
    assert found["test.txt"].splitlines() == test
    assert found["images/n02/val_3.JPEG"] == "val 3"
    assert found["images/n01/n01_4.JPEG"] == "n01 4"
    assert len(found) == 4 + 6 + 4 + 4
    assert not [name for name in found if "n99" in name]


@pytest.mark.parametrize(
    ("options", "list_text", "message"),
    [
        ({"leave_out": "val_annotations"}, LIST, "has no tiny-imagenet-200/val/val_annotations.txt; give the public"),
        ({"leave_out": "n01_3"}, LIST, "{'train': 6, 'val': 3, 'test': 4} images of the listed classes"),
        ({"leave_out": "val_3"}, LIST, "lacks an image that its annotations name"),
        ({"annotations": "val_0.JPEG n01\n"}, LIST, "line 1 of tiny-imagenet-200/val/val_annotations.txt is not"),
        ({}, LIST + "2 n03 dog 1\n", "line 4 of"),
        ({}, LIST + "2\tn03\tdog\tone\n", "is not 'label wnid name numbers', parted by tabs"),
    ],
)
def test_tiny_imagenet_says_what_is_wrong(
    tiny: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: dict[str, str],
    list_text: str,
    message: str,
) -> None:
    (tmp_path / "list.txt").write_text(list_text)
    assert tiny.main([str(tiny_source(tmp_path / "source.zip", **options)), str(tmp_path / "out.zip")]) == 2
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["list.txt", "source.zip"]


def test_list_is_that_of_the_benchmark_data(script: Loader, real_data: Callable[[str], Path]) -> None:
    module = script("make_tiny_imagenet_50")
    classes = module.read_class_list(module.CLASS_LIST)
    with zipfile.ZipFile(real_data("tiny-imagenet-50.zip")) as archive:
        names, val = archive.read("classes.txt").decode(), archive.read("val.txt").decode()
    assert "".join(f"{entry.label} {entry.wnid} {entry.name}\n" for entry in classes) == names
    expected = {f"images/{e.wnid}/{e.wnid}_{n}.JPEG {e.label}" for e in classes for n in e.val_numbers}
    assert len(expected) == 2500
    assert set(val.splitlines()) == expected


def test_without_apt_the_browser_is_left_out(tmp_path: Path) -> None:
    command = [str(shutil.which("sh")), str(ROOT / "scripts" / "install_browser.sh")]
    found = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=True)
    assert found.stdout.startswith(
        "no Chromium (there is no apt-get): tests in a browser will be skipped; install chromium"
    )
    assert found.stderr == ""


@pytest.mark.browser
def test_the_browser_that_is_here_is_kept() -> None:
    require_browser()
    command = ["sh", str(ROOT / "scripts" / "install_browser.sh")]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout == f"Chromium is here: {shutil.which('chromium')}\n"


@pytest.mark.browser
def test_screenshots_say_what_is_wrong(script: Loader, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    require_browser()
    assert script("screenshots").main([str(tmp_path), str(tmp_path), "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}: this is no run folder")


@pytest.mark.browser
@pytest.mark.slow
def test_screenshots_are_taken(reported_runs: tuple[Path, Path], tmp_path: Path) -> None:
    require_browser()
    # in a process of its own, because the page's server leaves its event loop to the interpreter's end
    subprocess.run([sys.executable, ROOT / "scripts" / "screenshots.py", *reported_runs, "--out", tmp_path], check=True)
    pictures = [*(f"report-{name}.png" for name in ("light", "dark", "phone", "compare")), "serve.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(pictures)
    for name in pictures:
        path = tmp_path / name
        assert path.stat().st_size < (600_000 if name == "serve.png" else 300_000)  # the page shows tiles
        with Image.open(path) as picture:
            assert min(picture.size) >= 600
            assert len(picture.getcolors(1 << 22) or []) > 20


def test_concept_pictures_are_what_the_script_draws(script: Loader, tmp_path: Path) -> None:
    module = script("make_concept_pictures")
    assert module.main(["--out", str(tmp_path)]) == 0
    for name in module.PICTURES:
        drawn, committed = (
            np.asarray(Image.open(folder / f"concept-{name}.png").convert("L")).astype(float)
            for folder in (tmp_path, ROOT / "docs" / "images")
        )
        assert drawn.shape == committed.shape
        assert np.abs(drawn - committed).mean() < 0.5
        assert drawn.std() > 10
