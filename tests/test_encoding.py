import math
import re
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from anychan.encoding import Encoding, fits_type, no_data_row
from anychan.errors import ChannelError

PLAIN = Encoding("reflectance", 0.0001)
SHIFTED = Encoding("reflectance", 0.0001, -0.1)  # Sentinel-2 from baseline 04.00 on
FINITE = st.floats(-1e3, 1e3, allow_nan=False)
ENCODINGS = st.builds(
    Encoding,
    unit=st.sampled_from([None, "reflectance"]),
    scale=st.floats(1e-4, 1e3),
    offset=FINITE,
    no_data=st.one_of(st.none(), st.just(math.nan), FINITE),
)


def test_equal_reflectances_become_equal_numbers() -> None:
    numbers = np.array([[1000, 4000], [11000, 1001]], np.uint16)
    found = SHIFTED.convert(numbers, PLAIN)
    assert found.tolist() == [[0, 3000], [10000, 1]]
    assert found.dtype == np.uint16


def test_integers_are_cut_at_their_ends() -> None:
    assert SHIFTED.convert(np.array([0, 500, 1000], np.uint16), PLAIN).tolist() == [0, 0, 0]
    assert PLAIN.convert(np.array([65000], np.uint16), SHIFTED).tolist() == [65535]


@given(
    st.lists(st.floats(-100, 100, width=32), min_size=1),
    st.tuples(st.floats(0.01, 100), FINITE),
    st.tuples(st.floats(0.01, 100), FINITE),
)
def test_there_and_back_is_the_same(
    numbers: list[float], here: tuple[float, float], there: tuple[float, float]
) -> None:
    stored = np.array(numbers, np.float64)
    one, other = Encoding("m", *here), Encoding("m", *there)
    converted = one.convert(stored, other)
    np.testing.assert_allclose(converted * other.scale + other.offset, stored * one.scale + one.offset, atol=1e-8)
    np.testing.assert_allclose(other.convert(converted, one), stored, atol=1e-6)


@given(ENCODINGS)
def test_plain_values_give_the_same_encoding(encoding: Encoding) -> None:
    assert Encoding.from_dict(encoding.to_dict()) == encoding


def test_no_data_becomes_the_others_no_data() -> None:
    here, there = Encoding(no_data=0), Encoding(no_data=65535)
    numbers = np.array([0, 7, 65534], np.uint16)
    assert here.convert(numbers, there).tolist() == [65535, 7, 65534]
    assert Encoding(no_data=math.nan).convert(np.array([np.nan, 2], np.float32), Encoding(no_data=-9)).tolist() == [
        -9,
        2,
    ]
    assert there.convert(numbers, Encoding()).tolist() == numbers.tolist()  # none is missing
    with pytest.raises(ChannelError, match=r"^0 stands for no data here, but nothing does there$"):
        here.convert(numbers, Encoding())
    with pytest.raises(ChannelError, match=r"^-9999 stands for no data there, which uint16 cannot hold$"):
        here.convert(numbers, Encoding(no_data=-9999))


def test_units_are_never_mixed() -> None:
    message = "its unit is reflectance here and not given there"
    with pytest.raises(ChannelError, match=message):
        PLAIN.convert(np.zeros(2), Encoding())


def test_nothing_to_do_copies_nothing() -> None:
    numbers = np.zeros(3, np.uint8)
    assert PLAIN.convert(numbers, PLAIN) is numbers
    assert PLAIN.convert(numbers, Encoding("reflectance", 0.0001, no_data=9)) is numbers


def test_data_never_becomes_no_data() -> None:
    here, there = Encoding("reflectance", 0.0001, -0.1, 0), Encoding("reflectance", 0.0001, 0, 0)
    numbers = np.array([0, 500, 900, 1000, 1001, 1002], np.uint16)
    assert here.convert(numbers, there).tolist() == [0, 1, 1, 1, 1, 2]
    high = Encoding("reflectance", 0.0001, 0, 65535)
    assert high.convert(
        np.array([0, 64535, 65000], np.uint16), Encoding("reflectance", 0.0001, -0.1, 65535)
    ).tolist() == [*(1000, 65534, 65534)]
    for number in (0.0, 1e20, -3.4028235e38, 3.4028235e38, math.inf):
        pixels = np.array([number, 7], np.float32)
        found = Encoding(no_data=7).convert(pixels, Encoding(no_data=number))
        assert found.dtype == np.float32
        assert found[0] != pixels[0] == found[1]
        np.testing.assert_allclose(found[0], min(pixels[0], np.finfo(np.float32).max), rtol=1e-6, atol=1e-40)


