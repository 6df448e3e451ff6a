import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anychan.channels import Channel, ChannelSet, parse_channels
from anychan.errors import ChannelError
from anychan.presets import LANDSAT5, LANDSAT8, PRESETS, RGB, SENTINEL2

UNIVERSE = [Channel(name, sensor) for sensor in ("left", "right") for name in "abcd"]
SETS = st.lists(st.sampled_from(UNIVERSE), min_size=1, unique=True).map(ChannelSet)


def identities(channels: ChannelSet) -> set[str]:
    return set(channels.identities)


def test_identity_is_sensor_and_name() -> None:
    assert Channel("B2", "landsat8").identity == "landsat8:B2"


@pytest.mark.parametrize(
    ("query", "fit"),
    [("S2:b08", 4), ("b08", 3), ("B8", 2), (" nir ", 1), ("NIR", 1), ("B", 0), ("", 0), ("S2:B8", 0)],
)
def test_answers_to(query: str, fit: int) -> None:
    assert Channel("B08", "s2", ("B8",), "nir").answers_to(query) == fit


def test_channel_without_common_name_does_not_answer_to_none() -> None:
    assert Channel("x", "s").answers_to("None") == 0


@pytest.mark.parametrize(("name", "sensor"), [("", "s"), ("x", ""), ("a:b", "s"), ("x", "s,t"), (" x", "s"), (4, "s")])
def test_bad_names_are_refused(name: str, sensor: str) -> None:
    text = f"channel name {name!r} of sensor {sensor!r}: give both, text without ':' or ','"
    with pytest.raises(ChannelError, match=re.escape(text)):
        Channel(name, sensor)


@pytest.mark.parametrize("value", [0, -5.0, float("nan"), "665"])
def test_bad_wavelengths_are_refused(value: float) -> None:
    for key in ("wavelength_nm", "width_nm"):
        with pytest.raises(ChannelError, match=f"'s:x': {key} is {value!r}, but it must be above 0 nm"):
            Channel("x", "s", **{key: value})  # type: ignore[arg-type]


def test_micrometres_are_not_taken_for_nanometres() -> None:
    message = "channel 's:x': wavelength_nm is 0.49, which looks like µm; write 490"
    with pytest.raises(ChannelError, match=f"^{re.escape(message)}$"):
        Channel("x", "s", wavelength_nm=0.49)
    with pytest.raises(ChannelError, match=r"wavelength_nm is 12.5, which looks like µm; write 12500"):
        Channel("x", "s", wavelength_nm=12.5)
    assert Channel("x", "s", wavelength_nm=100, width_nm=0.5).width_nm == 0.5


def test_set_is_a_sequence() -> None:
    assert (len(RGB), RGB[1].name, RGB[-1].name) == (3, "G", "B")
    assert [channel.name for channel in RGB] == ["R", "G", "B"]
    assert RGB.identities == ("rgb:R", "rgb:G", "rgb:B")
    assert RGB.label == "R+G+B"
    assert repr(RGB) == "ChannelSet(rgb:R, rgb:G, rgb:B)"


def test_equality_is_of_channels_in_order() -> None:
    assert ChannelSet(list(RGB)) == RGB
    assert hash(ChannelSet(list(RGB))) == hash(RGB)
    assert RGB.select("B,G,R") != RGB
    assert RGB != ("R", "G", "B")


def test_empty_and_repeated_sets_are_refused() -> None:
    with pytest.raises(ChannelError, match="a channel set needs at least one channel"):
        ChannelSet([])
    with pytest.raises(ChannelError, match="channel 'rgb:R' is there twice; name each channel once"):
        ChannelSet([*RGB, RGB[0]])


@pytest.mark.parametrize("query", ["B08", "b8", "NIR", "sentinel2:B08", "SENTINEL2:b08", SENTINEL2[7]])
def test_index_by_every_kind_of_name(query: str | Channel) -> None:
    assert SENTINEL2.index(query) == 7


def test_better_fit_wins() -> None:
    both = ChannelSet([Channel("x", "s", ("y",)), Channel("y", "s", (), "x")])
    assert (both.index("x"), both.index("y")) == (0, 1)


def test_unknown_channel_names_the_known_ones() -> None:
    text = "channel 'NIR' is not one of R, G, B; name one of these, or adapt the model"
    with pytest.raises(ChannelError, match=re.escape(text)):
        RGB.index("NIR")
    with pytest.raises(ChannelError, match="'landsat8:B2' is not one of"):
        SENTINEL2.index(LANDSAT8[1])


def test_ambiguous_channel_names_the_candidates() -> None:
    text = "channel 'B2' could be any of landsat8:B2, landsat5:B2; write it as sensor:name"
    both = LANDSAT8 | LANDSAT5
    with pytest.raises(ChannelError, match=text):
        both.index("B2")
    assert both[both.index("landsat5:B2")].common_name == "green"


def test_indices_keep_the_order_asked_for() -> None:
    assert RGB.indices(["B", "R"]) == (2, 0)
    assert RGB.indices("B, R") == (2, 0)
    assert RGB.indices(RGB.select(["G"])) == (1,)


def test_indices_refuse_repeats_and_nothing() -> None:
    with pytest.raises(ChannelError, match="channel 'B08' is asked for twice; name each channel once"):
        SENTINEL2.indices(["B8", "B08"])
    with pytest.raises(ChannelError, match="no channel was named; name at least one of R, G, B"):
        RGB.indices([])


def test_select_keeps_the_source() -> None:
    assert RGB.select(["B"]).source == RGB.source


