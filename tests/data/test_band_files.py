import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anychan.channels import ChannelSet
from anychan.contract import ResizeRule
from anychan.data.band_files import BandFileCollection, group_files
from anychan.data.cache import cached_images
from anychan.data.channels_file import ChannelsFile
from anychan.data.index import DataIndex
from anychan.data.opening import open_collection
from anychan.data.source import open_source
from anychan.encoding import Encoding
from anychan.errors import DataError
from anychan.presets import SENTINEL2
from anychan.recipe import DataConfig
from tests.geotiff import geotiff
from tests.runs import Array, tiff, write_tree

THREE = "channels: [sentinel2:B02, sentinel2:B05, sentinel2:B01]\nfiles: '{sample}_{channel}.tif'\n"
SIZES = {"B02": 12, "B05": 6, "B01": 2}  # 10, 20 and 60 m


def open_bands(path: Path, **options: object) -> BandFileCollection:
    found = open_collection(path, DataConfig(**options), seed=0)  # type: ignore[arg-type]
    assert isinstance(found, BandFileCollection)
    return found


def plane(size: int, value: int, dtype: type = np.uint16) -> Array:
    return np.full((size, size), value, dtype)


def tiles(folder: Path, channels: str = THREE, count: int = 7, **changed: bytes | None) -> Path:
    """Two classes of tiles; band and tile tell a pixel's value. `changed` replaces a file of k0/t0, or removes it."""
    files: dict[str, bytes | str] = {"channels.yaml": channels}
    for label in (0, 1):
        for tile in range(count):
            for place, (band, size) in enumerate(SIZES.items()):
                content = tiff(plane(size, 1000 * (place + 1) + 10 * tile + label))
                files[f"k{label}/t{tile}_{band}.tif"] = content
    for band, other in changed.items():
        del files[f"k0/t0_{band}.tif"]
        if other is not None:
            files[f"k0/t0_{band}.tif"] = other
    return write_tree(folder, files)


def test_bands_come_to_the_finest_grid(tmp_path: Path) -> None:
    coarse = np.arange(36, dtype=np.uint16).reshape(6, 6) * 100
    found = open_bands(tiles(tmp_path, B05=tiff(coarse)))
    assert found.channels == SENTINEL2.select("B02,B05,B01")
    assert found.index.classes == ("k0", "k1")
    image = found.read("k0/t0")
    assert image.shape == (12, 12, 3)
    assert image.dtype == np.uint16
    assert (image[:, :, 0] == 1000).all()
    assert (image[:, :, 2] == 3000).all()
    bilinear = Image.fromarray(coarse.astype(np.float32)).resize((12, 12), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(image[:, :, 1], np.rint(np.asarray(bilinear)))
    assert found.read("k1/t3")[5, 5].tolist() == [1031, 2031, 3031]


def test_zip_gives_the_same_as_its_folder(tmp_path: Path) -> None:
    folder = tiles(tmp_path / "data")
    archive = Path(shutil.make_archive(str(tmp_path / "zipped"), "zip", folder))
    one, two = open_bands(folder), open_bands(archive)
    assert one.index == two.index
    np.testing.assert_array_equal(one.read("k1/t2"), two.read("k1/t2"))


def test_only_the_channels_that_are_asked_for(tmp_path: Path) -> None:
    found = open_bands(tiles(tmp_path), channels=["B01", "B02"])
    assert found.read("k0/t1")[0, 0].tolist() == [3010, 1010]


def test_a_change_of_any_band_is_a_change_of_the_sample(tmp_path: Path, empty_cache: Path) -> None:
    folder = tiles(tmp_path / "data")
    before = cached_images(open_bands(folder), ["k0/t0", "k0/t1"], ResizeRule(4))
    (folder / "k0/t0_B05.tif").write_bytes(tiff(plane(6, 9)))
    after = cached_images(open_bands(folder), ["k0/t0", "k0/t1"], ResizeRule(4))
    assert (before[0, 0, 0, 1], after[0, 0, 0, 1]) == (2000, 9)
    assert len(list(empty_cache.glob("*.npy"))) == 2


def test_a_samples_table_names_samples(tmp_path: Path) -> None:
    folder = tiles(tmp_path)
    rows = "".join(f"k{k}/t{t},{'even' if t % 2 == 0 else 'odd'}\n" for k in (0, 1) for t in range(7))
    (folder / "samples.csv").write_text(f"sample,label\n{rows}")
    assert open_bands(folder).index.classes == ("even", "odd")


def test_missing_band_file_is_named(tmp_path: Path) -> None:
    message = f"{tmp_path}: sample 'k0/t0' has no file for band B05 ({{sample}}_{{channel}}.tif)"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        open_bands(tiles(tmp_path, B05=None))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            tiff(plane(6, 1, np.uint8)),
            "k0/t0_B05.tif: the band is uint8, but the sample's first is uint16; use one number",
        ),
        (
            tiff(np.ones((6, 5), np.uint16)),
            "k0/t0_B05.tif: the band has 6×5 pixels, but the sample's finest has 12×12;",
        ),
        (tiff(np.ones((2, 6, 6), np.uint16)), "k0/t0_B05.tif: the image has 2 channels, but 1 are expected"),
        (b"", "k0/t0_B05.tif: the image is damaged or truncated"),
    ],
)
def test_bad_band_files_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    folder = tiles(tmp_path, B05=content)
    with pytest.raises(DataError, match=f"^({re.escape(str(tmp_path))}/)?{re.escape(message)}"):
        open_bands(folder).read("k0/t0")


