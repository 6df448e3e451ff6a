"""The benchmark of growth, at two small points an axis."""

from pathlib import Path

import growth
import pytest


def test_every_axis(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    points = {"channels": (1, 2), "kernels": (1, 2), "batch": (2, 3), "size": (32, 40)}
    for _ in range(2):  # what is there is not run again
        results = growth.measure("cpu", rounds=1, folder=tmp_path, points=points)
    assert capsys.readouterr().out.count("slope") == 8
    assert {(row["axis"], row["training"]) for row in results.rows} == {
        (axis, training) for axis in growth.AXES for training in (False, True)
    }
    assert len(results.rows) == 2 * 2 * len(growth.AXES)
    assert min(row["ms"] for row in results.rows) > 0


def test_slope_by_hand() -> None:
    rows = [{"axis": "batch", "point": point, "ms": 3.0 * point**1.5} for point in (1, 4, 9)]
    assert growth.slope([*rows, {"axis": "size", "point": 2, "ms": 1.0}], axis="batch") == pytest.approx(1.5)
