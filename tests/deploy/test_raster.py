"""TIFFs that lie: about their size, or about where their pixels are. `test_scene.py` reads good ones."""

import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from anychan.deploy.raster import block_row_bytes, has_mask, open_raster, place_of, stored_bytes
from anychan.deploy.scene import open_scene
from anychan.errors import DataError
from tests.scenes import PLACE, ground, noise, write_scene

VRT = """<VRTDataset rasterXSize="32" rasterYSize="32">
<GeoTransform>500000, 10, 0, 5000000, 0, -10</GeoTransform><Metadata>
<MDI key="INTERNAL_MASK_FLAGS_1">2</MDI></Metadata><VRTRasterBand dataType="{dtype}" band="1"><SimpleSource>
<SourceFilename>{source}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"""


def header(height: int, width: int) -> bytes:
    """A TIFF of one strip that is not there."""
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, height), (279, 9)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(200)


def empty(path: Path, height: int, width: int, padding: int = 0, **options: Any) -> Path:
    """A TIFF without any pixels, but with so many bytes at its end."""
    shape = {"height": height, "width": width, "count": 1, "dtype": "uint16"}
    with rasterio.open(path, "w", driver="GTiff", sparse_ok=True, **shape, **PLACE, **options):
        pass
    with path.open("ab") as file:
        file.write(bytes(padding))
    return path


@pytest.mark.parametrize("side", [30_000, 10**6, 2**31 - 1])
def test_a_few_bytes_are_no_giant(side: int, tmp_path: Path) -> None:
    path, began = tmp_path / "scene.tif", time.process_time()
    path.write_bytes(header(side, side))
    with (
        pytest.raises(DataError, match=rf"^{path}: \d+ bytes say that they become {side**2:,} in memory"),
        open_raster(path),
    ):
        pass
    assert time.process_time() - began < 2


def test_one_strip_and_wide_rows_are_bounded(tmp_path: Path) -> None:
    strip = empty(tmp_path / "strip.tif", 30_000, 30_000, 2**20, compress="deflate", blockysize=30_000)
    with (
        pytest.raises(DataError, match=r"strip.tif: a row of its blocks: .* bytes say that they become 1,800,000,000"),
        open_scene(strip),
    ):
        pass
    wide = empty(tmp_path / "wide.tif", 1024, 10**6, 2**20, compress="deflate", blockysize=1)
    with open_scene(wide) as scene:
        assert scene.read(1000, 24, [0]).values.shape == (24, 10**6, 1)
        with pytest.raises(DataError, match=r"wide.tif: 512 of its rows: .* become 1,024,000,000 in memory"):
            scene.read(0, 512, [0])


def test_a_scene_of_no_data_may_shrink(tmp_path: Path) -> None:
    path = tmp_path / "scene.tif"
    for compress in ("lzw", "deflate"):
        write_scene(path, np.zeros((9000, 9000, 1), np.uint16), compress=compress, tiled=True)
        with open_raster(path) as dataset:
            assert dataset.height * dataset.width * 2 > 2**27  # else its size would not be looked at
            assert stored_bytes(dataset) == path.stat().st_size
            assert block_row_bytes(dataset) == 36 * 256 * 256 * 2


def test_directories_that_lead_back_end(tmp_path: Path) -> None:
    path = tmp_path / "scene.tif"
    data = bytearray(header(8, 8))
    data[10 + 9 * 12 : 14 + 9 * 12] = struct.pack("<I", 8)
    path.write_bytes(data)
    with open_raster(path) as dataset:
        assert dataset.shape == (8, 8)


def test_a_number_type_that_numpy_lacks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scene.tif"
    with rasterio.open(path, "w", driver="GTiff", height=9, width=9, count=1, dtype="complex_int16", **PLACE):
        pass
    with pytest.raises(DataError, match=r"scene.tif: the TIFF cannot be read \(.*complex_int16"), open_raster(path):
        pass


