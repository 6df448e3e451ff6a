import math

import pytest

from anychan.report.page.chart import Axis, Line, bar_scale, fit_axis, percent


def test_values_have_their_places() -> None:
    axis = Axis(-1, 3, 10, 90)
    assert [axis.at(value) for value in (-1, 0, 1, 3)] == [10, 30, 50, 90]
    upwards = Axis(0, 1, 200, 0)
    assert [upwards.at(value) for value in (0, 0.25, 1)] == [200, 150, 0]
    by_ratio = Axis(1, 100, 0, 10, by_ratio=True)
    assert [by_ratio.at(value) for value in (1, 10, 100)] == [0, 5, 10]


@pytest.mark.parametrize("axis", [Axis(0.31, 0.94, 0, 100), Axis(-3, 1e6, 0, 100), Axis(1, 40, 0, 100, whole=True)])
def test_ticks_are_round_and_on_the_axis(axis: Axis) -> None:
    ticks = axis.ticks()
    assert 2 <= len(ticks) <= 8
    assert all(0 <= place <= 100 for place, _ in ticks)
    assert [axis.at(float(text)) for _, text in ticks] == [place for place, _ in ticks]


def test_ticks_by_ratio_and_of_whole_numbers() -> None:
    assert [text for _, text in Axis(0.9, 12, 0, 1, by_ratio=True).ticks()] == ["1", "2", "5", "10"]
    assert [text for _, text in Axis(0.9, 2000, 0, 1, by_ratio=True).ticks()] == ["1", "10", "100", "1000"]
    assert [text for _, text in Axis(1, 2, 0, 1, whole=True).ticks()] == ["1", "2"]
    assert [text for _, text in Axis(0, 1, 0, 1).ticks(percent)] == ["0 %", "20 %", "40 %", "60 %", "80 %", "100 %"]


def test_an_axis_holds_what_it_is_for() -> None:
    axis = fit_axis([3, 1, math.nan, math.inf, 2], 0, 100)
    assert (axis.low, axis.high) == pytest.approx((0.9, 3.1))
    assert fit_axis([1, 7], 0, 100, whole=True).at(1) == 0
    assert fit_axis([4], 0, 100, whole=True).at(4) == 50
    assert fit_axis([], 0, 100).at(0.5) == 50
    by_ratio = fit_axis([1, 1000], 0, 100, by_ratio=True)
    assert by_ratio.low < 1 < 1000 < by_ratio.high
    assert not fit_axis([0, 1], 0, 100, by_ratio=True).by_ratio


def test_a_line_breaks_where_there_is_no_number() -> None:
    axes = Axis(0, 10, 0, 10), Axis(0, 10, 0, 10)
    values = [(0, 1.0), (1, 2.0), (2, math.nan), (3, 4.0), (4, math.inf), (5, 5.0), (6, 7.0)]
    line = Line.of("loss", "c0", values, axes)
    assert line.points == ("0,1 1,2", "5,5 6,7")
    assert line.dots == ((3, 4),)
    assert Line.of("loss", "c0", [(1, math.nan)], axes).points == ()


def test_bars_begin_at_0_on_either_side() -> None:
    bar = bar_scale(-1, 3)
    above, below = bar(1, 0.5, 2, "+1"), bar(-0.5, -1, 0, "-0.5")
    assert (above.start, above.length, above.low, above.high, above.negative) == (25, 25, 37.5, 75, False)
    assert (below.start, below.length, below.low, below.high, below.negative) == (12.5, 12.5, 0, 25, True)
