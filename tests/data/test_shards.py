import csv
import io
import json
import os
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import webdataset

from anychan.cli import main
from anychan.data.dataset import load_data
from anychan.data.shards import write_shards
from anychan.data.source import SHARDS_FILE, ShardSource, ZipSource, open_source
from anychan.errors import AnychanError, ConfigError, DataError, RunError
from anychan.recipe import DataConfig, Recipe
from tests.data.test_band_files import tiles
from tests.data.test_source import zipped
from tests.runs import RGB_SPLIT, S2_TILES, options_of, small_recipe, tiff, write_tree


def shards_of(path: Path, folder: Path, **options: Any) -> Path:
    write_shards(path, folder / "shards", **options)
    return folder / "shards"


@pytest.mark.parametrize("data", [RGB_SPLIT, S2_TILES], ids=["split files", "class folders"])
def test_shards_hold_what_the_data_holds(data: Path, tmp_path: Path) -> None:
    shards = shards_of(data, tmp_path)
    assert isinstance(open_source(shards), ShardSource)
    for seed in (0, 5):
        found, expected = (load_data(DataConfig(path=str(path), size=8), seed=seed) for path in (shards, data))
        assert found.channels == expected.channels
        assert found.encodings == expected.encodings
        assert found.classes == expected.classes
        for split, part in expected.splits.items():
            assert found.splits[split].names == part.names
            assert found.splits[split].labels.equal(part.labels)
            np.testing.assert_array_equal(found.splits[split].images, part.images)


def test_bands_of_a_sample_lie_side_by_side(tmp_path: Path) -> None:
    data = tiles(tmp_path / "data")
    shards = shards_of(data, tmp_path)
    found, expected = (load_data(DataConfig(path=str(path), size=8), seed=0) for path in (shards, data))
    np.testing.assert_array_equal(found.splits["train"].images, expected.splits["train"].images)
    with tarfile.open(shards / "shard-000000.tar") as tar:
        names = tar.getnames()
    assert names[:5] == [f"000000000.{end}" for end in ("B02.tif", "B05.tif", "B01.tif", "cls", "json")]
    assert len(names) == 5 * 14


def test_files_beside_a_zip_come_along(tmp_path: Path) -> None:
    packed = zipped(S2_TILES, tmp_path / "tiles.zip")
    (tmp_path / "tiles.channels.yaml").write_text("channels: [one, two, three, four]\n")
    shards = shards_of(packed, tmp_path)
    assert (shards / "channels.yaml").read_text() == "channels: [one, two, three, four]\n"
    source, original = open_source(shards), ZipSource(packed)
    assert source.names() == original.names()
    image = "water/water_0.tif"
    assert source.read(image) == original.read(image)
    assert source.fingerprint(image) == original.fingerprint(image)  # so that both find the same cache


@pytest.mark.filterwarnings("ignore:Exception ignored in.*shard-000000.tar")  # it leaves the file open
def test_webdataset_reads_them(tmp_path: Path) -> None:
    shards = shards_of(S2_TILES, tmp_path)
    samples = list(webdataset.WebDataset(str(shards / "shard-000000.tar"), shardshuffle=False).decode())
    assert sorted(sample["json"]["name"] for sample in samples) == sorted(
        path.relative_to(S2_TILES).as_posix() for path in S2_TILES.rglob("*.tif")
    )
    for sample in samples:
        name, label = sample["json"]["name"], sample["json"]["class"]
        assert name.startswith(label)
        assert ("forest", "water")[sample["cls"]] == label
        np.testing.assert_array_equal(tifffile.imread(io.BytesIO(sample["tif"])), tifffile.imread(S2_TILES / name))


def test_order_is_random_and_repeats(tmp_path: Path) -> None:
    def names(folder: str, seed: int) -> list[str]:
        write_shards(S2_TILES, tmp_path / folder, seed=seed)
        with tarfile.open(tmp_path / folder / "shard-000000.tar") as tar:
            files = [tar.extractfile(member) for member in tar if member.name.endswith(".json")]
            return [json.loads(file.read())["name"] for file in files if file is not None]

    first, other = names("a", 0), names("b", 1)
    assert sorted(first) == sorted(other)
    assert first != other != sorted(other)
    names("c", 0)
    for file in ("shard-000000.tar", SHARDS_FILE):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "c" / file).read_bytes()


