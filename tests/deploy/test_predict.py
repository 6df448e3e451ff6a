import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

from anychan.data.readers import read_image
from anychan.models.pretrained import save
from anychan.training.fit import fit
from tests.command import Command
from tests.runs import RGB_SPLIT, S2_TILES, small_recipe, tiff, write_tree
from tests.scenes import BANDS, PLACE, noise, scene_model, write_scene


@pytest.fixture(scope="module")
def tiles_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on Sentinel-2 tiles of forest and water."""
    folder = tmp_path_factory.mktemp("runs") / "tiles"
    fit(small_recipe(S2_TILES, stem="completion", epochs=12), folder)
    return folder


@pytest.fixture(scope="module")
def mosaic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rows of three forest tiles above two of water, 12 pixels each; a sixth column without data."""
    tiles = {
        name: [read_image(path.read_bytes(), path.name, BANDS) for path in sorted((S2_TILES / name).iterdir())]
        for name in ("forest", "water")
    }
    rows = [np.concatenate(tiles[name][start : start + 3], 1) for name in ("forest", "water") for start in (0, 3)]
    array = np.concatenate([np.concatenate(rows, 0), np.zeros((48, 12, 4), np.uint16)], 1)
    folder = tmp_path_factory.mktemp("mosaic")
    return write_scene(folder / "mosaic.tif", array, names=("B02", "B03", "B04", "B08"), nodata=0)


def test_forest_above_water(command: Command, tiles_run: Path, mosaic: Path, tmp_path: Path) -> None:
    out = tmp_path / "map.tif"
    code, said, err = command("predict", tiles_run, mosaic, "--out", out, "--window", 12, "--stride", 12)
    assert (code, err) == (0, "")
    assert said.splitlines() == [
        "4x4 cells of 12x12 pixels: forest 37.5 %, water 37.5 %, no class 25.0 %",
        f"map: {out}; confidence: {tmp_path / 'map-confidence.tif'}; picture: {tmp_path / 'map.png'}",
    ]
    with rasterio.open(out) as found, rasterio.open(mosaic) as scene:
        np.testing.assert_array_equal(found.read(1), np.array([[0] * 3 + [255]] * 2 + [[1] * 3 + [255]] * 2))
        assert found.crs == scene.crs
        assert found.bounds == scene.bounds
        assert (found.tags()["CLASS_0"], found.tags()["CLASS_1"]) == ("forest", "water")
    with rasterio.open(tmp_path / "map-confidence.tif") as found:
        assert np.nanmin(found.read(1)) > 0.5
        assert np.isnan(found.read(1)[:, 3]).all()


def test_a_map_with_flips_is_the_mean_of_both_maps(
    command: Command, tiles_run: Path, mosaic: Path, tmp_path: Path
) -> None:
    """Confidences of the windows and of their mirror images, where both say the same class."""
    with rasterio.open(mosaic) as file:
        mirrored = np.moveaxis(file.read(), 0, -1)[:, ::-1]
    turned = write_scene(tmp_path / "turned.tif", mirrored, names=("B02", "B03", "B04", "B08"), nodata=0)
    maps = []
    for number, (scene, *more) in enumerate(((mosaic, "--flip"), (mosaic,), (turned,))):
        out = tmp_path / f"{number}.tif"
        code, _, err = command("predict", tiles_run, scene, "--out", out, "--window", 12, "--stride", 12, *more)
        assert (code, err) == (0, "")
        with rasterio.open(tmp_path / f"{number}-confidence.tif") as file:
            maps.append(file.read(1))
    np.testing.assert_allclose(maps[0], (maps[1] + maps[2][:, ::-1]) / 2, atol=1e-6)
    assert np.nanmax(np.abs(maps[0] - maps[1])) > 1e-4


