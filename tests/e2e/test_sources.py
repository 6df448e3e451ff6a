"""One run over two sensors: the same commands as for one source, on real files."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.command import Command
from tests.runs import S2_TILES

BANDS = ["B02", "B03", "B04", "B08"]  # of the tiles, in order
OPTIONS = ("--train.epochs", 2, "--train.batch_size", 4, "--train.precision", "float32", "--data.size", 16)
SPLIT = ("--data.val_fraction", 0.34, "--data.test_fraction", 0.34)


def sensor(folder: Path, bands: list[str], *, half: int, shift: int = 0, head: str = "") -> Path:
    """A folder of half of the tiles with some of their bands, stored with all values `shift` higher."""
    for path in sorted(S2_TILES.glob("*/*.tif"))[half::2]:
        tile = np.moveaxis(tifffile.imread(path), -1, 0)[[BANDS.index(band) for band in bands]] + np.uint16(shift)
        (folder / path.parent.name).mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(folder / path.parent.name / path.name, tile, photometric="minisblack", planarconfig="separate")
    channels = "".join(f"  - sentinel2:{band}\n" for band in bands)
    (folder / "channels.yaml").write_text(f"{head}channels:\n{channels}")
    return folder


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    older = sensor(tmp_path / "older", ["B02", "B03"], half=0, head="unit: reflectance\nscale: 0.0001\n")
    newer = ["B08", "B03", "B04"]
    head = "unit: reflectance\nscale: 0.0001\noffset: -0.1\n"
    return older, sensor(tmp_path / "newer", newer, half=1, shift=1000, head=head)


def test_two_sources_each_tested_alone(command: Command, pair: tuple[Path, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    paths = f"[{pair[0]}, {pair[1]}]"
    train = ("train", "--data.path", paths, "--out", run, *OPTIONS, *SPLIT, "--train.channel_sampling", "uniform")
    code, out, err = command(*train, "--data.unseen_pairs", "wavelength", "--model.stem", "completion")
    assert code == 0, err
    assert [line.split(", ")[2].split(" ")[0] for line in out.splitlines() if "test accuracy" in line] == [
        "older",
        "newer",
    ]
    contract = json.loads((run / "contract.json").read_text())
    assert [channel["name"] for channel in contract["channels"]] == BANDS
    assert contract["batch_norm"] == "size"
    assert contract["statistics"]["pixels"][0][2] == contract["statistics"]["pixels"][0][3] == 0
    found = json.loads((run / "run.json").read_text())
    assert list(found["test_of_sources"]) == ["older", "newer"]
    assert found["test"]["n"] == sum(row["n"] for row in found["test_of_sources"].values())
    report = command.json("evaluate", run, "--source", "newer", "--json")
    assert {channel for row in report["subsets"] for channel in row["channels"]} == {"B03", "B04", "B08"}
    assert report["absent_channels"] == ["B02"]
    code, _, err = command("evaluate", run)
    assert (code, err) == (2, "anychan: there are 2 sources; choose by --source: older, newer\n")


def test_equal_reflectance_is_equal_numbers(pair: tuple[Path, Path]) -> None:
    """B03 of the newer sensor is stored 1,000 higher, and its channels.yaml says so."""
    from anychan.data.dataset import load_data
    from anychan.recipe import DataConfig

    data = load_data(
        DataConfig(path=[str(path) for path in pair], size=16, val_fraction=0.34, test_fraction=0.34), seed=0
    )
    alone = load_data(DataConfig(path=str(S2_TILES), size=16), seed=0)
    columns = [part.index.index(1) for part in data.parts("train") if part.index is not None]
    means = [float(part.images[..., column].mean()) for part, column in zip(data.parts("train"), columns, strict=True)]
    expected = float(alone.statistics.mean[1])
    assert means == pytest.approx([expected, expected], rel=0.05)


def test_pairs_of_no_source_are_refused_by_name(command: Command, pair: tuple[Path, Path], tmp_path: Path) -> None:
    train = ("train", "--data.path", f"[{pair[0]}, {pair[1]}]", "--out", tmp_path / "run", *OPTIONS, *SPLIT)
    code, _, err = command(*train, "--model.stem", "completion")
    assert code == 2
    assert err.startswith("anychan: channels B02 and B04 were never seen together")
    assert not (tmp_path / "run").exists()


def test_bare_names_of_two_sources_are_refused(command: Command, pair: tuple[Path, Path], tmp_path: Path) -> None:
    (pair[1] / "channels.yaml").write_text("channels: [B08, B03, B04]\n")
    train = ("train", "--data.path", f"[{pair[0]}, {pair[1]}]", "--out", tmp_path / "run", *OPTIONS, *SPLIT)
    code, _, err = command(*train)
    assert code == 2
    assert f"{pair[1]}: its channels B08+B03+B04 name no sensor" in err
