import math
from typing import Any

import pytest

from anychan.report.page.curves import compared_curves, run_curves


def rows(*losses: float) -> list[dict[str, float]]:
    return [
        {"epoch": epoch, "train_loss": loss, "val_loss": 2 * loss, "train_accuracy": 0.5, "val_accuracy": 0.1 * epoch}
        for epoch, loss in enumerate(losses)
    ]


def heights(line: Any) -> list[float]:
    return [float(point.split(",")[1]) for piece in line.points for point in piece.split()]


def test_a_run_has_two_charts_of_two_lines() -> None:
    loss, accuracy = run_curves(rows(1.0, 0.5, 0.25), 1)
    assert [line.name for line in loss.lines] == ["validation", "training"]
    first, last = heights(loss.lines[0])[0], heights(loss.lines[0])[-1]
    assert first < last  # downwards is larger
    assert heights(accuracy.lines[1]) == [heights(accuracy.lines[1])[0]] * 3
    assert loss.vertical == accuracy.vertical == (loss.left + loss.right) / 2  # the second of three epochs
    assert [text for _, text in loss.x_ticks] == ["1", "2", "3"]
    assert all(text.endswith(" %") for _, text in accuracy.y_ticks)
    assert loss.text == "loss by epoch; at the end, epoch 3: validation 0.5; training 0.25"
    assert accuracy.text.endswith("validation 20.0 %; training 50.0 %")


def test_marks_stay_inside() -> None:
    for chart in run_curves(rows(9.0, 0.5, 0.25, 0.3, 0.2), None):
        assert chart.vertical is None
        for line in chart.lines:
            assert all(chart.top <= height <= chart.bottom for height in heights(line))
        assert all(chart.top <= place <= chart.bottom for place, _ in chart.y_ticks)


def test_one_epoch_is_two_dots() -> None:
    for chart in run_curves(rows(1.0), 0):
        assert [(line.points, len(line.dots)) for line in chart.lines] == [((), 1), ((), 1)]


def test_an_epoch_that_dwarfs_the_rest_makes_the_axis_logarithmic() -> None:
    wild, tame = run_curves(rows(50.0, 1.0, 0.9, 0.8), 0)[0], run_curves(rows(1.2, 1.0, 0.9, 0.8), 0)[0]
    assert [text for _, text in wild.y_ticks] == ["1", "10", "100"]
    assert "10" not in [text for _, text in tame.y_ticks]
    assert len(heights(run_curves(rows(1.0, math.nan, 0.5, 0.4), 0)[0].lines[0])) == 2


def test_runs_are_told_apart_by_validation() -> None:
    curves = {f"run {number}": rows(*[1.0] * (number + 1)) for number in range(9)}
    loss, accuracy = compared_curves(curves)
    assert (loss.title, accuracy.title) == ("Validation loss", "Validation accuracy")
    assert len({line.look for line in loss.lines}) == 9
    assert loss.lines[7].look == "c0 dashed"
    with pytest.raises(KeyError):
        compared_curves({"other": [{"epoch": 0.0}]})
