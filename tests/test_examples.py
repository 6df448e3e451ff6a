"""The examples run as a user runs them, leave what their pages show, and the pages say the commands that they run."""

import csv
import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from PIL import Image

import anychan as ac
from anychan.data.channels_file import find_channels_file
from anychan.data.describe import describe
from anychan.data.readers import read_image
from anychan.errors import DataError
from anychan.presets import SENTINEL2
from tests.runs import ROOT, pam

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # pictures of no place


def run_example(name: str, out: Path, *options: object) -> str:
    """What `python examples/<name>.py --quick` prints."""
    command = [sys.executable, str(ROOT / "examples" / f"{name}.py"), "--quick", "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *map(str, options)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def said_commands(name: str) -> list[str]:
    """The commands on the example's own data, in its page."""
    text = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    blocks = "".join(re.findall(r"```bash\n(.*?)```", text, re.DOTALL)).replace("\\\n  ", "")
    return [line for line in blocks.splitlines() if line.startswith("anychan ") and "path/to" not in line]


def check_page(name: str, printed: str, out: Path) -> None:
    """Every command of the page is one that the example ran; --quick only adds options to some."""
    run = [line[2:] for line in printed.splitlines() if line.startswith("$ anychan ")]
    run = [line.replace(str(out), f"runs/{name}").replace(f"{ROOT}/", "") for line in run]
    said = said_commands(name)
    assert len(said) >= 4
    assert [line for line in said if not any(ran.startswith(line) for ran in run)] == []


def check_report(run: Path, channels: int) -> None:
    report = json.loads((run / "subsets.json").read_text())
    assert max(len(row["channels"]) for row in report["subsets"]) == channels
    assert report["smallest_sensor"]["channels"]
    assert report["shapley"] is not None
    for picture in ("subsets.png", "subsets-front.png", "curves.png"):
        assert_picture(run / picture)


def assert_picture(path: Path) -> None:
    """A PNG that shows something."""
    pixels = np.asarray(Image.open(path).convert("L"))
    assert min(pixels.shape) > 200
    assert pixels.std() > 10


def test_satellite(tmp_path: Path) -> None:
    out = tmp_path / "out"
    printed = run_example("satellite", out)
    check_page("satellite", printed, out)
    said = find_channels_file(out / "tiles.zip")
    assert said is not None
    assert said.channels.names[-1] == "B8A"
    assert set(said.channels) == set(SENTINEL2)
    check_report(out / "run", 13)
    for picture in ("channels.png", "scene-map.png", "scene-10m-map.png"):
        assert_picture(out / picture)
    with rasterio.open(out / "scene.tif") as scene, rasterio.open(out / "scene-map.tif") as found:
        assert scene.descriptions == said.channels.names
        assert found.crs == scene.crs
        assert (found.transform.a, found.transform.e) == (16 * scene.transform.a, 16 * scene.transform.e)
        assert (found.transform.c, found.transform.f) == (scene.transform.c, scene.transform.f)
        assert found.shape == (scene.height // 16, scene.width // 16) == (20, 12)
        assert set(np.unique(found.read(1))) <= set(range(10))
    assert "9 of the model's 13 channels are missing (B01, B05, B06, B07, B09, B10, B11, B12, B8A)" in printed


def test_satellite_on_other_tiles(tmp_path: Path, real_data: Callable[[str], Path]) -> None:
    """Of 64×64 pixels, in one folder a class, without channels.yaml."""
    run_example("satellite", tmp_path, "--data", real_data("eurosat-ms-mini.zip"))
    check_report(tmp_path / "run", 13)
    assert_picture(tmp_path / "scene-map.png")


def check_microscopy(out: Path, channels: list[str], cells: int) -> None:
    check_report(out / "run", len(channels))
    with (out / "cells.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == cells
    said = find_channels_file(out / "field")
    assert said is not None
    assert [channel.name for channel in said.channels] == channels
    with rasterio.open(out / "field-map.tif") as found:
        assert set(np.unique(found.read(1))) <= set(range(4))
    for picture in ("channels.png", "field-channels.png", "field-map.png"):
        assert_picture(out / picture)


def test_microscopy(tmp_path: Path) -> None:
    out = tmp_path / "out"
    check_page("microscopy", run_example("microscopy", out), out)
    check_microscopy(out, ["DNA", "actin", "tubulin"], 120)


def test_microscopy_on_real_cells(tmp_path: Path, real_data: Callable[[str], Path]) -> None:
    field = ["--field", real_data("cell-painting-field.zip")]
    run_example("microscopy", tmp_path, "--data", real_data("cell-cycle.npz"), *field)
    check_microscopy(tmp_path, ["Ch3", "Ch4", "Ch6"], 3417)
    said = find_channels_file(tmp_path / "your-field.tif")
    assert said is None  # it is written where --out says, not beside the data
    assert "ch6" in (tmp_path / "your-field.yaml").read_text()
    assert_picture(tmp_path / "your-field.png")


def check_hyperspectral(out: Path, bands: int) -> None:
    check_report(out / "run", bands)
    assert json.loads((out / "run" / "subsets.json").read_text())["search"] is not None
    with rasterio.open(out / "map.tif") as found:
        assert found.read(1).min() >= 0
    for picture in ("channels.png", "map.png"):
        assert_picture(out / picture)


def test_hyperspectral(tmp_path: Path) -> None:
    out = tmp_path / "out"
    check_page("hyperspectral", run_example("hyperspectral", out), out)
    check_hyperspectral(out, 60)


def test_hyperspectral_on_a_real_scene(tmp_path: Path, real_data: Callable[[str], Path]) -> None:
    run_example("hyperspectral", tmp_path, "--data", real_data("samson.mat"))
    check_hyperspectral(tmp_path, 156)


def load_example(name: str) -> dict[str, Any]:
    """The names of an example that registers a part; its page runs it as the command (see test_docs.py)."""
    file = ROOT / "examples" / f"{name}.py"
    assert len(file.read_text().splitlines()) < 40
    return runpy.run_path(str(file))


@pytest.mark.usefixtures("own_parts")
def test_add_model(tmp_path: Path) -> None:
    load_example("add_model")
    model = ac.create_model("two_convs", num_classes=5, stem="mean", options={"width": 8}).eval()
    x = torch.randint(0, 255, (2, 3, 9, 7), dtype=torch.uint8)
    assert model(x).shape == (2, 5)
    assert model.min_size == 1
    present = torch.tensor([[True, False, True]] * 2)
    torch.testing.assert_close(model(x, present=present), model.select(["B", "R"])(x[:, [2, 0]]))
    found = ac.profile(model, (1, 3, 32, 32), depth=True)
    assert (found.depth.features, found.depth.classifier) == (2, 1)  # type: ignore[union-attr]
    assert found.macs == 16 * 16 * (25 * 3 * 8 + 9 * 8 * 16) + 16 * 5
    model.save_pretrained(tmp_path)
    torch.testing.assert_close(ac.load(tmp_path)(x), model(x))


@pytest.mark.usefixtures("own_parts")
def test_add_stem() -> None:
    load_example("add_stem")
    model = ac.create_model("resnet8", channels=ac.SENTINEL2, num_classes=5, stem="nearest").eval()
    x = torch.rand(2, 13, 9, 7) * 255
    b03, b12 = (ac.SENTINEL2.index(name) for name in ("B03", "B12"))
    given = x.new_zeros(x.shape)
    middle = (b03 + b12) // 2 + 1  # those up to the middle have B03 next to them
    given[:, :middle], given[:, middle:] = x[:, [b03]], x[:, [b12]]
    found = model.select(["B12", "B03"])(x[:, [b12, b03]])
    torch.testing.assert_close(found, model(given), rtol=1e-4, atol=1e-5)
    present = torch.zeros(2, 13, dtype=torch.bool)
    present[:, [b03, b12]] = True
    torch.testing.assert_close(model(x, present=present), found, rtol=1e-4, atol=1e-5)
    plain = model.for_channels(["B12", "B03"])
    torch.testing.assert_close(plain(x[:, [b12, b03]]), found, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("own_parts")
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_add_reader(dtype: Any, tmp_path: Path) -> None:
    load_example("add_reader")
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (5, 7, 4)).astype(dtype)
    bands = ac.ChannelSet(ac.Channel(name, "drone") for name in ("b", "g", "r", "nir"))
    np.testing.assert_array_equal(read_image(pam(image), "a.pam", bands), image)
    (tmp_path / "a.pam").write_bytes(pam(image))
    found = describe(tmp_path / "a.pam")
    assert [channel.maximum for channel in found.facts] == image.max((0, 1)).tolist()
    with pytest.raises(DataError, match=r"^b.pam: the image cannot be read \(it does not begin with P7\)$"):
        read_image(b"P6" + pam(image)[2:], "b.pam", bands)
    with pytest.raises(DataError, match=r"^b.pam: the image cannot be read \(cannot reshape array of size 139"):
        read_image(pam(image)[: -image.itemsize], "b.pam", bands)
