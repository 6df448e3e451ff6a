"""Randomness as a function of (seed, purpose, epoch, step), never of what ran before.

That is what makes resumed runs exact, processes agree and results repeat: sample order, augmentation, channel subsets
and dropout each derive their own seed, so using more of one never shifts another.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["derive_seed", "only_deterministic"]


def derive_seed(seed: int, purpose: str, *position: int) -> int:
    """A 63-bit seed for one purpose at one position.

    Args:
        seed: the run's seed, 0 or above.
        purpose: what the numbers are for, such as `"order"`.
        position: epoch, step and the like, each 0 or above.

    Example:
        >>> derive_seed(0, "order", 3) == derive_seed(0, "order", 3)
        True
        >>> derive_seed(0, "order", 3) == derive_seed(0, "augment", 3)
        False
    """
    # the length, because SeedSequence pads with zeros: (3,) and (3, 0) would be one seed
    entropy = [seed, zlib.crc32(purpose.encode()), len(position), *position]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)


@contextmanager
def only_deterministic(asked: bool) -> Iterator[None]:
    """If it is asked for, PyTorch uses only operations that give the same bits in every run, on GPUs too, or raises."""
    before = torch.are_deterministic_algorithms_enabled()
    if asked:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS cannot promise it
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
