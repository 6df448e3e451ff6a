"""What the README says is run here: its Python, its commands (on small data), its links."""

import doctest
import io
import re
import shlex
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile

from anychan.cli import main
from anychan.data.channels_file import ChannelsFile, find_channels_file
from anychan.presets import SENTINEL2
from tests.runs import tiff, write_tree

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
RGB_SPLIT = ROOT / "tests" / "fixtures" / "rgb_split"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_python() -> None:
    text = "\n".join(blocks("python"))
    examples = doctest.DocTestParser().get_doctest(text, {}, "README", "README.md", 0)
    assert len(examples.examples) >= 6
    found = doctest.DocTestRunner().run(examples)
    assert found.failed == 0


def command_lines() -> list[list[str]]:
    """The words of each anychan command, in order."""
    text = "\n".join(blocks("bash")).replace("\\\n", " ")
    return [shlex.split(line, comments=True)[1:] for line in text.splitlines() if line.startswith("anychan ")]


def test_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """As they stand, but for the data (three classes of drawings) and one epoch."""
    monkeypatch.chdir(ROOT)
    first = command_lines()[:2]
    assert [words[0] for words in first] == ["train", "evaluate"]
    small = "--data.num_classes 3 --train.epochs 1 --train.warmup_epochs 0"
    for words in first:
        words = [word.replace("path/to/tiny-imagenet-50.zip", str(RGB_SPLIT)) for word in words]
        words = [word.replace("runs/", f"{tmp_path}/") for word in words]
        assert main(words + (shlex.split(small) if words[0] == "train" else [])) == 0
    assert "saved batch-norm statistics" in " ".join(capsys.readouterr().out.split())


def two_sensors(folder: Path) -> None:
    """A zip of 13-band tiles, a drone's folder with classes of the same names, and a scene whose bands have names."""
    with zipfile.ZipFile(ROOT / "src" / "anychan" / "demo_data" / "eurosat-s2-32.zip") as tiles:
        names = [name for name in tiles.namelist() if re.search(r"/(Forest|River)_\d+\.tif$", f"/{name}")]
        images = {name: tifffile.imread(io.BytesIO(tiles.read(name))) for name in names}
        said = ChannelsFile.parse(tiles.read("channels.yaml").decode(), "channels.yaml")
    order = said.channels.indices(SENTINEL2)
    with zipfile.ZipFile(folder / "tiles.zip", "w") as ours:
        for name, image in images.items():
            bands = image[list(order)]
            ours.writestr("/".join(name.split("/")[-2:]), tiff(bands, planarconfig="separate"))
            some = bands[[1, 2, 3, 7]]  # blue, green, red, near infrared
            write_tree(folder / "drone", {"/".join(name.split("/")[-2:]): tiff(some, planarconfig="separate")})
    entries = "".join(
        f"- {{name: {name}, sensor: drone, wavelength_nm: {centre}}}\n"
        for name, centre in (("blue", 475), ("green", 560), ("red", 668), ("nir", 840))
    )
    (folder / "drone" / "channels.yaml").write_text(f"channels:\n{entries}")
    scene = np.tile(next(iter(images.values()))[list(order)], (1, 4, 4))
    options = {"driver": "GTiff", "dtype": "uint16", "count": 13, "height": scene.shape[1], "width": scene.shape[2]}
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 500_000, 0, -10, 5_000_000)}
    with rasterio.open(folder / "scene.tif", "w", **options, **place) as file:
        file.write(scene)
        file.descriptions = SENTINEL2.names


def test_commands_of_real_sensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they stand, in a folder with such files, but for the size and one epoch."""
    two_sensors(tmp_path)
    monkeypatch.chdir(tmp_path)
    lines = command_lines()[2:]
    assert [words[0] for words in lines] == ["data", "train", "evaluate", "predict"]
    small = "--data.size 16 --train.epochs 1 --model.name baseline_cnn --train.batch_size 8 --train.precision float32"
    for words in lines:
        assert main(words + (shlex.split(small) if words[0] == "train" else [])) == 0
    with rasterio.open("map.tif") as found, rasterio.open("scene.tif") as scene:
        assert found.crs == scene.crs
        assert found.bounds == scene.bounds
    assert (tmp_path / "channels.png").exists()
    assert len(find_channels_file(tmp_path / "tiles.zip").channels) == 13  # type: ignore[union-attr]


def test_links() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert len(links) > 8
    for link in links:
        assert (ROOT / link).exists(), link


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`?make ([a-z-]+)", README):
        assert f"\n{target}:" in makefile, target