@pytest.mark.parametrize("name", ["scene.tif", "scene.vrt", "/vsicurl/http://localhost:1/scene.tif", "<VRTDataset/>"])
def test_nothing_but_a_tiff_is_opened(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_scene(tmp_path / "other.tif", noise(32, 32, 1))
    for own in ("scene.tif", "scene.vrt"):
        (tmp_path / own).write_text(VRT.format(dtype="UInt16", source=source))
    monkeypatch.chdir(tmp_path)
    with rasterio.open("scene.vrt") as dataset:
        assert dataset.read(1).any()  # GDAL would
    refusal = pytest.raises(DataError, match=r"the file is no TIFF that GDAL can read|there is no such file")
    with refusal, open_raster(Path(name)):
        pass


def test_a_name_is_no_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_scene(tmp_path / "other.tif", noise(32, 32, 4))
    name = write_scene(tmp_path / "a.tif", noise(32, 32, 1)).rename(tmp_path / "GTIFF_DIR:1:other.tif").name
    monkeypatch.chdir(tmp_path)
    with rasterio.open(name) as dataset:
        assert dataset.count == 4  # GDAL opens the other
    with open_raster(Path(name)) as dataset:
        assert dataset.count == 1


def test_the_mask_beside_a_tiff_is_a_tiff(tmp_path: Path) -> None:
    path, source = tmp_path / "scene.tif", tmp_path / "source.tif"
    write_scene(path, noise(32, 32, 1))
    mask = np.zeros((32, 32, 1), np.uint8)
    mask[:5] = 255
    write_scene(source, mask)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(mask[..., 0] > 0)
    beside = tmp_path / "scene.tif.msk"
    assert beside.is_file()
    with open_scene(path) as scene:
        assert scene.read(0, 32, [0]).missing.mean() == 27 / 32
    beside.write_text(VRT.format(dtype="Byte", source=source))
    with rasterio.open(path) as dataset:
        assert has_mask(dataset, 1)  # GDAL takes any format
    with pytest.raises(DataError, match=r"scene.tif.msk: the mask is no TIFF; delete it"), open_raster(path):
        pass


def test_a_damaged_mask_is_told(tmp_path: Path) -> None:
    path, rng = tmp_path / "scene.tif", np.random.default_rng(0)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        write_scene(path, noise(64, 64, 1))
        with rasterio.open(path, "r+") as dataset:
            dataset.write_mask(rng.random((64, 64)) > 0.5)
    path.write_bytes(path.read_bytes()[:-200])  # it comes last
    with (
        open_scene(path) as scene,
        pytest.raises(DataError, match=r"scene.tif: rows 0 to 63 cannot be read; the file is damaged or truncated"),
    ):
        scene.read(0, 64, [0])


def test_overviews_are_not_looked_for(tmp_path: Path) -> None:
    """A TIFF may name any file or address as its overviews."""
    files = {"a": write_scene(tmp_path / "a.tif", noise(64, 64, 1)), "b": tmp_path / "b.tif"}
    sizes = {"height": 2, "width": 1024, "count": 1, "dtype": "uint16", "crs": PLACE["crs"]}
    with rasterio.open(files["b"], "w", driver="GTiff", transform=ground(0.625, 320), **sizes) as file:
        file.write(noise(2, 1024, 1)[..., 0], 1)
        file.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=str(files["a"]))
    with (
        pytest.raises(DataError, match=r"b.tif: its 2x1024 pixels are finer in one direction than 64x64 of .*a.tif"),
        open_scene(tmp_path, files),
    ):
        pass


def test_the_place_may_lie_beside_a_tiff(tmp_path: Path) -> None:
    path = tmp_path / "scene.tif"
    path.write_bytes(header(8, 8))
    with open_raster(path) as dataset:
        assert place_of(dataset) is None
    path.with_suffix(".tfw").write_text("10\n0\n0\n-10\n500005\n4999995\n")
    with open_raster(path) as dataset:
        place = place_of(dataset)
        assert place is not None
        assert place.transform == ground(10)
