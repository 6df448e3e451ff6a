import csv
import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import tifffile

from anychan.channels import Channel
from anychan.data.array_file import ArrayCollection
from anychan.data.band_files import BandFileCollection
from anychan.data.collection import FileCollection
from anychan.data.cube import CubeCollection
from anychan.data.dataset import load_data
from anychan.data.opening import open_collection
from anychan.encoding import Encoding
from anychan.errors import ChannelError, DataError
from anychan.presets import RGB, SENTINEL2
from anychan.recipe import DataConfig
from tests.geotiff import geotiff
from tests.runs import RGB_SPLIT, S2_TILES, Array, tiff, write_tree

RNG = np.random.default_rng(0)
BARE: dict[str, Any] = {"val_fraction": 0.25, "test_fraction": 0.25, "size": 6}


def open_at(path: Path, **options: Any) -> Any:
    return open_collection(path, DataConfig(**{**BARE, **options}), seed=0)


def bands(*centres: int, gap: int | None = None, dtype: Any = np.uint16) -> Array:
    """(C, 6, 6) around the centres; the first pixel is `gap`."""
    found: Array = (RNG.integers(-9, 10, (len(centres), 6, 6)) + np.array(centres)[:, None, None]).astype(dtype)
    if gap is not None:
        found[:, 0, 0] = gap
    return found


def tree(folder: Path, write: Callable[[Path, int], object], suffix: str = "tif", count: int = 8) -> Path:
    """Two classes of files, each written by `write(path, number)`."""
    for name in "pq":
        (folder / name).mkdir(parents=True)
        for number in range(count):
            write(folder / name / f"{number}.{suffix}", number)
    return folder


def load_all(folder: Path, **options: Any) -> Array:
    data = load_data(DataConfig(path=str(folder), **{**BARE, **options}), seed=0)
    return np.concatenate([part.images for part in data.splits.values()])


def test_the_path_and_the_channels_file_tell_the_kind(tmp_path: Path) -> None:
    assert isinstance(open_at(RGB_SPLIT), FileCollection)
    assert isinstance(open_at(S2_TILES), FileCollection)
    folder = tree(tmp_path / "files", lambda path, number: path.write_bytes(tiff(bands(100))))
    for file in folder.glob("*/*.tif"):
        file.rename(file.with_name(f"{file.stem}_DNA.tif"))
    (folder / "channels.yaml").write_text("channels: [DNA]\nfiles: '{sample}_{channel}.tif'\n")
    assert isinstance(open_at(folder), BandFileCollection)
    np.savez(tmp_path / "a.NPZ", x=np.ones((20, 1, 6, 6)), y=np.arange(20) % 2)
    (tmp_path / "a.NPZ.npz").rename(tmp_path / "a.NPZ")
    assert isinstance(open_at(tmp_path / "a.NPZ", channels=["DNA"]), ArrayCollection)
    scene = {"scene": np.ones((36, 36, 2)), "gt": 1 + np.arange(36 * 36).reshape(36, 36) % 3}
    scipy.io.savemat(tmp_path / "a.mat", scene)
    assert isinstance(open_at(tmp_path / "a.mat", channels=["a", "b"], labels="gt", patch=3), CubeCollection)
    with pytest.raises(DataError, match=r"absent.npz: there is no such folder or zip"):
        open_at(tmp_path / "absent.npz")


def test_photographs_hold_red_green_and_blue() -> None:
    assert open_at(RGB_SPLIT).channels == RGB


def test_files_may_name_their_bands(tmp_path: Path) -> None:
    names = ("B04", "B8A", "B11")
    folder = tree(tmp_path, lambda path, number: geotiff(path, bands(400, 500, 600), names=names))
    found = open_at(folder)
    assert found.channels == SENTINEL2.select("B04,B8A,B11")
    assert not found.named_sensor
    np.testing.assert_allclose(load_all(folder).mean((0, 1, 2)), [400, 500, 600], atol=1)


def test_microscopes_may_name_their_channels(tmp_path: Path) -> None:
    metadata = {"axes": "CYX", "Channel": {"Name": ["DNA", "ER"]}}

    def write(path: Path, number: int) -> None:
        tifffile.imwrite(path, bands(1, 2), photometric="minisblack", metadata=metadata)

    found = open_at(tree(tmp_path, write, "ome.tif"))
    assert list(found.channels) == [Channel("DNA", "custom"), Channel("ER", "custom")]


def test_nobody_names_the_bands(tmp_path: Path) -> None:
    message = "nobody says which channels its .tif files hold; write a channels.yaml beside them"
    folder = tree(tmp_path / "a", lambda path, number: path.write_bytes(tiff(bands(1, 2), planarconfig="separate")))
    with pytest.raises(ChannelError, match=f"^{re.escape(f'{folder}: {message}')}"):
        open_at(folder)
    some = tree(tmp_path / "b", lambda path, number: geotiff(path, bands(1, 2), names=("DNA", None)))
    with pytest.raises(ChannelError, match=f"^{re.escape(f'{some}: {message}')}"):
        open_at(some)


def test_order_that_contradicts_the_files_names(tmp_path: Path) -> None:
    folder = tree(tmp_path, lambda path, number: geotiff(path, bands(1, 2), names=("B04", "B03")))
    message = "the file calls band 1 'B04', but it is said to be 'B03'; a band order that contradicts names is never"
    with pytest.raises(DataError, match=rf"^{re.escape(str(folder))}/[pq]/\d.tif: {message}"):
        load_all(folder, channels="sentinel2:B03,sentinel2:B04")
    (folder / "channels.yaml").write_text("channels: [sentinel2:B03, sentinel2:B04]\n")
    with pytest.raises(DataError, match=message):
        load_all(folder)


