"""Two classifiers on the same images: exact tests of which is better, and how far apart they are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from anychan.evaluation.accuracy import Z95

__all__ = ["holm", "mcnemar", "paired_difference", "right_only_first"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def right_only_first(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> IntArray:
    """How many images the first classifier of each pair gets right and the second wrong.

    Args:
        first: (P, B) correctness of N images as `np.packbits` packs it along the last axis.
        second: (P, B) as `first`.

    Returns:
        (P,) counts.
    """
    counts: IntArray = np.bitwise_count(first & ~second).sum(1, dtype=np.int64)
    return counts


def mcnemar(lost: npt.ArrayLike, won: npt.ArrayLike, *, two_sided: bool = True) -> FloatArray:
    """McNemar's exact test of pairs of classifiers on the same images.

    With n = lost + won, one-sided p = P(X ≥ lost) for X binomial (n, 1/2); two-sided p = min(1, 2 P(X ≥ the larger)).
    Images that both get right or both wrong say nothing.

    Args:
        lost: (P,) images that only the first classifier of a pair gets right.
        won: (P,) images that only the second gets right.
        two_sided: False asks only whether the second is worse.

    Returns:
        (P,) p-values; 1 where no image tells the two apart.

    Source: McNemar 1947, Sampling error of the difference between correlated proportions, Psychometrika 12(2).

    Example:
        >>> mcnemar([8], [1]).tolist(), mcnemar([8], [1], two_sided=False).tolist()
        ([0.0390625], [0.01953125])
    """
    one, other = np.asarray(lost, np.int64), np.asarray(won, np.int64)
    total, extreme = one + other, np.maximum(one, other) if two_sided else one
    found = np.ones(total.shape)
    for n in np.unique(total):
        rows = total == n
        found[rows] = _tails(int(n))[extreme[rows]]
    return np.minimum(1.0, 2 * found) if two_sided else found


def _tails(n: int) -> FloatArray:
    """P(X ≥ m) for m from 0 to n, X binomial (n, 1/2): sums of whole numbers, rounded once."""
    tails, total, ways, whole = np.empty(n + 1), 0, 1, 2**n
    for m in range(n, -1, -1):
        total += ways  # ways = n over m
        tails[m] = total / whole
        ways = ways * m // (n - m + 1)
    return tails


def holm(p_values: npt.ArrayLike) -> FloatArray:
    """p-values corrected for their number, so that "all below 5 %" is wrong anywhere with probability 5 % at most.

    The k-th smallest of m is multiplied by m − k + 1; none ends below a smaller one.

    Args:
        p_values: (P,), dependent on each other as they like.

    Returns:
        (P,) in the same order, at most 1.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6(2).

    Example:
        >>> holm([0.04, 0.01, 0.03]).tolist()
        [0.06, 0.03, 0.06]
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    corrected = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    found = np.empty_like(p)
    found[order] = corrected
    return found


def paired_difference(ours: Tensor, theirs: Tensor) -> dict[str, Any]:
    """Our accuracy less theirs on the same images, with its 95 % interval and exact p-value.

    With b images that only we get right, c only they, and n in all: d = (b − c) / n. The interval is Wald's,
    d ± z √(b + c − (b − c)²/n) / n, after half an image was added to each of the four cells of the two by two table.

    Args:
        ours: (N,) bool, which images we classify right.
        theirs: (N,) bool, of the same images in the same order.

    Returns:
        `difference`, `low`, `high`, `p_value`.

    Source: Agresti and Min 2005, Simple improved confidence intervals for comparing matched proportions, Statistics in
    Medicine 24(5).
    """
    won, lost, n = int((ours & ~theirs).sum()), int((theirs & ~ours).sum()), len(ours)
    centre = (won - lost) / (n + 2)
    half = Z95 * math.sqrt(won + lost + 1 - (won - lost) ** 2 / (n + 2)) / (n + 2)
    return {
        "difference": (won - lost) / n,
        "low": max(-1.0, centre - half),
        "high": min(1.0, centre + half),
        "p_value": float(mcnemar([lost], [won])[0]),
    }
