import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from anychan.errors import ConfigError
from anychan.models.catalog import create_model
from anychan.profiling.engines import ENGINES
from anychan.profiling.latency import (
    Latency,
    LatencyRatio,
    fastest,
    latency_ratios,
    measure_latency,
)

SHAPE = (1, 2, 9, 9)


def row(model: str, engine: str, threads: int, *times_ms: float) -> Latency:
    return Latency(model, engine, threads, 50.0, 10, times_ms)


def test_percentiles_by_hand() -> None:
    times = [float(number) for number in range(1, 102)]
    found = row("net", "eager", 1, *times[50:], *times[:50])
    assert (found.p50_ms, found.p99_ms) == (51, 100)
    assert found.to_dict() == {
        **{"model": "net", "engine": "eager", "threads": 1, "cold_start_ms": 50.0, "warm_up": 10},
        **{"p50_ms": 51.0, "p99_ms": 100.0, "images_per_s": None, "rounds": 101},
    }


ROWS = [
    row("a", "eager", 1, 4, 4, 40),
    row("a", "compile", 1, 1, 3, 10),
    row("b", "eager", 1, 2, 4, 40),
    row("b", "compile", 1, 9, 9, 9),
    row("a", "eager", 2, 2, 2, 2),
    row("a", "compile", 2, 3, 3, 3),
    row("b", "eager", 2, 5, 4, 3),
    row("b", "compile", 2, 4, 4, 1000),
]


def test_fastest_engine_is_that_of_the_lowest_median() -> None:
    best = {(name, threads): fastest(ROWS, name, threads=threads).engine for name in "ab" for threads in (1, 2)}
    assert best == {("a", 1): "compile", ("b", 1): "eager", ("a", 2): "eager", ("b", 2): "eager"}
    with pytest.raises(ConfigError, match=r"^c was not timed with 2 threads$"):
        fastest(ROWS, "c", threads=2)


def test_ratio_is_the_median_of_paired_ratios() -> None:
    one, two = latency_ratios(ROWS, "a", "b")
    assert one == LatencyRatio(1, ("compile", "eager"), 0.5, (0.375, 0.625))  # of 1/2, 3/4 and 10/40
    assert (two.threads, two.engines, two.median) == (2, ("eager", "eager"), 0.5)  # of 2/5, 2/4 and 2/3


class Counting(nn.Module):
    """Works with a number of threads alone."""

    def __init__(self, threads: int) -> None:
        super().__init__()
        self.threads = threads

    def forward(self, x: Tensor) -> Tensor:
        if torch.get_num_threads() != self.threads:
            raise RuntimeError(f"{torch.get_num_threads()} threads\nand more")
        if self.training:
            raise RuntimeError("in training mode")
        return x.mean((2, 3))


def test_models_are_timed_on_every_engine() -> None:
    threads = torch.get_num_threads()
    models = {"narrow": Counting(1), "wide": nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten())}
    found = measure_latency(models, SHAPE, threads=[1], engines=["eager", "onnxruntime"], rounds=12, warm_up=2)
    assert [(row.model, row.engine) for row in found] == [
        *(("narrow", "eager"), ("wide", "eager"), ("narrow", "onnxruntime"), ("wide", "onnxruntime"))
    ]
    for row in found:
        assert (row.threads, row.warm_up, len(row.times_ms)) == (1, 2, 12)
        assert 0 < min(row.times_ms) <= row.p50_ms <= row.p99_ms <= max(row.times_ms)
        assert row.cold_start_ms > min(row.times_ms)
        if fastest(found, row.model, threads=1) is row:
            assert row.images_per_s is not None
            assert row.images_per_s > 1
        else:
            assert row.images_per_s is None
    assert torch.get_num_threads() == threads