def test_each_band_has_its_own_no_data(tmp_path: Path) -> None:
    """It is taken from the first training sample's files, and never mixed with values."""
    gap = plane(2, 3000)
    gap[0, 0] = 7
    folder = tiles(tmp_path)
    for label in (0, 1):
        for tile in range(7):
            geotiff(folder / f"k{label}/t{tile}_B01.tif", gap[None], nodata=7)
    found = open_bands(folder)
    assert found.encodings == (Encoding(), Encoding(), Encoding(no_data=7))
    image = found.read("k0/t0")[:, :, 2]
    assert set(np.unique(image)) == {7, 3000}
    assert (image[:6, :6] == 7).mean() > 0.9
    assert (image[6:] == 3000).all()


def test_a_bands_own_name_is_believed(tmp_path: Path) -> None:
    folder = tiles(tmp_path)
    geotiff(folder / "k0/t0_B05.tif", plane(6, 1)[None], names=("B01",))
    with pytest.raises(DataError, match=r"^k0/t0_B05.tif: the file calls band 1 'B01', but it is said to be 'B05'"):
        open_bands(folder).read("k0/t0")


def grouped(files: str, names: list[str], channels: str = "[ch1, ch10, ch2]") -> dict[str, dict[str, str]]:
    file = ChannelsFile.parse(f"channels: {channels}\nfiles: '{files}'\n", "here")
    found = group_files(names, file)
    return {sample: {identity.partition(":")[2]: name for identity, name in of.items()} for sample, of in found.items()}


def test_patterns() -> None:
    names = ["a/x-ch1sk1.tiff", "a/x-ch10sk1.tiff", "a/y-CH2sk1.tiff", "a/x-ch11sk1.tiff", "a/notes.txt"]
    assert grouped("{sample}-{channel}sk*.tiff", names) == {
        "a/x": {"ch1": names[0], "ch10": names[1]},
        "a/y": {"ch2": names[2]},
    }
    assert grouped("*-{channel}sk1.tiff", names[:2]) == {"a/x-*sk1.tiff": {"ch1": names[0], "ch10": names[1]}}
    folders = ["d/ch1/s.tif", "d/ch2/s.tif", "e/ch1/s.tif"]
    assert grouped("{channel}/{sample}.tif", folders) == {
        "d/s": {"ch1": folders[0], "ch2": folders[1]},
        "e/s": {"ch1": folders[2]},
    }


def test_what_stands_for_a_channel() -> None:
    spec = "[{name: DNA, sensor: hci, file: w1}, {name: ER, sensor: hci, aliases: [reticulum]}, sentinel2:B02]"
    names = ["s_w1.tif", "s_DNA.tif", "s_reticulum.tif", "s_B2.tif"]
    assert grouped("{sample}_{channel}.tif", names, spec) == {
        "s": {"DNA": "s_w1.tif", "ER": "s_reticulum.tif", "B02": "s_B2.tif"}
    }


