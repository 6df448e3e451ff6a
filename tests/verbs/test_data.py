import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from anychan.data.channels_file import find_channels_file
from anychan.presets import SENTINEL2
from tests.command import Command
from tests.runs import RGB_SPLIT, S2_TILES, copy_of, tiff, write_tree

BANDS = "sentinel2:B02,sentinel2:B03,sentinel2:B04,sentinel2:B08"


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    """Four-band tiles of which nobody says what they hold."""
    folder = copy_of(S2_TILES, tmp_path)
    (folder / "channels.yaml").unlink()
    return folder


def test_describe_writes_what_training_reads(command: Command, tiles: Path, tmp_path: Path) -> None:
    code, out, err = command("data", "describe", tiles, "--channels", BANDS, "--picture", tmp_path / "p.png")
    assert (code, err) == (0, "")
    assert f"written: {tiles}/channels.yaml\n" in out
    assert f"written: {tmp_path}/p.png\n" in out
    written = find_channels_file(tiles)
    assert written is not None
    assert written.channels == SENTINEL2.select("B02,B03,B04,B08")
    assert (tmp_path / "p.png").stat().st_size > 1000


def test_a_zip_has_its_file_beside_it(command: Command, tiles: Path, tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "tiles"), "zip", tiles)
    found = command.json("data", "describe", archive, "--channels", BANDS, "--samples", 5, "--json")
    assert found["written"] == {"channels_file": f"{tmp_path}/tiles.channels.yaml", "picture": None}
    assert (tmp_path / "tiles.channels.yaml").is_file()
    assert (found["samples"], found["looked_at"]) == (12, 5)
    assert [channel["name"] for channel in found["channels"]] == ["B02", "B03", "B04", "B08"]


def test_channels_that_nobody_names_are_not_written(command: Command, tiles: Path, tmp_path: Path) -> None:
    code, out, _ = command("data", "describe", tiles)
    assert code == 0
    assert "4 channels without names: nobody says what they are; list them by --channels" in out
    assert out.endswith("no channels.yaml was written\n")
    assert not (tiles / "channels.yaml").exists()
    code, out, err = command("data", "describe", tiles, "--out", tmp_path / "c.yaml", "--picture", tmp_path / "p.png")
    assert (code, out) == (2, "")
    assert err.startswith(f"anychan: {tiles}: 4 channels without names: nobody says what they are; list them by --cha")
    assert err.count("\n") == 1
    assert not (tmp_path / "c.yaml").exists()
    assert not (tmp_path / "p.png").exists()


def test_a_file_that_is_there_is_kept(command: Command, tiles: Path, tmp_path: Path) -> None:
    (tiles / "channels.yaml").write_text("channels: [mine, yours, ours, theirs]\n")
    code, _, err = command("data", "describe", tiles, "--channels", BANDS)
    assert code == 2
    assert err == (
        f"anychan: {tiles}/channels.yaml: the file is there already; --force writes over it, --out writes another\n"
    )
    assert "mine" in (tiles / "channels.yaml").read_text()
    assert command("data", "describe", tiles, "--channels", BANDS, "--out", tmp_path / "c.yaml")[0] == 0
    assert command("data", "describe", tiles, "--channels", BANDS, "--force")[0] == 0
    assert (tmp_path / "c.yaml").read_text() == (tiles / "channels.yaml").read_text()


def test_samson(command: Command, real_data: Callable[[str], Path], tmp_path: Path) -> None:
    scene = tmp_path / "samson.mat"
    scene.symlink_to(real_data("samson.mat"))
    code, out, _ = command("data", "describe", scene, "--cube", "Y")
    assert code == 0
    assert "1 sample, scene Y of (156, 9025), float64, 95x95 pixels\n" in out
    assert "156 channels without names: nobody says what they are; list them by --channels, or say --sensor" in out
    assert list(tmp_path.iterdir()) == [scene]
    bands = ("--sensor", "samson", "--wavelengths", "401,889")
    assert command("data", "describe", scene, "--cube", "Y", *bands, "--picture", tmp_path / "p.png")[0] == 0
    text = (tmp_path / "samson.channels.yaml").read_text()
    assert yaml.safe_load(text) == {"channels": {"sensor": "samson", "count": 156, "wavelengths_nm": [401, 889]}}
    with Image.open(tmp_path / "p.png") as image:
        assert image.width > 1000
    code, _, err = command("data", "describe", scene, "--cube", "X", "--out", tmp_path / "c.yaml")
    assert code == 2
    assert err.endswith(
        "there is no key 'X'; there are A (3, 9025), M (156, 3), M1 (156, 3), Y (156, 9025); name one by --cube\n"
    )


def test_bad_options(command: Command, tiles: Path, tmp_path: Path) -> None:
    write_tree(tmp_path / "bad", {"a.tif": tiff(np.zeros((4, 4), np.uint16)), "b.tif": b"II*\0"})
    for arguments, message in (
        (["data"], "data: say what to do: describe"),
        (["data", "describe"], "path: name one at least"),
        (["data", "describe", tiles, "--samples", 0], "--samples is 0, but it must be 1 or more"),
        (["data", "describe", tiles, "--picture", "p.bmp"], "--picture is p.bmp, but it must end in .png"),
        (
            ["data", "describe", tiles, "--wavelengths", "401"],
            "--wavelengths is 401, but it must be the first centre and",
        ),
        (["data", "describe", tiles, "--cube", "Y"], "--cube names the scene of a .mat file, and this is none; leave"),
        (["data", "describe", tmp_path / "none"], f"{tmp_path}/none: there is no such folder or zip; give --data.path"),
        (
            ["data", "describe", RGB_SPLIT, "--out", tmp_path / "none" / "c.yaml"],
            f"{tmp_path}/none/c.yaml: there is no folder {tmp_path}/none; make it, or write elsewhere",
        ),
        (["data", "describe", tiles, "--sensor", "sentinel2"], "there are 4 channels, but sentinel2 has 13"),
        (["data", "describe", tmp_path / "bad"], "bad/b.tif: the image is damaged or truncated"),
    ):
        code, out, err = command(*arguments)
        assert (code, out) == (2, ""), arguments
        assert message in err
        assert err.count("\n") == 1
    assert not list(tmp_path.rglob("channels.yaml"))