def test_what_means_no_data_elsewhere_needs_a_word() -> None:
    message = "it holds 0, which means no data elsewhere; state its no_data (0, or another number) in channels.yaml"
    numbers = np.array([0, 7], np.uint16)
    for offset in (0, -7):
        with pytest.raises(ChannelError, match=f"^{re.escape(message)}$"):
            Encoding().convert(numbers, Encoding(offset=offset, no_data=0))
    assert Encoding(no_data=9).convert(numbers, Encoding(no_data=0)).tolist() == [1, 7]
    with pytest.raises(ChannelError, match=r"^it holds nan, which means no data elsewhere"):
        Encoding().convert(np.array([1, np.nan]), Encoding(no_data=math.nan))
    everywhere = np.ones(2, bool)
    assert Encoding().convert_data(numbers, Encoding(no_data=0), everywhere).tolist() == [0, 7]


def test_missing_pixels() -> None:
    assert Encoding(no_data=0).missing(np.array([[0, 1]])).tolist() == [[True, False]]
    assert Encoding(no_data=math.nan).missing(np.array([0, np.nan])).tolist() == [False, True]
    assert Encoding(no_data=-1e300).missing(np.array([-np.inf, 1], np.float32)).tolist() == [False, False]
    assert Encoding().missing(np.array([0, np.nan])).tolist() == [False, False]


def test_every_nan_is_the_same_no_data() -> None:
    assert Encoding(no_data=float("nan")) == Encoding(no_data=float("nan"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scale": 0}, "scale is 0, but it must be above 0"),
        ({"scale": math.inf}, "scale is inf, but it must be above 0"),
        ({"scale": "1"}, "scale is '1', but it must be a number"),
        ({"scale": "1e-4"}, "scale is '1e-4', but it must be a number; write 0.0001 or 1.0e-4"),
        ({"offset": "-25E2"}, "offset is '-25E2', but it must be a number; write -2500.0 or -2.5e+3"),
        ({"offset": "zero"}, "offset is 'zero', but it must be a number"),
        ({"scale": None}, "scale is None, but it must be a number"),
        ({"offset": math.nan}, "offset is nan, but it must be finite"),
        ({"no_data": True}, "no_data is True, but it must be a number"),
        ({"nodata": 0}, "there is no 'nodata'; there are unit, scale, offset, no_data"),
    ],
)
def test_bad_values_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ChannelError, match=f"^{re.escape(message)}$"):
        Encoding.from_dict(values)


@given(st.floats(allow_nan=False, allow_infinity=False).filter(bool))
def test_what_yaml_reads_as_text_is_shown_as_a_number(number: float) -> None:
    text = np.format_float_scientific(number, trim="-")
    with pytest.raises(ChannelError) as raised:
        Encoding.from_dict({"offset": text})
    shown = str(raised.value).partition("; write ")[2].split(" or ")
    assert [yaml.safe_load(one) for one in shown] == [number, number]


def test_no_data_as_pixels_hold_it() -> None:
    row = no_data_row([None, 1e20, 0], np.dtype(np.float32))
    np.testing.assert_array_equal(row, [np.nan, float(np.float32(1e20)), 0])
    np.testing.assert_array_equal(no_data_row([None, -1, 0.5], np.dtype(np.uint8)), [np.nan, -1, 0.5])


@pytest.mark.parametrize(
    ("number", "dtype", "fits"),
    [
        (255, np.uint8, True),
        (256, np.uint8, False),
        (-1, np.uint16, False),
        (0.5, np.uint16, False),
        (math.nan, np.uint16, False),
        (-32768, np.int16, True),
        (math.nan, np.float32, True),
        (math.inf, np.float32, True),
        (-3.4028235e38, np.float32, True),
        (-1e300, np.float32, False),
        (-1e300, np.float64, True),
        (None, np.float32, False),
    ],
)
def test_which_numbers_a_type_holds(number: float | None, dtype: Any, fits: bool) -> None:
    assert fits_type(number, np.dtype(dtype)) is fits
