"""The same four commands on real sensors: a zip of Sentinel-2 tiles, one file a channel, and a hyperspectral scene."""

import csv
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile
import yaml

from anychan.presets import SENTINEL2
from tests.command import Command

OPTIONS = ("--model.name", "baseline_cnn", "--train.epochs", 1, "--train.precision", "float32")
FOREST = ("forest", "woodland")
Find = Callable[[str], Path]


def succeed(command: Command, *arguments: object) -> str:
    code, out, err = command(*arguments)
    assert code == 0, err
    return out


def contract_channels(run: Path) -> list[str]:
    return [channel["name"] for channel in json.loads((run / "contract.json").read_text())["channels"]]


def check_evaluation(command: Command, run: Path, *options: object) -> None:
    """All channels do as well in `evaluate` as they did when training ended."""
    found = command.json("evaluate", run, *options, "--json")
    whole = max(found["subsets"], key=lambda row: len(row["channels"]))
    assert whole["channels"] == contract_channels(run)
    result = json.loads((run / "run.json").read_text())["test"]
    assert (whole["accuracy"], whole["n"]) == (pytest.approx(result["accuracy"]), result["n"])


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(0 < float(row["confidence"]) <= 1 for row in rows)
    return rows


def check_place(out: Path, scene: Path, cells: tuple[int, int]) -> None:
    """A map covers the ground that the scene covers, in the same reference system."""
    with rasterio.open(out) as found, rasterio.open(scene) as given:
        assert found.shape == cells
        assert found.crs == given.crs
        assert found.crs is not None
        assert tuple(found.bounds) == pytest.approx(tuple(given.bounds), rel=1e-12)
        assert set(np.unique(found.read(1))) <= {0, 1}


def test_a_zip_of_sentinel_2_tiles(command: Command, real_data: Find, tmp_path: Path) -> None:
    data, run = tmp_path / "tiles.zip", tmp_path / "run"
    data.symlink_to(real_data("eurosat-ms-mini.zip"))
    order = [channel.name for channel in SENTINEL2 if channel.name != "B8A"] + ["B8A"]
    said = succeed(
        command, "data", "describe", data, "--channels", ",".join(f"sentinel2:{name}" for name in order), "--samples", 8
    )
    assert f"written: {tmp_path / 'tiles.channels.yaml'}" in said
    few = ("--data.num_classes", 2, "--data.size", 16, "--train.batch_size", 8)
    succeed(command, "train", "--data.path", data, "--out", run, *OPTIONS, *few)
    assert contract_channels(run) == order
    check_evaluation(command, run, "--channels", ",".join(order))
    tiles = tmp_path / "new.zip"  # of other classes, in a folder that means nothing
    with zipfile.ZipFile(data) as whole, zipfile.ZipFile(tiles, "w") as part:
        names = [name for name in whole.namelist() if "/River/" in name and name.endswith(".tif")][:5]
        for name in names:
            part.writestr(f"unsorted/{Path(name).name}", whole.read(name))
        (tmp_path / "tile.tif").write_bytes(whole.read(names[0]))
    shutil.copy(tmp_path / "tiles.channels.yaml", tmp_path / "new.channels.yaml")
    shutil.copy(tmp_path / "tiles.channels.yaml", tmp_path / "tile.channels.yaml")
    succeed(command, "predict", run, tiles, "--out", tmp_path / "new.csv")
    rows = table(tmp_path / "new.csv")
    assert [row["sample"] for row in rows] == sorted(f"unsorted/{Path(name).name}" for name in names)
    assert {row["class"] for row in rows} <= {"AnnualCrop", "Forest"}
    windows = ("--window", 16, "--stride", 8)
    succeed(command, "predict", run, tmp_path / "tile.tif", "--out", tmp_path / "map.tif", *windows)
    check_place(tmp_path / "map.tif", tmp_path / "tile.tif", (8, 8))


def land_cover(archive: Path, folder: Path) -> dict[str, str]:
    """Unpack BigEarthNet's Sentinel-2 patches; sample → whether it is forest by its labels."""
    found = {}
    with zipfile.ZipFile(archive) as file:
        for name in file.namelist():
            if name.startswith("BigEarthNet-S2") and name.endswith(".tif"):
                target = folder / Path(name).parent.name / Path(name).name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(file.read(name))
            elif name.startswith("BigEarthNet-S2") and name.endswith(".json"):
                labels = " ".join(json.loads(file.read(name))["labels"]).lower()
                found[Path(name).parent.name] = "wood" if any(word in labels for word in FOREST) else "field"
    return found