def test_inputs_unlike_the_trainings_are_warned_of(
    command: Command, tiles_run: Path, mosaic: Path, tmp_path: Path
) -> None:
    with rasterio.open(mosaic) as scene:
        array = np.moveaxis(scene.read(), 0, -1)
    moved = np.where(array == 0, 0, array + np.uint16(20_000))
    write_scene(tmp_path / "moved.tif", moved, names=("B02", "B03", "B04", "B08"), nodata=0)
    asked = ("--out", tmp_path / "map.tif", "--window", 12, "--stride", 12)
    code, _, err = command("predict", tiles_run, tmp_path / "moved.tif", *asked)
    lines = err.splitlines()
    assert (code, len(lines)) == (0, 4)
    assert lines[0].startswith("warning: channel B02: the inputs' mean, 2")
    write_tree(tmp_path / "tiles", {"a.tif": tiff(moved[:12, :12], planarconfig="contig")})
    write_tree(tmp_path / "tiles", {"channels.yaml": (S2_TILES / "channels.yaml").read_text()})
    code, _, err = command("predict", tiles_run, tmp_path / "tiles", "--out", tmp_path / "tiles.csv")
    assert (code, err.count("warning: channel B0")) == (0, 4)


def test_a_folder_of_tiles(command: Command, tiles_run: Path, tmp_path: Path) -> None:
    code, said, _ = command("predict", tiles_run, S2_TILES, "--out", tmp_path / "tiles.csv")
    assert (code, said) == (0, f"12 images; table: {tmp_path / 'tiles.csv'}\n")
    lines = (tmp_path / "tiles.csv").read_text().splitlines()
    assert lines[0] == "sample,class,confidence,channels,absent"
    assert [line.split(",")[1] for line in lines[1:]] == ["forest"] * 6 + ["water"] * 6


def test_several_inputs_make_one_table_on_standard_output(command: Command, tiles_run: Path, tmp_path: Path) -> None:
    forest, water = S2_TILES / "forest", tmp_path / "water"
    shutil.copytree(S2_TILES / "water", water)
    (water / "channels.yaml").write_text((S2_TILES / "channels.yaml").read_text())
    files = [water / name for name in ("water_3.tif", "water_0.tif")]
    asked = ("--channels", "B02,B03,B04,B08", "--format", "jsonl", "--probabilities")
    code, said, err = command("predict", tiles_run, *files, forest, *asked)
    rows = [json.loads(line) for line in said.splitlines()]
    assert (code, err) == (0, "")
    assert [row["sample"] for row in rows[:3]] == [*map(str, files), str(forest / "forest_0.tif")]
    assert [row["class"] for row in rows] == ["water"] * 2 + ["forest"] * 6
    assert all(sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-5) for row in rows)
    code, said, err = command("predict", tiles_run, files[0])
    assert (code, said.splitlines()[0], err) == (0, "sample,class,confidence,channels,absent", "")
    code, said, err = command("predict", tiles_run, *files, "--out", tmp_path / "map.tif")
    assert (code, said) == (2, "")
    assert "a map of one scene, but there are 2 inputs; for a table of images give an --out that ends in .csv" in err
    assert not (tmp_path / "map.tif").exists()


