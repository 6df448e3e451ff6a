"""Decoding on several cores, a few images ahead of the one that is wanted."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["decoding_threads", "in_order"]

_DECODING_BYTES = 256 * 2**20
_COPIES = 4  # of an image while it is decoded: the file, its pixels, and what resizing makes of them
Decoded = TypeVar("Decoded")


def decoding_threads(image_bytes: int, cores: int | None = None) -> int:
    """As many as there are cores (default: the machine's), but no more than hold 256 MiB together; one at least."""
    return max(1, min(cores or os.cpu_count() or 1, _DECODING_BYTES // (_COPIES * max(1, image_bytes))))


def in_order(
    decode: Callable[[int], Decoded], count: int, *, threads: int, ahead: int | None = None
) -> Generator[Decoded]:
    """What becomes of the positions 0 to count - 1, in their order.

    Args:
        decode: one position; its error is raised when its turn comes.
        count: of positions.
        threads: that decode.
        ahead: positions that are decoded before they are wanted, so that they never pile up in memory; default: two a
            thread.
    """
    pool = ThreadPoolExecutor(threads)
    waiting = deque(pool.submit(decode, position) for position in range(min(ahead or 2 * threads, count)))
    try:
        for position in range(len(waiting), count + len(waiting)):
            decoded = waiting.popleft().result()
            if position < count:
                waiting.append(pool.submit(decode, position))
            yield decoded
    finally:
        pool.shutdown(cancel_futures=True)  # after an error or Ctrl-C, the images still waiting are not decoded
