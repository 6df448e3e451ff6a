"""The examples run as a user runs them, leave what their pages show, and the pages say the commands that they run."""

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from anychan.data.channels_file import find_channels_file
from anychan.presets import SENTINEL2
from tests.runs import ROOT

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
