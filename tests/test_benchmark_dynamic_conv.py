"""The benchmark that the planner of dynamic convolutions chooses by."""

import json
from importlib.resources import files
from pathlib import Path

import dynamic_conv
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from anychan.nn.dynamic_backends import BACKENDS
from anychan.nn.dynamic_planner import TIMES_FILE, Shape, fastest


def test_the_package_has_the_table_of_the_committed_results() -> None:
    table = json.loads(files("anychan.nn").joinpath(TIMES_FILE).read_text())
    assert table == dynamic_conv.package_table()


def test_a_measured_shape_gets_its_fastest_backend() -> None:
    for row in dynamic_conv.package_table():
        times = row["milliseconds"]
        assert fastest(Shape(**row["shape"]), device=row["device"], dtype=row["dtype"]) == min(times, key=times.get)


@pytest.mark.parametrize("scale", dynamic_conv.BATCHES)
def test_shapes_are_measured_once(scale: str) -> None:
    measured = [shape for shape, _ in dynamic_conv.shapes(scale)]
    assert len(set(measured)) == len(measured)
    # DynamicResNet12 at 84×84, its 3×3 convolutions
    for layer in ((3, 64, 84, 1), (64, 64, 21, 2), (64, 64, 21, 1), (64, 128, 11, 2), (128, 128, 11, 1)):
        channels, maps, side, stride = layer
        assert Shape(32, channels, maps, side**2, 3, stride, 4, True) in measured


def test_rows_of_two_shapes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):  # what is there is not run again
        results = dynamic_conv.measure("cpu", rounds=1, folder=tmp_path, limit=2)
    assert capsys.readouterr().out.count("\n") == 4
    assert [(row["dtype"], row["shape"]["training"]) for row in results.rows] == [
        ("float32", True),
        ("float32", False),
        ("bfloat16", True),
        ("bfloat16", False),
    ]
    for row in results.rows:
        assert set(row["milliseconds"]) == set(BACKENDS)
        assert min(row["milliseconds"].values()) > 0
    dynamic_conv.write_package_table(tmp_path, tmp_path / "table.json")
    assert json.loads((tmp_path / "table.json").read_text()) == dynamic_conv.package_table(tmp_path)


def test_calls_compute_forward_and_backward() -> None:
    flops = {}
    for training in (False, True):
        shape = Shape(2, 3, 4, 9, 3, 2, 4, training)
        for name, call in dynamic_conv.calls(shape, 5, device="cpu", dtype=torch.bfloat16).items():
            with FlopCounterMode(display=False) as counter:
                call()
            flops[name, training] = counter.get_total_flops()
    for name in BACKENDS:
        assert flops[name, True] > 2 * flops[name, False]
    assert flops["each", False] == flops["stacked", False] > flops["mix", False] == flops["multiply", False]
