"""How time and memory grow with the number of channels: 4, 40 and 369, for stems that fill and one that generates.

A training step (forward, backward and SGD on a random half of the channels), and the evaluation of a subset of half of
the channels (its batch norms measured anew, then the images classified), of resnet8 at 32x32 pixels. The three numbers
of channels take turns in one process; a pair's ratio is that of two of them in one turn. The peak is what was allocated
at once within a step, by PyTorch's profiler on a CPU and its own count on a GPU; weights and inputs included.

What grows faster is small at these sizes: the covariance in the statistics, C² numbers once a run (not measured here),
and the solve of C equations by which completion folds a subset, once a step (measured here).

    python benchmarks/many_bands.py --scale cpu
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from results_file import RESULTS, ResultFile, claim
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from anychan.channels import Channel, ChannelSet
from anychan.contract import ChannelStatistics
from anychan.data.batches import Batch
from anychan.evaluation.outcomes import subset_outcomes
from anychan.models.base import AnyChannelModel
from anychan.models.catalog import create_model

CHANNELS, STEMS, STEPS = (4, 40, 369), ("mean", "completion", "wavelength"), ("train", "evaluate")
PAIRS, IMAGES, SIZE = 15, {"cpu": 32, "gpu": 256}, 32
Row = dict[str, Any]


def claims(rows: list[Row]) -> list[dict[str, Any]]:
    """The largest exponent of growth over all stems, steps and pairs of neighbouring numbers of channels.

    Between C and C' channels, the exponent is log of the ratio over log(C' / C); of times, the median over pairs.
    """
    found = {
        "time": [exponent(rows, "seconds", *case) for case in cases(rows)],
        "memory": [exponent(rows, "peak_bytes", *case) for case in cases(rows)],
    }
    return [claim(f"many_bands_{kind}_exponent", max(values), "<=", 1.1) for kind, values in found.items()]


def cases(rows: list[Row]) -> Iterator[tuple[str, str, int, int]]:
    """Stem, step and two neighbouring numbers of channels."""
    stems, steps = (sorted({row[key] for row in rows}) for key in ("stem", "step"))
    numbers = sorted({row["channels"] for row in rows})
    for stem, step, (few, many) in product(stems, steps, pairwise(numbers)):
        yield stem, step, few, many


def exponent(rows: list[Row], key: str, stem: str, step: str, few: int, many: int) -> float:
    """How a number grows from `few` to `many` channels: 1 is in proportion."""
    values = {
        count: {
            row["pair"]: row[key] for row in rows if (row["stem"], row["step"], row["channels"]) == (stem, step, count)
        }
        for count in (few, many)
    }
    ratio = statistics.median(values[many][pair] / values[few][pair] for pair in values[few])
    return math.log(ratio) / math.log(many / few)


class Case:
    """A model and images of so many channels, and the steps on them."""

    def __init__(self, stem: str, count: int, images: int) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        rng = np.random.default_rng(count)
        spectra = rng.normal(size=(count, 8))
        covariance = spectra @ spectra.T + np.eye(count)
        known = ChannelStatistics(np.zeros(count), covariance, np.full((count, count), 10**6))
        waves = np.linspace(400, 2400, count)
        channels = ChannelSet(Channel(f"b{i}", "bench", wavelength_nm=float(nm)) for i, nm in enumerate(waves))
        torch.manual_seed(0)
        self.model: AnyChannelModel = create_model(
            "resnet8", channels=channels, num_classes=10, stem=stem, statistics=known
        ).to(self.device)
        self.images = torch.randint(0, 3000, (images, count, SIZE, SIZE), dtype=torch.int16).to(self.device)
        self.labels = torch.randint(0, 10, (images,), device=self.device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.01, momentum=0.9)
        self.loss, self.count, self.drawn = nn.CrossEntropyLoss(), count, 0

    def subset(self) -> tuple[int, ...]:
        """Half of the channels, others at each call."""
        self.drawn += 1
        generator = torch.Generator().manual_seed(self.drawn)
        return tuple(sorted(torch.randperm(self.count, generator=generator)[: self.count // 2].tolist()))

    def train(self) -> None:
        """One step on half of the channels, as the training task does it."""
        index = self.subset()
        loss = self.loss(self.model.train()(self.images.float()[:, list(index)], index=index), self.labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def evaluate(self) -> None:
        """The outcome of one subset on its own batch-norm statistics."""
        batches = [Batch(self.images, self.labels)]
        subset_outcomes(self.model.eval(), batches, [self.subset()], calibration=[self.images])


def peak_bytes(step: Callable[[], None], held: list[Tensor]) -> int:
    """The most that was allocated at once, with what is held all the time.

    On a CPU the profiler knows no sizes of what was allocated before it began, or those of an older tensor at the same
    address: the step must free nothing of that.
    """
    always = sum(tensor.nbytes for tensor in held)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        step()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as found:
        step()
    assert found.profiler is not None
    assert found.profiler.kineto_results is not None
    events = [event for event in found.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes = np.cumsum([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())])
    return always + int(changes.max())


def run(scale: str, pairs: int, folder: Path | None = None, *, images: int | None = None) -> ResultFile:
    """Measure `pairs` turns of every stem and write them."""
    results = ResultFile("many_bands", scale, claims, folder=folder or RESULTS)
    results.rows = []  # turns of one process only: what an earlier, stopped process measured is dropped
    rows = []
    for stem in STEMS:
        made = {count: Case(stem, count, images or IMAGES[scale]) for count in CHANNELS}
        for step in STEPS:
            peaks = {}
            for count, case in made.items():
                getattr(case, step)()  # once to warm up
                case.optimizer.zero_grad()  # what is freed within a step must have been allocated within it
                held = [case.images, *case.model.parameters(), *case.model.buffers()]
                peaks[count] = peak_bytes(getattr(case, step), held)
            for pair, (count, case) in product(range(1, pairs + 1), made.items()):
                seconds = _seconds(getattr(case, step))
                row = {"stem": stem, "step": step, "channels": count, "pair": pair, "seconds": seconds}
                rows.append({**row, "peak_bytes": peaks[count]})
    results.add(*rows)
    return results


def _seconds(step: Callable[[], None]) -> float:
    _synchronize()
    started = time.perf_counter()
    step()
    _synchronize()
    return time.perf_counter() - started


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def main() -> None:
    """Parse options and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scale", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--pairs", type=int, default=PAIRS)
    options = parser.parse_args()
    results = run(options.scale, options.pairs)
    for stem, step, few, many in cases(results.rows):
        grown = [f"{exponent(results.rows, key, stem, step, few, many):.2f}" for key in ("seconds", "peak_bytes")]
        print(f"{stem} {step}, {few} to {many} channels: exponents {grown[0]} (time), {grown[1]} (memory)")
    for found in results.claims(results.rows):
        print(f"{found['id']} = {found['value']:.3f} ({found['op']} {found['bound']}): holds {found['holds']}")


if __name__ == "__main__":
    main()
