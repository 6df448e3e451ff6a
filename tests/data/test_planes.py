import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anychan.data.planes import Plane, check_alike, read_file, read_sample
from anychan.data.source import open_source
from anychan.encoding import Encoding
from anychan.errors import DataError
from tests.runs import ODD, Array, constant_channels, png, tiff, write_tree

DEEP = constant_channels(100, 200, 300, height=6, width=4, dtype=np.uint16)


def read(folder: Path, content: bytes, name: str = "a.tif") -> list[Plane]:
    return read_file(open_source(write_tree(folder, {name: content})), name)


def test_a_tiff_is_read_channel_by_channel(tmp_path: Path) -> None:
    planes = read(tmp_path, tiff(DEEP, planarconfig="contig"))
    assert [int(plane.pixels[5, 3]) for plane in planes] == [100, 200, 300]
    assert [(plane.dtype, plane.name, plane.encoding) for plane in planes] == [("uint16", None, Encoding())] * 3
    (signed,) = read(tmp_path, tiff(DEEP[..., 0].astype(np.int16)), "b.tif")
    assert (signed.dtype, str(signed.pixels.dtype)) == ("int16", "float32")


def test_what_gdal_says_is_kept(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    path = tmp_path / "g.tif"
    options: dict[str, Any] = {"driver": "GTiff", "width": 4, "height": 6, "count": 2, "dtype": "uint16", "nodata": 0}
    with rasterio.open(path, "w", transform=rasterio.Affine(10, 0, 0, 0, -10, 0), crs="EPSG:32633", **options) as f:
        f.write(np.moveaxis(DEEP[..., :2], -1, 0))
        f.descriptions, f.units = ("B02", "B03"), ("reflectance", "reflectance")
        f.scales, f.offsets = (0.0001, 0.0002), (-0.1, 0.0)
    planes = read_file(open_source(tmp_path), "g.tif")
    assert [plane.name for plane in planes] == ["B02", "B03"]
    assert [plane.encoding for plane in planes] == [
        Encoding("reflectance", 0.0001, -0.1, 0.0),
        Encoding("reflectance", 0.0002, 0.0, 0.0),
    ]


def test_photographs_are_rgb_and_grey_ones_nobodys(tmp_path: Path) -> None:
    colours = read(tmp_path, png(constant_channels(1, 2, 3)), "a.png")
    assert [plane.name for plane in colours] == ["R", "G", "B"]
    (grey,) = read(tmp_path, (ODD / "grey.png").read_bytes(), "g.png")
    assert (grey.name, grey.dtype) == (None, "uint8")


def test_small_planes_are_thinned_and_blank_without_data() -> None:
    pixels = np.arange(6 * 9, dtype=np.uint16).reshape(6, 9)
    small = Plane("a", pixels, "uint16", None, Encoding(no_data=20.0)).small(5)
    np.testing.assert_array_equal(small, [[0, 2, 4, 6, 8], [18, np.nan, 22, 24, 26], [36, 38, 40, 42, 44]])
    assert small.dtype == np.float32


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tif", b"II*\0 and no more", "a.tif: the image is damaged or truncated"),
        ("a.png", b"nothing", "a.png: the image is damaged or no image"),
    ],
)
def test_unreadable_files_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=f"^{re.escape(f'{tmp_path}/{message}')}"):
        read(tmp_path, content, name)


def test_a_file_of_one_channel_holds_one(tmp_path: Path) -> None:
    one = tiff(DEEP[..., 0])
    source = open_source(write_tree(tmp_path, {"B02.tif": one, "B03.tif": tiff(DEEP, planarconfig="contig")}))
    assert len(read_sample(source, ["B02.tif", "B02.tif"])) == 2
    with pytest.raises(DataError, match=r"B03.tif: the file holds 3 channels, but its name says that it is one of 2"):
        read_sample(source, ["B02.tif", "B03.tif"])


def plane(file: str, pixels: Array = DEEP[..., 0], name: str | None = None, **encoding: Any) -> Plane:
    return Plane(file, pixels, str(pixels.dtype), name, Encoding(**encoding))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ([plane("b")] * 2, "x: b holds 2 channels, but a holds 1; describe each kind on its own"),
        ([plane("b", DEEP.astype(np.uint8)[..., 0])], "x: b is uint8, but a is uint16; write both in one number type"),
        ([plane("b", name="B03")], "x: channel 1 is 'B03' in b, but None in a"),
        ([plane("b", no_data=0)], "x: channel 1 is stored as {'no_data': 0} in b, but {} in a"),
    ],
)
def test_samples_must_be_alike(other: list[Plane], message: str) -> None:
    check_alike(Path("x"), [plane("a")], [plane("c")])
    with pytest.raises(DataError, match=f"^{re.escape(message)}"):
        check_alike(Path("x"), [plane("a")], other)