def test_different_band_counts_in_one_class(tmp_path: Path) -> None:
    folder = tree(tmp_path, lambda path, number: geotiff(path, bands(*([9] * (3 if number == 5 else 2)))))
    message = r"[pq]/5.tif: the image has 3 channels, but 2 are expected: \('a', 'b'\)"
    with pytest.raises(DataError, match=f"^{re.escape(str(folder))}/{message}$"):
        load_all(folder, channels=["a", "b"])


def test_mixed_bit_depths(tmp_path: Path) -> None:
    dtypes = [np.uint16] * 7 + [np.uint8]
    folder = tree(tmp_path / "a", lambda path, number: geotiff(path, bands(99, 99, dtype=dtypes[number])))
    with pytest.raises(DataError, match=r"[pq]/\d.tif.* uint(8|16) .*use one"):
        load_all(folder, channels=["a", "b"])


def test_the_first_files_tag_says_what_is_no_data(tmp_path: Path) -> None:
    folder = tree(tmp_path, lambda path, number: geotiff(path, bands(400, 500, gap=0), nodata=0))
    found = open_at(folder, channels=["a", "b"])
    assert found.encodings == (Encoding(no_data=0),) * 2
    data = load_data(DataConfig(path=str(folder), channels=["a", "b"], **BARE), seed=0)
    assert (data.splits["train"].images[:, 0, 0] == 0).all()
    np.testing.assert_allclose(data.statistics.mean, [400, 500], atol=2)  # as if the gaps were not there
    small = load_all(folder, channels=["a", "b"], size=3)
    assert set(np.unique(small[small < 300])) <= {0}


def test_other_files_tags_become_the_same(tmp_path: Path) -> None:
    def write(path: Path, number: int) -> None:
        geotiff(path, bands(400, gap=number), nodata=number)

    images = load_all(tree(tmp_path, write), channels=["a"])
    assert len(set(images[:, 0, 0, 0])) == 1
    assert images[:, 1:].min() > 300


def test_channels_file_says_what_is_no_data(tmp_path: Path) -> None:
    folder = tree(tmp_path, lambda path, number: geotiff(path, bands(400, gap=65535), nodata=65535))
    (folder / "channels.yaml").write_text("channels: [a]\nno_data: 0\n")
    assert open_at(folder).encodings == (Encoding(no_data=0),)
    assert (load_all(folder)[:, 0, 0] == 0).all()


def test_a_tag_that_comes_too_late(tmp_path: Path) -> None:
    first = open_at(tree(tmp_path, lambda path, number: geotiff(path, bands(400, gap=7))), channels=["a"])
    name = first.index.splits["test"][0].name
    geotiff(tmp_path / name, bands(400, gap=7), nodata=7)
    message = rf"{name}: its own tag says that 7 stands for no data, as in channel a, but .*; write `no_data: 7` in"
    with pytest.raises(DataError, match=message):
        load_all(tmp_path, channels=["a"])


def test_tiles_without_any_data(tmp_path: Path) -> None:
    empty = np.full((2, 6, 6), np.nan, np.float32)
    content = [empty if number == 3 else bands(9, 8, dtype=np.float32) for number in range(8)]
    folder = tree(tmp_path, lambda path, number: geotiff(path, content[number], nodata=np.nan))
    with pytest.raises(DataError, match=r"[pq]/3.tif: the image holds no data in any pixel; leave it out$"):
        load_all(folder, channels=["a", "b"])


def test_arrays_as_files(tmp_path: Path) -> None:
    def write(path: Path, number: int) -> None:
        buffer = io.BytesIO()
        np.save(buffer, bands(100, 200))
        path.write_bytes(buffer.getvalue())

    folder = tree(tmp_path, write, "npy")
    with pytest.raises(ChannelError, match=r"nobody says which channels its .npy files hold"):
        open_at(folder)
    np.testing.assert_allclose(load_all(folder, channels=["a", "b"]).mean((0, 1, 2)), [100, 200], atol=1)


def test_many_bands(tmp_path: Path, real_data: Callable[[str], Path]) -> None:
    """369 bands of int16, crops of many sizes, labelled by a table."""
    archive = tmp_path / "trees.zip"
    archive.symlink_to(real_data("neon-trees.zip"))
    with zipfile.ZipFile(archive) as opened:
        rows = list(csv.DictReader(io.TextIOWrapper(opened.open("annotations.csv"), "utf-8")))
        there = set(opened.namelist())
    lines = {row["image_path"]: f"{row['taxonID']},{row['individualID']}" for row in rows if row["image_path"] in there}
    table = "sample,label,tree\n" + "".join(f"{name},{rest}\n" for name, rest in lines.items())
    yaml = "channels: {sensor: neon, count: 369, wavelengths_nm: [400, 2500]}\n"
    write_tree(tmp_path, {"trees.samples.csv": table, "trees.channels.yaml": yaml})
    found = open_at(archive, channels=["b100", "b001"])
    sample = found.index.splits["train"][0].name
    image = found.read(sample)
    assert image.shape[2] == 2
    assert image.dtype == np.float32
    assert found.held[368].wavelength_nm == 2500