def test_each_number_of_threads_has_its_own_process() -> None:
    shapes = {"net": (1, 2, 3, 3)}
    (two,) = measure_latency({"net": Counting(2)}, shapes, threads=[2], engines=["eager"], rounds=3)
    assert two.threads == 2
    with pytest.raises(ConfigError, match=r"^net cannot run on engine 'eager' \(1 threads\); leave this engine out$"):
        measure_latency({"net": Counting(2)}, shapes, threads=[1], engines=["eager"], rounds=3)


class Endless(nn.Module):
    """Says that it runs, and goes on for ever."""

    def forward(self, x: Tensor) -> Tensor:
        print("started", flush=True)
        time.sleep(3600)
        return x


class First(nn.Module):
    """The first values of an image; nothing to compile for long."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, : self.count]


def test_many_networks_of_a_class_are_all_compiled() -> None:
    """More than PyTorch's compiler takes by default; what is compiled starts far more slowly than it runs."""
    models = {str(count): First(count) for count in range(2, 14)}
    found = measure_latency(models, SHAPE, threads=[1], engines=["compile"], rounds=5, warm_up=1)
    assert [row.model for row in found] == list(models)
    assert min(row.cold_start_ms for row in found) > 20 * max(row.p50_ms for row in found)


@pytest.mark.slow
def test_killed_measurement_leaves_no_process_behind() -> None:
    """The pipe ends when the last process that holds it does."""
    code = "from tests.profiling.test_latency import *; measure_latency({'net': Endless()}, SHAPE, engines=['eager'])"
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.kill()
        assert process.communicate(timeout=60)[0] == ""


@pytest.mark.slow
def test_every_engine_with_two_numbers_of_threads() -> None:
    network = create_model("wide_cnn4", num_classes=5, options={"width": 16}).for_channels("B,R")
    found = measure_latency({"network": network, "layer": nn.Conv2d(2, 3, 3)}, SHAPE, rounds=3, warm_up=1)
    assert [(row.threads, row.engine, row.model) for row in found] == [
        (threads, engine, model) for threads in (1, 2) for engine in ENGINES for model in ("network", "layer")
    ]
    compiled = [row.cold_start_ms for row in found if row.engine == "compile"]
    assert min(compiled) > 500  # nothing that was compiled before is taken
    assert [ratio.threads for ratio in latency_ratios(found, "network", "layer")] == [1, 2]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"models": {}}, "there is no model to time; give one at least"),
        ({"rounds": 0}, "rounds is 0, but it must be a whole number from 1"),
        ({"warm_up": 0}, "warm_up is 0, but it must be a whole number from 1"),
        ({"threads": [1, 0]}, "threads is 0, but it must be a whole number from 1"),
        ({"threads": []}, "threads is 0, but it must be a whole number from 1"),
        ({"engines": ["eager", "gpu"]}, "no engine is called 'gpu'; there are eager, compile, onnxruntime"),
        (
            {"input_shape": (2, 2, 9, 9)},
            "latency is of one image, of an input shape (1, S, H, W), not (2, 2, 9, 9) for",
        ),
        ({"input_shape": {"other": SHAPE}}, "input_shape has no shape for net; give one for each model"),
        ({"input_shape": {"net": (2, 9, 9)}}, "latency is of one image, of an input shape (1, S, H, W), not (2, 9, 9)"),
    ],
)
def test_mistakes_are_named_before_anything_is_measured(changes: dict[str, object], text: str) -> None:
    arguments = {"models": {"net": nn.Flatten()}, "input_shape": SHAPE, **changes}
    with pytest.raises(ConfigError, match=f"^{re.escape(text)}"):
        measure_latency(arguments.pop("models"), arguments.pop("input_shape"), **arguments)  # type: ignore[arg-type]


def test_model_that_cannot_be_sent_is_refused() -> None:
    class Local(nn.Module):
        """Defined in a function, so no other process can import it."""

    text = r"^net cannot be sent to the process that times it \(.*Local.*\); build it of classes and functions that can"
    with pytest.raises(ConfigError, match=text):
        measure_latency({"net": Local()}, SHAPE)