BAD: dict[str, tuple[str, str, str, str]] = {  # input, --out, other options, the sentence's beginning
    "no suffix": (
        "mosaic.tif",
        "map.png",
        "",
        "--out is {out}, but it must end in .tif, for a scene's map, or .csv or",
    ),
    "too many": ("mosaic.tif", "map.csv", "--top-k 3", "--top-k is 3, but the model has 2 classes"),
    "table of a .mat": ("scene.mat", "map.csv", "", "{in} is a scene, whose map is a GeoTIFF; give an --out that ends"),
    "absent": ("absent.tif", "map.tif", "", "{in}: there is no such file or folder"),
    "no scene": ("notes.txt", "map.tif", "", "{in} is no scene (.tif, .tiff, .npy, .mat, or a folder of one TIFF a"),
    "no image": ("notes.txt", "map.csv", "", "{in}: it is no image (.jpeg, .jpg, .npy, .png, .tif, .tiff), folder"),
    "no TIFF": ("fake.tif", "map.tif", "", "{in}: the file is no TIFF that GDAL can read ("),
    "no folder": ("mosaic.tif", "absent/map.tif", "", "{out}: there is no folder {parent}; make it first"),
    "gaps": (
        "mosaic.tif",
        "map.tif",
        "--stride 13 --window 12",
        "--stride is 13, but it must be at most the window, 12",
    ),
    "no window": ("mosaic.tif", "map.tif", "--window 0", "--window is 0, but it must be 1 or more pixels"),
    "no number": ("mosaic.tif", "map.tif", "--window many", "window is many, but it must be int"),
    "small": ("mosaic.tif", "map.tif", "", "{in}: the scene has 48x48 pixels, less than one window of 64; give a"),
    "no batch": ("mosaic.tif", "map.tif", "--batch-size 0", "--batch-size is 0, but it must be 1 or more images"),
    "few names": (
        "mosaic.tif",
        "map.tif",
        "--channels B02,B03",
        "{in}: the scene has 4 bands, but --channels names 2:",
    ),
    "no sensor": (
        "mosaic.tif",
        "map.tif",
        "--channels sentinel3:B02,x",
        "channel 'sentinel3:B02': no sensor is called",
    ),
    "unknown": ("mosaic.tif", "map.tif", "--channels B02,B03,B04,x", "{in}: the model knows sentinel2:B02, "),
    "twice": ("mosaic.tif", "map.tif", "--channels B02,B03,B04,B2", "channel 'sentinel2:B02' is there twice; name"),
    "no mat": ("mosaic.tif", "map.tif", "--cube Y", "--cube is 'Y', but {in} is no .mat file, whose arrays alone"),
    "itself": ("mosaic.tif", "mosaic.tif", "--window 12", "{in} is part of the scene, so the map cannot be written"),
    "no names": ("plain.tif", "map.tif", "", "{in}: nobody says which channels its 4 bands are; give --channels,"),
    "no band file": ("bands", "map.tif", "", "{in}: sample 'T_*.tif' has no file for band B03 (*_{channel}.tif)"),
    "no pattern": (".", "map.tif", "", "{in}: a scene of one file a channel needs a channels.yaml in the folder"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_is_told_in_one_sentence(
    case: str, command: Command, tiles_run: Path, mosaic: Path, tmp_path: Path
) -> None:
    write_tree(
        tmp_path, {"mosaic.tif": mosaic.read_bytes(), "notes.txt": "hello", "fake.tif": "hello", "scene.mat": ""}
    )
    write_scene(tmp_path / "plain.tif", noise(64, 64))
    text = 'channels: [sentinel2:B02, sentinel2:B03]\nfiles: "*_{channel}.tif"'
    write_tree(tmp_path / "bands", {"channels.yaml": text, "T_B02.tif": b""})
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    given, out, options, message = BAD[case]
    target = tmp_path / out
    code, said, err = command("predict", tiles_run, tmp_path / given, "--out", target, *options.split())
    wanted = message.replace("{in}", str(tmp_path / given)).replace("{out}", str(target))
    assert err.startswith(f"anychan: {wanted.replace('{parent}', str(target.parent))}")
    assert (code, said, len(err.splitlines())) == (2, "", 1)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_folder_that_is_no_model_is_told(command: Command, mosaic: Path, tmp_path: Path) -> None:
    code, _, err = command("predict", RGB_SPLIT, mosaic, "--out", tmp_path / "map.tif")
    assert code == 2
    assert "there is no contract here; name the folder of a saved model" in err


def peak_memory(*arguments: object) -> float:
    """Largest resident memory of the command, in MB: Linux's own count, as `ru_maxrss` would hold the parent's too."""
    code = (
        "import sys; from anychan.cli import main\n"
        "assert main(sys.argv[1:]) == 0\n"
        "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    return int(done.stdout.split("VmHWM:")[1].split()[0]) / 1024


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read as Linux tells it")
def test_memory_is_flat_on_a_scene_of_10_000_pixels(tmp_path: Path) -> None:
    """600 MB of pixels; measured: 75 MB more than for 1,000 × 1,000 (wider rows, a tile row, and the picture)."""
    peaks = {}
    save(scene_model(scene_model().channels.select(["B02", "B03", "B04"])), tmp_path / "model")
    for size in (1_000, 10_000):
        options = {**PLACE, "tiled": True, "compress": "lzw", "interleave": "pixel", "dtype": "uint16", "count": 3}
        with rasterio.open(tmp_path / "scene.tif", "w", driver="GTiff", height=size, width=size, **options) as file:
            for top in range(0, size, 500):
                rows = np.moveaxis(noise(500, size, 3, seed=top), -1, 0)
                file.write(rows, window=Window(0, top, size, 500))
        given = (tmp_path / "model", tmp_path / "scene.tif", "--channels", "B02,B03,B04")
        peaks[size] = peak_memory("predict", *given, "--out", tmp_path / "map.tif")
    assert peaks[10_000] - peaks[1_000] < 100, peaks
