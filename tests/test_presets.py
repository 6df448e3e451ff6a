import pytest

from anychan.channels import ChannelSet
from anychan.presets import LANDSAT5, LANDSAT7, LANDSAT8, LANDSAT9, PRESETS, RGB, SENTINEL2

# Micrometres, from the table of common band names in STAC's EO extension, version 1.0.0.
STAC = {
    "coastal": (0.40, 0.45),
    "blue": (0.45, 0.50),
    "green": (0.50, 0.60),
    "red": (0.60, 0.70),
    "pan": (0.50, 0.70),
    "rededge": (0.70, 0.79),
    "nir": (0.75, 1.00),
    "nir08": (0.75, 0.90),
    "nir09": (0.85, 1.05),
    "cirrus": (1.35, 1.40),
    "swir16": (1.55, 1.75),
    "swir22": (2.10, 2.30),
    "lwir": (10.5, 12.5),
    "lwir11": (10.5, 11.5),
    "lwir12": (11.5, 12.5),
}
COUNTS = {"rgb": 3, "sentinel2": 13, "landsat5": 7, "landsat7": 8, "landsat8": 11, "landsat9": 11}
SATELLITES = [name for name in PRESETS if name != "rgb"]


def test_every_preset_is_there_with_its_number_of_channels() -> None:
    assert {name: len(channels) for name, channels in PRESETS.items()} == COUNTS


@pytest.mark.parametrize("sensor", PRESETS)
def test_preset_names_its_sensor_and_its_source(sensor: str) -> None:
    assert {channel.sensor for channel in PRESETS[sensor]} == {sensor}
    assert PRESETS[sensor].source


def test_presets_cannot_be_changed() -> None:
    with pytest.raises(TypeError, match="does not support item assignment"):
        PRESETS["rgb"] = SENTINEL2  # type: ignore[index]


@pytest.mark.parametrize("sensor", SATELLITES)
def test_centres_lie_where_stac_puts_the_common_name(sensor: str) -> None:
    for channel in PRESETS[sensor]:
        if channel.identity == "landsat7:B8":
            continue  # ETM+'s panchromatic band reaches into the near infrared, past STAC's range
        assert channel.common_name is not None
        assert channel.wavelength_nm is not None
        name = "rededge" if channel.common_name.startswith("rededge") else channel.common_name
        low, high = STAC[name]
        assert 1000 * low <= channel.wavelength_nm <= 1000 * high, channel


@pytest.mark.parametrize("sensor", SATELLITES)
def test_common_names_are_not_repeated_within_a_sensor(sensor: str) -> None:
    names = [channel.common_name for channel in PRESETS[sensor]]
    assert len(set(names)) == len(names)


def test_sentinel2_bands_are_in_order_of_wavelength() -> None:
    centres = [channel.wavelength_nm or 0 for channel in SENTINEL2]
    assert centres == sorted(centres)
    assert len(set(centres)) == 13
    assert " ".join(SENTINEL2.names) == "B01 B02 B03 B04 B05 B06 B07 B08 B8A B09 B10 B11 B12"


def test_sentinel2_neighbours_overlap_only_at_the_wide_band() -> None:
    bands = [(channel.wavelength_nm or 0, channel.width_nm or 0) for channel in SENTINEL2]
    low, high = [w - width / 2 for w, width in bands], [w + width / 2 for w, width in bands]
    overlaps = [f"{SENTINEL2[i].name} {SENTINEL2[i + 1].name}" for i in range(12) if high[i] > low[i + 1]]
    assert overlaps == ["B07 B08", "B08 B8A"]  # B08 is 106 nm wide


@pytest.mark.parametrize(("asked", "found"), [("B8", "B08"), ("B8A", "B8A"), ("B1", "B01"), ("nir", "B08")])
def test_sentinel2_aliases(asked: str, found: str) -> None:
    assert SENTINEL2[SENTINEL2.index(asked)].name == found


def test_b2_is_blue_or_green_by_sensor() -> None:
    blue, green = LANDSAT8[LANDSAT8.index("B2")], LANDSAT5[LANDSAT5.index("B2")]
    assert (blue.common_name, green.common_name) == ("blue", "green")
    both = ChannelSet([blue]) | ChannelSet([green])
    assert both.identities == ("landsat8:B2", "landsat5:B2")


def test_unions_of_sensors_keep_every_channel() -> None:
    assert len(LANDSAT8 | LANDSAT5) == 18
    assert len(LANDSAT8 | LANDSAT9) == 22


def test_landsat_centre_and_width_by_hand() -> None:
    nir = LANDSAT8[LANDSAT8.index("nir08")]  # 0.85 to 0.88 micrometres
    assert (nir.name, nir.wavelength_nm, nir.width_nm) == ("B5", 865.0, 30.0)
    thermal = LANDSAT7[LANDSAT7.index("B06")]  # 10.40 to 12.50
    assert (thermal.name, thermal.wavelength_nm, thermal.width_nm) == ("B6", 11450.0, 2100.0)


def test_rgb_is_red_green_blue() -> None:
    assert RGB.names == ("R", "G", "B")
    assert RGB.select(["blue", "red"]).names == ("B", "R")
