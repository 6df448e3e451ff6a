"""Randomness as a function of (seed, purpose, epoch, step), never of what ran before.

That is what makes resumed runs exact, processes agree and results repeat: sample order, augmentation, channel subsets
and dropout each derive their own seed, so using more of one never shifts another.
"""

from __future__ import annotations

import zlib

import numpy as np

__all__ = ["derive_seed"]


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
