import io
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile

from anychan.data.readers import read_image
from anychan.data.tiff import is_tiff, read_tiff, tiff_facts
from anychan.errors import DataError
from tests.geotiff import geotiff
from tests.runs import anonymous, tiff

RNG = np.random.default_rng(0)
BANDS = (1000 * np.arange(1, 4)[:, None, None] + RNG.integers(0, 500, (3, 40, 56))).astype(np.uint16)  # (C, H, W)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
@pytest.mark.parametrize(
    "options",
    [
        {"interleave": "pixel"},
        {"interleave": "band", "compress": "lzw", "predictor": 2},
        {"interleave": "pixel", "compress": "deflate", "predictor": 2},
        {"interleave": "band", "compress": "zstd"},
        {"interleave": "pixel", "compress": "packbits"},
        {"interleave": "band", "tiled": True, "blockxsize": 16, "blockysize": 32},
        {"interleave": "pixel", "tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "lzw"},
        {"BIGTIFF": "YES", "ENDIANNESS": "BIG"},
    ],
    ids=lambda options: "+".join(map(str, options.values())),
)
def test_what_gdal_writes_is_read_exactly(tmp_path: Path, dtype: Any, options: dict[str, Any]) -> None:
    bands = (BANDS // 20 if dtype == np.uint8 else BANDS).astype(dtype)
    data = geotiff(tmp_path / "a.tif", bands, **options)
    found = read_image(data, "a.tif", anonymous(3))
    np.testing.assert_array_equal(found, np.moveaxis(bands, 0, -1))
    assert found.dtype == (np.float32 if dtype == np.int16 else dtype)
    facts = tiff_facts(data, "a.tif")
    assert (facts.shape, facts.dtype) == ((40, 56, 3), dtype)
    assert facts.dtype.isnative


def test_float_predictor(tmp_path: Path) -> None:
    bands = RNG.random((2, 5, 7)).astype(np.float32)
    data = geotiff(tmp_path / "a.tif", bands, compress="deflate", predictor=3)
    np.testing.assert_array_equal(read_tiff(data, "a.tif"), np.moveaxis(bands, 0, -1))


def test_overviews_are_no_images(tmp_path: Path) -> None:
    bands = RNG.integers(0, 999, (2, 64, 64)).astype(np.uint16)
    geotiff(tmp_path / "a.tif", bands, tiled=True, blockxsize=16, blockysize=16)
    with rasterio.open(tmp_path / "a.tif", "r+") as file:
        file.build_overviews([2, 4])
    data = (tmp_path / "a.tif").read_bytes()
    np.testing.assert_array_equal(read_tiff(data, "a.tif"), np.moveaxis(bands, 0, -1))
    assert tiff_facts(data, "a.tif").shape == (64, 64, 2)


def test_gdals_band_descriptions(tmp_path: Path) -> None:
    assert tiff_facts(geotiff(tmp_path / "a.tif", BANDS), "a.tif").channel_names == ()
    named = geotiff(tmp_path / "b.tif", BANDS, names=("B02", None, "near <infra> red"))
    assert tiff_facts(named, "b.tif").channel_names == ("B02", None, "near <infra> red")


def test_channel_names_of_ome_tiffs(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    metadata = {"axes": "CYX", "Channel": {"Name": ["DNA", "Golgi", "µ"]}}
    tifffile.imwrite(path, BANDS, photometric="minisblack", metadata=metadata)
    assert tiff_facts(path.read_bytes(), "a.ome.tif").channel_names == ("DNA", "Golgi", "µ")
    np.testing.assert_array_equal(read_tiff(path.read_bytes(), "a.ome.tif"), np.moveaxis(BANDS, 0, -1))
    tifffile.imwrite(path, BANDS, photometric="minisblack", metadata={"axes": "CYX"})
    assert tiff_facts(path.read_bytes(), "a.ome.tif").channel_names == ()


@pytest.mark.parametrize(
    ("dtype", "written", "expected"),
    [
        (np.uint8, 0, 0),
        (np.uint16, 65535, 65535),
        (np.int16, -32768, -32768),
        (np.float32, -9999, -9999),
        (np.float32, np.nan, np.nan),
        (np.float32, np.finfo(np.float32).min, np.finfo(np.float32).min),
        (np.float64, -1.7976931348623157e308, np.nan),  # becomes NaN, as float32 cannot hold it
    ],
)
def test_no_data_tag(tmp_path: Path, dtype: Any, written: float, expected: float) -> None:
    bands = np.ones((1, 2, 3), dtype)
    bands[0, 0, 0] = written
    data = geotiff(tmp_path / "a.tif", bands, nodata=written)
    np.testing.assert_equal(tiff_facts(data, "a.tif").no_data, expected)
    found = read_image(data, "a.tif", anonymous(1))
    np.testing.assert_array_equal(found[:, :, 0], [[expected, 1, 1], [1, 1, 1]])


@pytest.mark.parametrize("text", ["-9999", "300", "0.5", "nan", ""])
def test_no_data_that_cannot_be_is_none(text: str) -> None:
    data = tiff(BANDS[0].astype(np.uint8), extratags=[(42113, "s", 0, text, True)])
    assert tiff_facts(data, "a.tif").no_data is None


def test_no_data_that_is_no_number_is_named() -> None:
    data = tiff(BANDS[0], extratags=[(42113, "s", 0, "none", True)])
    with pytest.raises(DataError, match=r"^a.tif: the TIFF's no-data number is 'none', which is no number$"):
        tiff_facts(data, "a.tif")


@pytest.mark.parametrize("tag", [270, 42112])
def test_entities_are_never_expanded(tag: int) -> None:
    bomb = '<?xml version="1.0"?><!DOCTYPE OME [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><OME>&b;</OME>'
    options = {"description": bomb, "metadata": None} if tag == 270 else {"extratags": [(tag, "s", 0, bomb, True)]}
    with pytest.raises(
        DataError, match=r"^a.tif: the TIFF's (description|metadata) is XML with a document type, which"
    ):
        tiff_facts(tiff(BANDS[0], **options), "a.tif")


def test_broken_metadata_is_named() -> None:
    data = tiff(BANDS[0], extratags=[(42112, "s", 0, "<GDALMetadata><Item>", True)])
    with pytest.raises(DataError, match=r"^a.tif: the TIFF's metadata is not XML \("):
        tiff_facts(data, "a.tif")


@pytest.mark.parametrize("read", [read_tiff, tiff_facts])
def test_damage_is_named(read: Any) -> None:
    with pytest.raises(DataError, match=r"^a.tif: the image is damaged or truncated \("):
        read(b"II*\0" + bytes(20), "a.tif")
    with pytest.raises(DataError, match=r"^a.tif: the image is damaged or truncated \("):
        read(b"nothing", "a.tif")


def test_several_images_are_refused() -> None:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(BANDS[0], photometric="minisblack")
        writer.write(BANDS[1, :2], photometric="minisblack")
    message = "a.tif: the TIFF holds 2 images of unlike shapes ((40, 56), (2, 56)); write one"
    with pytest.raises(DataError, match=re.escape(message)):
        tiff_facts(buffer.getvalue(), "a.tif")


def test_names_of_tiffs() -> None:
    assert [is_tiff(name) for name in ("a.tif", "b/A.TIFF", "a.tif.png", "tif")] == [True, True, False, False]


def hostile(tags: dict[int, int], *, description: str = "", directories: int = 1, back_to: int | None = None) -> bytes:
    """A little TIFF of 4×4 pixels but for these tags; its last directory may lead back to another."""
    text = description.encode() + b"\0"
    plain = {256: 4, 257: 4, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 4, 279: 16}
    size = 2 + 12 * (len(plain) + bool(description)) + 4
    offsets = [8 + size * number for number in range(directories)]
    found = b"II*\0" + struct.pack("<I", 8)
    for number in range(directories):
        entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in (plain | tags).items()]
        if description:
            entries.append(struct.pack("<HHII", 270, 2, len(text), 8 + size * directories))
        entries.sort(key=lambda entry: int.from_bytes(entry[:2], "little"))
        after = [*offsets[1:], 0 if back_to is None else offsets[back_to]]
        found += struct.pack("<H", len(entries)) + b"".join(entries) + struct.pack("<I", after[number])
    return found + text


def ome(channels: int, planes: int) -> str:
    return (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels ID="Pixels:0" '
        f'DimensionOrder="XYCZT" SizeC="{channels}" SizeT="1" SizeZ="1" SizeX="4" SizeY="4" Type="uint8">'
        f'<TiffData IFD="0" FirstC="0" PlaneCount="{planes}"/></Pixels></Image></OME>'
    )


def test_the_little_tiff_is_one() -> None:
    assert read_tiff(hostile({}), "a.tif").shape == (4, 4, 1)
    assert read_tiff(hostile({}, directories=150), "a.tif").shape == (4, 4, 150)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (hostile({256: 2**31 - 1, 257: 2**31 - 1}), "bytes say that they become 4,611,686,014,132,420,609 in memory"),
        (hostile({256: 60_000, 257: 60_000, 273: 0, 279: 0}), "bytes say that they become 3,600,000,000 in memory"),
        (hostile({256: 1000, 257: 1000, 277: 65_535}), "bytes say that they become 65,535,000,000 in memory"),
        (hostile({}, back_to=0), "its directories lead back into each other"),
        (hostile({}, directories=150, back_to=148), "its directories lead back into each other"),
        (hostile({259: 34887}), "TIFFs of compression LERC are not read; write it with deflate, LZW or zstd"),
        (hostile({257: 10**6, 278: 1}), "the TIFF is damaged: it lacks most of its strips or tiles"),
        (hostile({273: 9999}), "the image is damaged or truncated"),
        (hostile({}, description=ome(1, 900_000_000)), "the TIFF's description promises more than 65,535 planes"),
        (hostile({}, description=ome(3, 1)), "the TIFF lacks planes that its description promises"),
        (hostile({}, description='{"shape": [100000000, 40, 4, 4]}'), "bytes say that they become 64,000,000,000"),
    ],
)
def test_hostile_tiffs_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=rf"^a\.tif: .*{re.escape(message)}"):
        read_tiff(data, "a.tif")


def test_strips_that_are_larger_images_are_refused() -> None:
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((16, 16), np.uint8), compression="jpeg", metadata=None)
    data = file.getvalue()
    at = data.index(b"\xff\xc0") + 5
    assert read_tiff(data, "a.tif").shape == (16, 16, 1)
    with pytest.raises(DataError, match=r"a part of 16×16 pixels holds 9000×9000"):
        read_tiff(data[:at] + struct.pack(">HH", 9000, 9000) + data[at + 4 :], "a.tif")