def test_subsets_by_hand() -> None:
    labels = [subset.label for subset in RGB.subsets()]
    assert labels == ["R", "G", "B", "R+G", "R+B", "G+B", "R+G+B"]


@pytest.mark.parametrize(
    ("query", "in_sentinel2", "in_rgb"),
    [
        ("nir", True, False),
        ("red", True, True),
        ("R", False, True),
        (SENTINEL2[3], True, False),
        (0, False, False),
    ],
)
def test_contains(query: object, in_sentinel2: bool, in_rgb: bool) -> None:
    assert (query in SENTINEL2) == in_sentinel2
    assert (query in RGB) == in_rgb


OPERATORS: list[Callable[[ChannelSet, ChannelSet], ChannelSet]] = [
    ChannelSet.__or__,
    ChannelSet.__and__,
    ChannelSet.__sub__,
]


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize(("centre", "width"), [(600, 40), (500, 50), (500, None)])
def test_contradicting_channels_are_refused(
    operator: Callable[[ChannelSet, ChannelSet], ChannelSet], centre: float, width: float | None
) -> None:
    ours = ChannelSet([Channel("x", "s", wavelength_nm=500, width_nm=40), Channel("y", "s")])
    theirs = ChannelSet([Channel("x", "s", wavelength_nm=centre, width_nm=width), Channel("z", "s")])
    text = f"'s:x' is centred at 500 nm (40 nm wide) in one set and at {centre} nm ({width} nm wide) in the other"
    with pytest.raises(ChannelError, match=re.escape(text)):
        operator(ours, theirs)


@given(SETS, SETS)
def test_union_keeps_the_left_order_and_adds_the_rest(a: ChannelSet, b: ChannelSet) -> None:
    union = a | b
    assert list(union)[: len(a)] == list(a)
    assert list(union)[len(a) :] == [channel for channel in b if channel.identity not in a.identities]
    assert a <= union
    assert b <= union


@given(SETS, SETS)
def test_intersection_and_difference_split_the_left_set(a: ChannelSet, b: ChannelSet) -> None:
    common = identities(a) & identities(b)
    for operator, kept in ((ChannelSet.__and__, common), (ChannelSet.__sub__, identities(a) - common)):
        if kept:
            assert operator(a, b).identities == tuple(name for name in a.identities if name in kept)
        else:
            with pytest.raises(ChannelError, match=r"share no channel|leaves no channel"):
                operator(a, b)


@given(SETS, SETS, SETS)
def test_union_laws(a: ChannelSet, b: ChannelSet, c: ChannelSet) -> None:
    assert (a | b) | c == a | (b | c)
    assert a | a == a
    assert identities(a | b) == identities(b | a)
    assert (a <= b) == (identities(a | b) == identities(b))


@given(SETS, st.data())
def test_select_gives_what_was_asked_in_that_order(a: ChannelSet, data: st.DataObject) -> None:
    asked = data.draw(st.lists(st.sampled_from(a.identities), min_size=1, unique=True))
    assert a.select(asked).identities == tuple(asked)
    assert [a[i].identity for i in a.indices(asked)] == asked


@given(SETS)
def test_subsets_are_all_and_each_once(a: ChannelSet) -> None:
    subsets = list(a.subsets())
    assert len(subsets) == len(set(subsets)) == 2 ** len(a) - 1
    assert [len(subset) for subset in subsets] == sorted(len(subset) for subset in subsets)
    for subset in subsets:
        assert a & subset == subset  # in a's order


@given(SETS)
def test_plain_values_round_trip(a: ChannelSet) -> None:
    assert parse_channels(a.to_list(), {}) == a


def test_preset_round_trips_without_empty_fields() -> None:
    assert parse_channels(SENTINEL2.to_list(), {}) == SENTINEL2
    assert Channel("x", "s") in ChannelSet([Channel("x", "s")])
    assert ChannelSet([Channel("x", "s")]).to_list() == [{"name": "x", "sensor": "s"}]


def test_parse_a_sensor() -> None:
    assert parse_channels("Sentinel2", PRESETS) is SENTINEL2
    with pytest.raises(ChannelError, match="no sensor is called 'modis'; name one of rgb, sentinel2, landsat5"):
        parse_channels("modis", PRESETS)


@pytest.mark.parametrize("spec", ["sentinel2:B8, sentinel2:red", ["sentinel2:B08", "SENTINEL2:B04"]])
def test_parse_identities(spec: str | list[str]) -> None:
    assert parse_channels(spec, PRESETS) == SENTINEL2.select(["B08", "B04"])


def test_parse_new_channels() -> None:
    found = parse_channels(
        ["DNA", {"name": "ER", "sensor": "scope"}, {"name": "AGP", "aliases": "golgi", "wavelength_nm": 580}], PRESETS
    )
    assert found.identities == ("custom:DNA", "scope:ER", "custom:AGP")
    assert found[2] == Channel("AGP", "custom", ("golgi",), wavelength_nm=580)


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ("sentinel2:B99", "channel 'B99' is not one of B01"),
        ("sentinel-2:B04", "channel 'sentinel-2:B04': no sensor is called 'sentinel-2'; name one of rgb, sentinel2"),
        ({"name": "x", "wave": 5}, "has no field 'wave'; the fields are name, sensor, aliases"),
        ({"sensor": "s"}, "needs a 'name'; the fields are name"),
        (4, "channel 4 is neither a name nor a mapping; put quotes around numbers"),
    ],
)
def test_parse_refuses(item: str, text: str) -> None:
    with pytest.raises(ChannelError, match=text):
        parse_channels(["DNA", item], PRESETS)