def test_files_that_clash_are_named() -> None:
    with pytest.raises(
        DataError, match=r"^s_2_ch1.tif: s_1_ch1.tif is the same channel of sample 's'; make the pattern"
    ):
        grouped("{sample}_*_{channel}.tif", ["s_1_ch1.tif", "s_2_ch1.tif"])
    with pytest.raises(DataError, match=r"files that are called 'B2' could be of sentinel2:B02 or landsat8:B2; give"):
        grouped("{channel}.tif", [], "[sentinel2:B02, landsat8:B2]")


def test_a_pattern_that_fits_nothing(tmp_path: Path) -> None:
    folder = tiles(tmp_path, THREE.replace("_", "-"))
    with pytest.raises(
        DataError, match=r"no file fits the pattern '\{sample\}-\{channel\}.tif' with a channel of \('B02'"
    ):
        open_bands(folder)


def test_split_files_name_samples(tmp_path: Path) -> None:
    folder = tiles(tmp_path)
    for split in ("train", "val", "test"):
        (folder / f"{split}.txt").write_text("k0/t1 0\nk1/t1 1\n")
    assert open_bands(folder).read("k0/t1")[0, 0].tolist() == [1010, 2010, 3010]
    (folder / "val.txt").write_text("k0/t99 0\n")
    with pytest.raises(DataError, match="sample 'k0/t99' has no file for band B02"):
        open_bands(folder)


def test_bigearthnet(tmp_path: Path, real_data: Callable[[str], Path]) -> None:
    archive = tmp_path / "ben.zip"
    archive.symlink_to(real_data("bigearthnet-samples.zip"))
    bands = [channel for channel in SENTINEL2 if channel.name != "B10"]
    ChannelsFile(ChannelSet(bands), (Encoding(),) * 12, "{sample}_{channel}.tif").save(tmp_path / "ben.channels.yaml")
    file = ChannelsFile.parse((tmp_path / "ben.channels.yaml").read_text(), "ben")
    samples = sorted(group_files(open_source(archive).names(), file))
    assert len(samples) == 6
    rows = "".join(f"{sample.rpartition('/')[2]},{'ab'[n % 2]}\n" for n, sample in enumerate(samples))
    (tmp_path / "ben.samples.csv").write_text(f"sample,label\n{rows}")
    found = open_bands(archive, val_fraction=0.3, test_fraction=0.3)
    assert {split: len(part) for split, part in found.index.splits.items()} == {"train": 2, "val": 2, "test": 2}
    image = found.read(samples[0])
    assert image.shape == (120, 120, 12)
    pairs = np.corrcoef(image.reshape(-1, 12).T)
    assert pairs[1:4, 1:4].min() > 0.8  # B02, B03 and B04 of one scene
    assert pairs[7, 8] > 0.8  # B08 at 10 m and B8A at 20 m, which lie on each other


def test_cell_painting(tmp_path: Path, real_data: Callable[[str], Path]) -> None:
    archive = tmp_path / "field.zip"
    archive.symlink_to(real_data("cell-painting-field.zip"))
    entries = "".join(f"  - {{name: s{n}, sensor: hci, file: ch{n}}}\n" for n in range(1, 7))
    file = f'channels:\n{entries}files: "{{sample}}-{{channel}}sk*.tiff"\n'
    write_tree(
        tmp_path, {"field.channels.yaml": file, "field.samples.csv": "sample,label,split\nr03c03f03p01,a,train\n"}
    )
    with pytest.raises(DataError, match="one class, 'a'; two are the least"):
        open_bands(archive)
    parsed = ChannelsFile.parse(file, "here")
    source = open_source(archive)
    found = BandFileCollection(source, DataIndex({}, ()), parsed, group_files(source.names(), parsed))
    image = found.read("r03c03f03p01")
    assert image.shape == (1080, 1080, 6)
    assert image.dtype == np.uint16
    assert image[:, :, 0].min() == 4399  # that file's own tag for its smallest value
