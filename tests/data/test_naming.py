import re
from typing import Any

import pytest

from anychan.data.naming import known_count, name_channels
from anychan.errors import ChannelError
from anychan.presets import LANDSAT8, SENTINEL2

EUROSAT = [f"B{n:02}" for n in range(1, 13)] + ["B8A"]


def test_a_stack_without_names_is_nobodys() -> None:
    found = name_channels([None] * 13, 13, "x")
    assert found.channels is None
    assert found.how == (
        "13 channels without names: sentinel2 has 13, but the order isn't in the files; say --sensor sentinel2, or "
        "--channels with a list in the files' order"
    )
    assert "landsat5 has 7" in name_channels([], 7, "x").how
    assert "landsat8 and landsat9 have 11" in name_channels([], 11, "x").how
    assert name_channels([None], 1, "x").how == (
        "1 channel without names: nobody says what they are; list them by --channels"
    )


def test_names_of_one_sensor_are_its_channels() -> None:
    found = name_channels(["B4", "B8A, central wavelength 865 nm", "B12"], 3, "x")
    assert found.channels == SENTINEL2.select("B04,B8A,B12")
    assert found.named_sensor
    assert name_channels(["sentinel2:B02"], 1, "x").channels == SENTINEL2.select("B02")


def test_names_of_several_sensors_are_not_guessed() -> None:
    found = name_channels(["B2", "B3"], 2, "x")
    assert found.channels is None
    assert found.how.startswith("channels B2, B3 could be those of sentinel2, landsat5, landsat7, landsat8, landsat9;")
    assert name_channels(["B2", "B3"], 2, "x", sensor="landsat8").channels == LANDSAT8.select("B2,B3")


def test_unknown_names_are_kept_without_a_sensor() -> None:
    found = name_channels(["DAPI", "a:b"], 2, "x")
    assert found.channels is not None
    assert found.channels.names == ("DAPI", "a b")
    assert not found.named_sensor
    mine = name_channels(["DAPI"], 1, "x", sensor="scope")
    assert mine.channels is not None
    assert mine.channels.identities == ("scope:DAPI",)
    assert mine.named_sensor


def test_the_order_asked_for_is_the_files() -> None:
    asked = ",".join(f"sentinel2:{name}" for name in EUROSAT)
    found = name_channels([None] * 13, 13, "x", asked=asked)
    assert found.channels is not None
    assert found.channels.names == tuple(EUROSAT)
    assert found.order == tuple(range(13))
    stains = name_channels(["ch1", "ch2"], 2, "x", asked="DNA,RNA", sensor="scope", choose=True)
    assert stains.channels is not None
    assert stains.channels.identities == ("scope:DNA", "scope:RNA")


def test_evenly_spaced_bands() -> None:
    found = name_channels([None] * 156, 156, "x", sensor="samson", wavelengths=(401.0, 889.0))
    assert found.channels is not None
    assert (found.channels.names[0], found.channels.names[155], found.named_sensor) == ("b001", "b156", True)
    assert [found.channels[place].wavelength_nm for place in (0, 155)] == [401, 889]
    assert name_channels([], 156, "x").how.endswith(
        "list them by --channels, or say --sensor NAME --wavelengths FIRST,LAST (nm) for evenly spaced bands"
    )


def test_names_of_several_sensors() -> None:
    found = name_channels(["landsat8:B2", "sentinel2:B02"], 2, "x")
    assert found.channels is not None
    assert found.channels.identities == ("landsat8:B2", "sentinel2:B02")
    assert found.named_sensor


def test_the_number_of_channels() -> None:
    assert known_count(["a", "b"], "x,y,z", None) == 2
    assert known_count([], "x,y,z", "scope") == 3
    assert known_count([], None, "Sentinel2") == 13
    assert known_count([], None, "samson") is known_count([], None, None) is None


def test_of_files_for_each_channel_some_may_be_chosen() -> None:
    found = name_channels(["B02", "B03", "B8A"], 3, "x", asked="sentinel2:B8A,sentinel2:B02", choose=True)
    assert found.channels == SENTINEL2.select("B8A,B02")
    assert found.order == (2, 0)


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        ([None] * 13, {"sensor": "landsat8"}, "x: there are 13 channels, but landsat8 has 11; list them by --channels"),
        ([None] * 2, {"sensor": "scope"}, "x: the files do not name their 2 channels; list them by --channels"),
        (
            [None] * 2,
            {"wavelengths": (401.0, 889.0)},
            "x: --wavelengths is for a sensor that anychan does not know; name yours by --sensor",
        ),
        (
            [None] * 2,
            {"wavelengths": (401.0, 889.0), "sensor": "Sentinel2"},
            "x: --wavelengths is for a sensor that anychan does not know, and Sentinel2 is one whose bands anychan kn",
        ),
        (
            [None] * 2,
            {"wavelengths": (401.0, 889.0), "sensor": "samson", "asked": "a,b"},
            "x: --channels and --wavelengths both say what the channels are; leave one out",
        ),
        (
            ["a", "b"],
            {"wavelengths": (401.0, 889.0), "sensor": "samson"},
            "x: the files name their channels, 'a' the first; --wavelengths is for bands without names",
        ),
        ([None] * 2, {"asked": "a,b,c"}, "x: there are 2 channels, but --channels names 3"),
        (["B02", "NDVI"], {"sensor": "sentinel2"}, "x: the files call a channel 'NDVI', which is none of sentinel2's"),
        (
            ["B02", "B03"],
            {"asked": "sentinel2:B03,sentinel2:B02"},
            "x: --channels puts 'B03' at place 1, but the files call that one 'B02', and it is at place 2",
        ),
        (
            ["B02", "B03"],
            {"asked": "sentinel2:B02,sentinel2:B10", "choose": True},
            "x: no file is of channel 'B10'; the files are of B02, B03",
        ),
    ],
)
def test_contradictions_are_told(names: list[str | None], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ChannelError, match=f"^{re.escape(message)}"):
        name_channels(names, len(names), "x", **options)
