import re
from pathlib import Path

import numpy as np
import pytest

from anychan.channels import Channel
from anychan.data.file_claims import named_by_file, read_as_declared, with_no_data_of
from anychan.encoding import Encoding
from anychan.errors import ChannelError, DataError
from anychan.presets import LANDSAT8, RGB, SENTINEL2
from tests.geotiff import geotiff
from tests.runs import Array, constant_channels, png

BANDS = np.broadcast_to(np.arange(1, 4, dtype=np.uint16)[:, None, None], (3, 4, 5)).copy()
CHANNELS = SENTINEL2.select("B02,B03,B8A")
PLAIN = (Encoding(),) * 3


def gap() -> Array:
    bands = BANDS.copy()
    bands[1, 0, 0] = 65535
    return bands


@pytest.mark.parametrize(
    "names", [(), ("B02", "B03", "B8A"), ("b2", "sentinel2:B03", "B08A"), ("blue", "green", "nir"), ("x", None, "y")]
)
def test_names_that_agree_or_say_nothing(tmp_path: Path, names: tuple[str | None, ...]) -> None:
    data = geotiff(tmp_path / "a.tif", BANDS, names=names)
    found = read_as_declared(data, "a.tif", CHANNELS, PLAIN)
    np.testing.assert_array_equal(found, np.moveaxis(BANDS, 0, -1))


def test_band_order_that_contradicts_names(tmp_path: Path) -> None:
    data = geotiff(tmp_path / "a.tif", BANDS, names=("B02", "B8A", "B03"))
    message = "k/a.tif: the file calls band 2 'B8A', but it is said to be 'B03'; a band order that contradicts names is"
    with pytest.raises(DataError, match=f"^{re.escape(message)}"):
        read_as_declared(data, "k/a.tif", CHANNELS, PLAIN)


def test_the_files_no_data_becomes_the_collections(tmp_path: Path) -> None:
    data = geotiff(tmp_path / "a.tif", gap(), nodata=65535)
    found = read_as_declared(data, "a.tif", CHANNELS, (Encoding(no_data=0),) * 3)
    assert found[0, 0].tolist() == [1, 0, 3]
    same = read_as_declared(data, "a.tif", CHANNELS, (Encoding(no_data=65535),) * 3)
    np.testing.assert_array_equal(same, np.moveaxis(gap(), 0, -1))


@pytest.mark.parametrize("declared", [Encoding(), Encoding(no_data=-9999)])
def test_no_data_that_nobody_can_tell_is_refused(tmp_path: Path, declared: Encoding) -> None:
    data = geotiff(tmp_path / "a.tif", gap(), nodata=65535)
    message = "a.tif: its own tag says that 65535 stands for no data, as in channel B03, but the first file and"
    with pytest.raises(DataError, match=rf"^{message} channels.yaml do not; write `no_data: 65535` in channels.yaml$"):
        read_as_declared(data, "a.tif", CHANNELS, (declared,) * 3)
    whole = geotiff(tmp_path / "b.tif", BANDS, nodata=65535)
    assert read_as_declared(whole, "b.tif", CHANNELS, (declared,) * 3).max() == 3  # no pixel of it lacks data


def test_first_files_tag_fills_what_nobody_declares(tmp_path: Path) -> None:
    data = geotiff(tmp_path / "a.tif", BANDS, nodata=0)
    declared = (Encoding(no_data=7), Encoding("K", 2))
    assert with_no_data_of(data, "a.tif", declared) == (Encoding(no_data=7), Encoding("K", 2, no_data=0))
    assert with_no_data_of(png(constant_channels(1, 2, 3)), "a.png", declared) == declared


def test_bands_of_one_sensor_are_its_channels(tmp_path: Path) -> None:
    found = named_by_file(geotiff(tmp_path / "a.tif", BANDS, names=("B8A", "B02", "B10")), "a.tif")
    assert found is not None
    assert found.channels == SENTINEL2.select("B8A,B02,B10")
    assert not found.named_sensor  # a guess, however good, is never united with another source
    named = named_by_file(geotiff(tmp_path / "a.tif", BANDS, names=tuple(LANDSAT8.identities[:3])), "a.tif")
    assert named is not None
    assert named.channels == LANDSAT8.select(LANDSAT8.identities[:3])
    colours = named_by_file(geotiff(tmp_path / "a.tif", BANDS, names=("B", "G", "R")), "a.tif")
    assert colours is not None
    assert colours.channels == RGB.select("B,G,R")


def test_other_names_are_nobodys_channels(tmp_path: Path) -> None:
    found = named_by_file(geotiff(tmp_path / "a.tif", BANDS, names=("B02", "DNA", "ER")), "a.tif")
    assert found is not None
    assert list(found.channels) == [Channel(name, "custom") for name in ("B02", "DNA", "ER")]
    assert not found.named_sensor
    for names in ((), ("DNA", None, "ER")):
        assert named_by_file(geotiff(tmp_path / "a.tif", BANDS, names=names), "a.tif") is None
    assert named_by_file(b"", "a.npy") is None


def test_names_that_several_sensors_share(tmp_path: Path) -> None:
    data = geotiff(tmp_path / "a.tif", BANDS, names=("B2", "B3", "B4"))
    message = "a.tif: the file's bands are called B2, B3, B4, as sentinel2 and landsat5 and landsat7 and landsat8 and"
    with pytest.raises(
        ChannelError, match=f"^{message} landsat9 call theirs; say whose they are in channels.yaml, or by"
    ):
        named_by_file(data, "a.tif")


@pytest.mark.parametrize("names", [("x", "x", "y"), ("B8A", "B08A", "B10"), ("a,b", "c", "d")])
def test_names_that_cannot_be_channels(tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(ChannelError, match=r"^a.tif: channel .*(twice|without ':' or ',')"):
        named_by_file(geotiff(tmp_path / "a.tif", BANDS, names=names), "a.tif")
