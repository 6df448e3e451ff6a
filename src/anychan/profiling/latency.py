"""How long one image takes: cold start, median and 99th percentile, on several engines and numbers of threads.

Two networks are compared by the median of paired ratios: all are timed in turns, A B C A B C …, in one process, so that
whatever else the machine does hits all alike. Each number of threads has a process of its own: compiled code and ONNX
Runtime keep the number that they began with, and the caller's settings stay as they are.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from anychan.errors import ConfigError
from anychan.profiling.engines import ENGINES, Run, check_engines, check_output, expect, prepare, set_threads
from anychan.profiling.turns import progress, time_in_turns

__all__ = ["BATCH_SIZE", "Latency", "LatencyRatio", "fastest", "latency_ratios", "measure_latency"]

BATCH_SIZE = 64  # images at a time, for the throughput
_BATCHES = 5  # timed for the throughput
Pair = tuple[str, str]  # model, engine


@dataclass(frozen=True)
class Latency:
    """One model on one engine with a number of threads, for one image.

    Args:
        model: its name.
        engine: one of `ENGINES`.
        threads: number of threads within an operation.
        cold_start_ms: from the start of the engine to the first result: compiling, or loading an exported file, and the
            first call. Imports and the export itself are left out.
        warm_up: calls after that, before timing.
        times_ms: of each round; round by round, all models and engines of one call of `measure_latency` belong
            together.
        images_per_s: at batches of 64, for the model's fastest engine at that number of threads; else `None`.
    """

    model: str
    engine: str
    threads: int
    cold_start_ms: float
    warm_up: int
    times_ms: tuple[float, ...]
    images_per_s: float | None = None

    @property
    def p50_ms(self) -> float:
        """The median."""
        return float(np.percentile(self.times_ms, 50))

    @property
    def p99_ms(self) -> float:
        """99 of 100 calls take no longer."""
        return float(np.percentile(self.times_ms, 99))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the percentiles in place of every round's time."""
        names = ("model", "engine", "threads", "cold_start_ms", "warm_up", "p50_ms", "p99_ms", "images_per_s")
        return {**{name: getattr(self, name) for name in names}, "rounds": len(self.times_ms)}


@dataclass(frozen=True)
class LatencyRatio:
    """One model's latency over another's, each on its fastest engine for a number of threads.

    Args:
        threads: the number.
        engines: the model's engine, and the other's.
        median: of the ratios of each round.
        quartiles: the first and the third.
    """

    threads: int
    engines: Pair
    median: float
    quartiles: tuple[float, float]


def measure_latency(
    models: Mapping[str, nn.Module],
    input_shape: Sequence[int] | Mapping[str, Sequence[int]],
    *,
    threads: Iterable[int] = (1, 2),
    engines: Sequence[str] = tuple(ENGINES),
    rounds: int = 200,
    warm_up: int = 10,
) -> list[Latency]:
    """Time every model on every engine with every number of threads, one float32 image at a time.

    Models are timed in turns, some rounds on an engine before the next engine. Compiling takes 10 to 30 seconds a model
    and number of threads.

    Args:
        models: name → module, such as what `for_channels` gives; a copy is timed in eval mode.
        input_shape: (1, S, H, W), of all models or by name.
        threads: numbers of threads.
        engines: of `ENGINES`.
        rounds: timed calls; a 99th percentile wants 200 or more.
        warm_up: calls before timing, beyond the first.

    Raises:
        ConfigError: for an engine that is not there, lacks a package, cannot run a model or gives other values than
            eager; for a model that cannot be sent to another process; or for numbers that are not whole from 1.
    """
    counts = tuple(threads)
    check_engines(engines)
    _check_numbers(models, {"rounds": rounds, "warm_up": warm_up, **{f"threads {n}": n for n in counts or (0,)}})
    by_name = input_shape if isinstance(input_shape, Mapping) else dict.fromkeys(models, input_shape)
    shapes = {name: tuple(by_name.get(name, ())) for name in models}
    for name, shape in shapes.items():
        if name not in by_name:
            raise ConfigError(f"input_shape has no shape for {name}; give one for each model")
        if len(shape) != 4 or shape[0] != 1:
            raise ConfigError(f"latency is of one image, of an input shape (1, S, H, W), not {shape} for {name}")
    sent = {name: _pickled(name, model) for name, model in models.items()}
    found = []
    for count in counts:
        # started anew: a forked process hangs where OpenMP has run before
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _end_with_parent) as process:
            found += process.submit(_measure, sent, shapes, count, tuple(engines), rounds, warm_up).result()
    return found


def _check_numbers(models: Mapping[str, nn.Module], numbers: Mapping[str, int]) -> None:
    if not models:
        raise ConfigError("there is no model to time; give one at least")
    for name, number in numbers.items():
        if type(number) is not int or number < 1:
            raise ConfigError(f"{name.split()[0]} is {number!r}, but it must be a whole number from 1")