def test_size_of_a_shard(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    files: dict[str, bytes | str] = {}
    for number in range(24):
        file = io.BytesIO()
        np.save(file, rng.integers(0, 255, (256, 256, 3), np.uint8))  # 192 KiB
        files[f"k{number % 2}/{number}.npy"] = file.getvalue()
    data = write_tree(tmp_path / "data", {**files, "channels.yaml": "channels: [x, y, z]\n"})
    shards = shards_of(data, tmp_path, shard_mib=1)
    sizes = [tar.stat().st_size for tar in sorted(shards.glob("*.tar"))]
    assert len(sizes) == 4
    assert all(2**20 <= size < 1.3 * 2**20 for size in sizes)
    with (shards / SHARDS_FILE).open(newline="") as table:
        rows = list(csv.DictReader(table))
    for row in rows:
        with (shards / row["shard"]).open("rb") as tar:
            tar.seek(int(row["offset"]))
            data_there = tar.read(int(row["size"]))
        assert data_there == files[row["file"]]
        assert zlib.crc32(data_there) == int(row["crc32"], 16)


TRAINED = small_recipe(epochs=2, channel_sampling="uniform", flip=True, cutmix=0.5)


def weights(recipe: Recipe, path: Path, out: Path, *options: str) -> bytes:
    recipe = recipe.map_paths(lambda _: str(path))
    assert main(["train", *options_of(recipe), "--out", str(out), *options]) == 0
    return (out / "model.safetensors").read_bytes()


def test_same_weights_from_shards_and_from_the_zip(tmp_path: Path, empty_cache: Path) -> None:
    packed = zipped(RGB_SPLIT, tmp_path / "data.zip")
    shards = shards_of(packed, tmp_path)
    expected = weights(TRAINED, packed, tmp_path / "from-zip")
    assert weights(TRAINED, shards, tmp_path / "from-shards") == expected
    for file in empty_cache.glob("*.npy"):
        file.unlink()
    assert weights(TRAINED, shards, tmp_path / "on-demand", "--data.cache", "false") == expected
    assert list(empty_cache.glob("*.npy")) == []


def test_damage_is_told(tmp_path: Path) -> None:
    shards = shards_of(S2_TILES, tmp_path)
    table = (shards / SHARDS_FILE).read_text().splitlines()
    name, shard, offset, *_ = table[1].split(",")
    with (shards / shard).open("r+b") as tar:
        tar.seek(int(offset) + 100)
        byte = tar.read(1)
        tar.seek(int(offset) + 100)
        tar.write(bytes([byte[0] ^ 1]))
    with pytest.raises(DataError, match=f"{shard}: {name} is damaged there; write the shards anew"):
        open_source(shards).read(name)
    other = table[2].split(",")[0]
    open_source(shards).read(other)
    os.truncate(shards / shard, int(offset))
    with pytest.raises(DataError, match=f"{name} is damaged there"):
        open_source(shards).read(name)
    (shards / shard).unlink()
    with pytest.raises(DataError, match=rf"{shard}: the file cannot be read \(No such file or directory\)"):
        open_source(shards).read(name)


@pytest.mark.parametrize(
    "line",
    [
        "a.tif,shard-000000.tar,0",
        "a.tif,shard-000000.tar,x,1,0",
        "a.tif,shard-000000.tar,-1,1,0",
        "{first}",
        "a" * 200_000,
    ],
    ids=["short", "no number", "below zero", "twice", "long"],
)
def test_damaged_table_is_told_by_line(line: str, tmp_path: Path) -> None:
    shards = shards_of(S2_TILES, tmp_path)
    table = (shards / SHARDS_FILE).read_text()
    (shards / SHARDS_FILE).write_text(table + line.format(first=table.splitlines()[1]) + "\n")
    with pytest.raises(DataError, match=f"{SHARDS_FILE} line 14: it is no place of a file"):
        open_source(shards)


def test_nothing_outside_the_folder_is_read(tmp_path: Path) -> None:
    shards = shards_of(S2_TILES, tmp_path)
    (tmp_path / "secret").write_bytes(b"secret")
    with (shards / SHARDS_FILE).open("a") as table:
        table.write(f"b.tif,../secret,0,6,{zlib.crc32(b'secret'):08x}\n")
    with pytest.raises(DataError, match=r"'\.\./secret' lies outside the data's folder"):
        open_source(shards).read("b.tif")


@pytest.mark.parametrize(
    ("path", "options", "kind", "message"),
    [
        (RGB_SPLIT, {"shard_mib": 0}, ConfigError, "--shard-mib is 0, but it must be 1 or more"),
        ("absent", {}, DataError, "absent: there is no such folder or zip"),
        ("arrays.npz", {}, DataError, "arrays.npz: it is one file of arrays; shards are made from a folder or zip"),
        ("folder/is/none", {}, RunError, "shards: this is there already"),
    ],
)
def test_what_cannot_be(
    path: Path | str, options: dict[str, Any], kind: type[AnychanError], message: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "arrays.npz", x=np.zeros((24, 4, 4, 3), np.uint8), y=np.arange(24) % 2)
    (tmp_path / "arrays.channels.yaml").write_text("channels: rgb\n")
    if kind is RunError:
        (tmp_path / "shards").mkdir()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(kind, match=message):
        write_shards(path if isinstance(path, Path) else tmp_path / path, tmp_path / "shards", **options)
    assert sorted(tmp_path.iterdir()) == before


def test_nothing_is_left_of_shards_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_tree(
        tmp_path / "data",
        {"k0/a.png": b"-", "k0/b.png": b"-", "k1/c.png": b"-", "k1/x.png": b"-", "k0/y.png": b"-", "k1/z.png": b"-"},
    )
    (data / "k0" / "d.png").symlink_to(tmp_path / "outside.png")
    (tmp_path / "outside.png").write_bytes(b"-")
    assert main(["data", "shard", str(data), "--out", str(tmp_path / "shards")]) == 2
    assert "d.png' lies outside the data's folder, so it is not read" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "outside.png"]


def test_channels_that_only_the_user_knows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = np.arange(32, dtype=np.uint16).reshape(4, 4, 2)
    names = [f"k{number % 2}/{number}.tif" for number in range(24)]
    data = write_tree(tmp_path / "data", {name: tiff(pixels, planarconfig="contig") for name in names})
    asked = ["data", "shard", str(data), "--out", str(tmp_path / "shards")]
    assert main(asked) == 2
    assert "channels" in capsys.readouterr().err
    assert main([*asked, "--channels", "DNA,RNA"]) == 0
    found = load_data(DataConfig(path=str(tmp_path / "shards"), channels="DNA,RNA", size=4), seed=0)
    assert found.count("train") + found.count("val") + found.count("test") == 24


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "shards"
    assert main(["data", "shard", str(S2_TILES), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"written: 1 shards in {out}; train on them by --data.path {out}\n"
