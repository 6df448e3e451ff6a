"""Timing calls in turns, so that whatever else the machine does hits all alike."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import track

__all__ = ["progress", "time_in_turns"]

_BLOCK = 10  # rounds of one group before the next takes over
Key = TypeVar("Key", bound=Hashable)
Step = TypeVar("Step")


def progress(steps: Sequence[Step], title: str) -> Iterable[Step]:
    """The steps, with a bar on a terminal."""
    console = Console(stderr=True)
    return track(steps, title, console=console, transient=True, disable=not console.is_terminal)


def time_in_turns(
    groups: Iterable[Mapping[Key, Callable[[], Any]]], rounds: int, title: str = "timing"
) -> dict[Key, list[float]]:
    """Time calls in turns, A B C B C A …, and give the milliseconds of each, round by round.

    Each round has an order of its own, the same at each run: caches and allocators are as the call before left them.

    Args:
        groups: calls that share threads. A group has 10 rounds, and one without a clock before them, while the last
            group's threads still spin; then the next group has its turn.
        rounds: of each call.
        title: of the progress bar.
    """
    groups = list(groups)
    times: dict[Key, list[float]] = {key: [] for group in groups for key in group}
    order = random.Random(0)
    gc.collect()
    gc.disable()
    try:
        for first in progress(range(0, rounds, _BLOCK), title):
            for group in groups:
                for call in group.values():
                    call()
                for _ in range(first, min(first + _BLOCK, rounds)):
                    for key, call in order.sample(list(group.items()), len(group)):
                        began = time.perf_counter_ns()
                        call()
                        times[key].append((time.perf_counter_ns() - began) / 1e6)
    finally:
        gc.enable()
    return times