def _pickled(name: str, model: nn.Module) -> bytes:
    try:
        return pickle.dumps(model)
    except (AttributeError, TypeError, pickle.PicklingError) as error:
        raise ConfigError(
            f"{name} cannot be sent to the process that times it ({error}); build it of classes and functions that "
            "can be imported"
        ) from None


def _end_with_parent() -> None:
    """A process that times ends when the one that asked is killed, which `ProcessPoolExecutor` does not see to."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@torch.inference_mode()
def _measure(
    sent: Mapping[str, bytes],
    shapes: Mapping[str, tuple[int, ...]],
    threads: int,
    engines: Sequence[str],
    rounds: int,
    warm_up: int,
) -> list[Latency]:
    """In a process of its own: everything with one number of threads."""
    set_threads(threads, engines)
    # bytes that the parent process made a moment ago, never a file's
    models = {name: pickle.loads(data).eval() for name, data in sent.items()}
    generator = torch.Generator().manual_seed(0)
    inputs = {name: 255 * torch.rand(shape, generator=generator) for name, shape in shapes.items()}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder  # what was compiled before must not make a cold start warm
        runs, cold = _start(models, inputs, engines, f"starting {len(models) * len(engines)} runs, threads: {threads}")
        calls = {
            engine: {(name, engine): _call(runs[name, engine], inputs[name]) for name in models} for engine in engines
        }
        for _ in range(warm_up):
            for call in (call for of_engine in calls.values() for call in of_engine.values()):
                call()
        times = time_in_turns(calls.values(), rounds, f"timing with {threads} threads")
        found = [Latency(*pair, threads, cold[pair], warm_up, tuple(times[pair])) for pair in times]
        best = {name: fastest(found, name, threads=threads).engine for name in models}
        batches = {name: x.expand(BATCH_SIZE, *x.shape[1:]).contiguous() for name, x in inputs.items()}
        rates = _throughput(models, batches, best)
    return [replace(row, images_per_s=rates[row.model]) if best[row.model] == row.engine else row for row in found]


def _start(
    models: Mapping[str, nn.Module], inputs: Mapping[str, Tensor], engines: Sequence[str], title: str
) -> tuple[dict[Pair, Run], dict[Pair, float]]:
    """What runs each model on each engine, and how long its cold start took, in ms."""
    runs, cold = {}, {}
    if "compile" in engines:
        expect(list(models.values()))
        torch.compile(torch.sin)(torch.zeros(1))  # no model pays for the compiler's own start
    for name, engine in progress([(name, engine) for name in models for engine in engines], title):
        model, x = models[name], inputs[name]
        try:
            start = prepare(engine, model, x)
            began = time.perf_counter()
            run = start()
            found = run(x)
            cold[name, engine] = 1000 * (time.perf_counter() - began)
        except Exception as error:  # whatever a compiler or an exporter raises
            reason = str(error).strip().partition("\n")[0]
            raise ConfigError(f"{name} cannot run on engine {engine!r} ({reason}); leave this engine out") from error
        check_output(name, engine, found, model(x))
        runs[name, engine] = run
    return runs, cold


def _throughput(
    models: Mapping[str, nn.Module], batches: Mapping[str, Tensor], best: Mapping[str, str]
) -> dict[str, float]:
    """Images a second of each model on its fastest engine, at batches."""
    calls = {name: _call(prepare(best[name], models[name], x)(), x) for name, x in batches.items()}
    for call in calls.values():
        call()
    times = time_in_turns([calls], _BATCHES, f"timing batches of {BATCH_SIZE}")
    return {name: 1000 * BATCH_SIZE / float(np.median(times[name])) for name in models}


def _call(run: Run, x: Tensor) -> Callable[[], Tensor]:
    return lambda: run(x)


def fastest(latencies: Iterable[Latency], model: str, *, threads: int) -> Latency:
    """A model's row of the lowest median at a number of threads.

    Raises:
        ConfigError: when there is no such row.
    """
    rows = [row for row in latencies if (row.model, row.threads) == (model, threads)]
    if not rows:
        raise ConfigError(f"{model} was not timed with {threads} threads")
    return min(rows, key=lambda row: row.p50_ms)


def latency_ratios(latencies: Sequence[Latency], model: str, other: str) -> list[LatencyRatio]:
    """One model's latency over another's at each number of threads, each model on its fastest engine there.

    Args:
        latencies: of one call of `measure_latency`.
        model: the one above the line.
        other: the one below.

    Raises:
        ConfigError: for a model that was not timed.
    """
    found = []
    for threads in dict.fromkeys(row.threads for row in latencies):
        above, below = (fastest(latencies, name, threads=threads) for name in (model, other))
        low, median, high = np.percentile(np.divide(above.times_ms, below.times_ms), [25, 50, 75]).tolist()
        found.append(LatencyRatio(threads, (above.engine, below.engine), median, (low, high)))
    return found