def test_one_file_a_band_of_three_resolutions(command: Command, real_data: Find, tmp_path: Path) -> None:
    data, run, new = tmp_path / "data", tmp_path / "run", tmp_path / "new"
    labels = land_cover(real_data("bigearthnet-samples.zip"), data)
    assert sorted(labels.values()) == ["field"] * 3 + ["wood"] * 3
    shutil.copytree(data, new)
    succeed(command, "data", "describe", data, "--sensor", "sentinel2")
    written = yaml.safe_load((data / "channels.yaml").read_text())
    assert written["files"] == "{sample}_{channel}.tif"
    lines = ["sample,label,split"]
    for label in ("field", "wood"):
        samples = sorted(sample for sample in labels if labels[sample] == label)
        lines += [f"{s},{label},{split}" for s, split in zip(samples, ("train", "val", "test"), strict=True)]
    (data / "samples.csv").write_text("\n".join(lines))
    succeed(command, "train", "--data.path", data, "--out", run, *OPTIONS, "--data.size", 16, "--train.batch_size", 2)
    bands = [channel.name for channel in SENTINEL2 if channel.name != "B10"]
    assert sorted(contract_channels(run)) == sorted(bands)
    check_evaluation(command, run, "--channels", ",".join(contract_channels(run)))
    shutil.copy(data / "channels.yaml", new)  # but no labels
    succeed(command, "predict", run, new, "--out", tmp_path / "new.csv")
    rows = table(tmp_path / "new.csv")
    assert [row["sample"] for row in rows] == [f"{sample}/{sample}" for sample in sorted(labels)]
    assert {row["class"] for row in rows} <= {"field", "wood"}
    scene = new / rows[0]["sample"].partition("/")[0]
    shutil.copy(data / "channels.yaml", scene)
    succeed(command, "predict", run, scene, "--out", tmp_path / "map.tif", "--window", 40, "--stride", 20)
    check_place(tmp_path / "map.tif", next(scene.glob("*_B02.tif")), (6, 6))


def test_one_file_a_stain(command: Command, real_data: Find, tmp_path: Path) -> None:
    data, run, new = tmp_path / "data", tmp_path / "run", tmp_path / "new"
    with zipfile.ZipFile(real_data("cell-painting-field.zip")) as file:
        file.extractall(tmp_path / "field")
    for path in sorted((tmp_path / "field").iterdir()):
        whole = tifffile.imread(path)
        text = path.stem.partition("-")[2].partition("sk")[0]  # ch1 to ch6
        for number in range(16):  # tiles of 120 pixels along the field's left and right edges
            side, top = ("left", "right")[number % 2], 120 * (number // 2)
            left = 0 if side == "left" else whole.shape[1] - 120
            for folder in (data / side, new):
                folder.mkdir(parents=True, exist_ok=True)
                tile = whole[top : top + 120, left : left + 120]
                tifffile.imwrite(folder / f"t{number:02}-{text}sk1.tiff", tile, compression="lzw")
    stains = [f"ch{number}" for number in range(1, 7)]
    succeed(command, "data", "describe", data, "--sensor", "microscope")
    written = yaml.safe_load((data / "channels.yaml").read_text())
    assert written["files"] == "{sample}-{channel}sk1.tiff"
    split = ("--data.val_fraction", 0.25, "--data.test_fraction", 0.25, "--data.size", 16, "--train.batch_size", 4)
    succeed(command, "train", "--data.path", data, "--out", run, *OPTIONS, *split)
    assert contract_channels(run) == stains
    check_evaluation(command, run)
    assert (run / "subsets.json").is_file()
    shutil.copy(data / "channels.yaml", new)
    succeed(command, "predict", run, new, "--out", tmp_path / "new.csv")
    rows = table(tmp_path / "new.csv")
    assert [row["sample"] for row in rows] == [f"t{number:02}" for number in range(16)]
    assert {row["class"] for row in rows} <= {"left", "right"}


def test_a_hyperspectral_scene(command: Command, real_data: Find, tmp_path: Path) -> None:
    data, run = tmp_path / "samson.mat", tmp_path / "run"
    data.symlink_to(real_data("samson.mat"))
    (tmp_path / "samson.channels.yaml").write_text(
        "channels: {sensor: samson, count: 156, wavelengths_nm: [401, 889]}\n"
    )
    keys = ("--data.cube", "Y", "--data.labels", "A", "--data.size", 9, "--train.batch_size", 32)
    succeed(command, "train", "--data.path", data, "--out", run, *OPTIONS, *keys)
    assert contract_channels(run) == [f"b{number:03}" for number in range(1, 157)]
    found = command.json("evaluate", run, "--channels", "b020,b080,b140", "--json")
    assert found["subsets"][-1]["channels"] == ["b020", "b080", "b140"]
    said = succeed(command, "predict", run, data, "--out", tmp_path / "map.tif", "--window", 9, "--stride", 3)
    assert "the scene has no georeference, so the map has none" in said
    labels, confidence = (tifffile.imread(tmp_path / f"{name}.tif") for name in ("map", "map-confidence"))
    assert labels.shape == confidence.shape == (32, 32)
    assert set(np.unique(labels)) <= {0, 1, 2}
    assert confidence.min() > 1 / 3
    assert (tmp_path / "map.png").stat().st_size > 0
    code, _, err = command("predict", run, data, "--out", tmp_path / "other.tif", "--cube", "X")
    assert (code, (tmp_path / "other.tif").exists()) == (2, False)
    assert f"{data}: there is no key 'X'; there are " in err
    assert err.endswith("name one by --cube\n")
