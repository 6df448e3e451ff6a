from dataclasses import replace

import pytest
import torch

from anychan.evaluation.smallest import SmallestSensor
from anychan.evaluation.subsets import SubsetReport, SubsetRow
from anychan.presets import RGB
from anychan.report.page.front import Sensor, read_sensor


def sensor(costs: dict[str, float] | None = None) -> SmallestSensor:
    rows = tuple(
        SubsetRow(subset.names, torch.arange(100) < 20 + 10 * len(subset) + 5 * ("R" in subset.names))
        for subset in RGB.subsets()
    )
    report = SubsetReport(rows, 7, "saved")
    return report.smallest_sensor(report, within=0.1, costs=costs)


def read(found: SmallestSensor) -> Sensor:
    return read_sensor(found.to_dict(), RGB.names, 0.55)


def test_the_chosen_subset_is_told_and_marked() -> None:
    found = read(sensor())
    assert found.channels == "R+G"
    assert found.sentence.startswith(
        "Cost 2 of 3, chosen on 100 validation images to lose 10 points at most. On 100 te"
    )
    assert "45.0 % (35.6 to 54.8): less all channels -10.0 points (" in found.sentence
    assert [(cost, name, chosen) for cost, name, _, _, chosen in found.rows] == [
        ("1", "R", False),
        ("2", "R+G", True),
        ("3", "R+G+B", False),
    ]
    assert [mark.chosen for mark in found.chart.marks] == [False, True, False]
    assert found.chart.marks[1].text == "R+G: 45.0 % (35.6 to 54.8)"


def test_the_chart_goes_by_cost_and_accuracy() -> None:
    chart = read(sensor()).chart
    assert [text for _, text in chart.x_ticks] == ["0", "1", "2", "3"]
    for mark, accuracy in zip(chart.marks, (0.35, 0.45, 0.55), strict=True):
        assert mark.high < mark.y < mark.low  # upwards is smaller
        assert mark.y == pytest.approx(chart.bottom + accuracy * (chart.top - chart.bottom), abs=0.01)
    assert chart.horizontal == chart.marks[-1].y
    (steps,) = chart.lines[0].points
    assert steps.split()[1] == f"{chart.marks[1].x:g},{chart.marks[0].y:g}"  # flat up to the next cost


def test_unlike_costs_go_by_ratio() -> None:
    chart = read(sensor({"R": 1, "G": 50, "B": 900})).chart
    assert [text for _, text in chart.x_ticks] == ["1", "10", "100", "1000"]
    assert all(chart.left <= mark.x <= chart.right for mark in chart.marks)


def test_one_subset_is_a_front_too() -> None:
    whole = sensor()
    alone = replace(whole, front=whole.front[-1:])
    chart = read(alone).chart
    assert len(chart.marks) == 1
    assert chart.left <= chart.marks[0].x <= chart.right
