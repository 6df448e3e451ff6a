"""Where "more channels never hurt" does not hold: one channel more, and significantly worse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from anychan.evaluation.paired import holm, mcnemar, right_only_first

__all__ = ["FAMILY_LEVEL", "Violation", "Violations", "find_violations"]

FAMILY_LEVEL = 0.05
_PAIRS_AT_ONCE = 4096  # × N/8 bytes


@dataclass(frozen=True)
class Violation:
    """One channel whose company makes a subset significantly worse.

    Args:
        channels: the larger subset's names.
        added: the one that the smaller subset lacks.
        accuracy: on the larger subset.
        accuracy_without: on the smaller one.
        lost: images that only the smaller subset gets right.
        won: images that only the larger one gets right.
        p_value: of McNemar's exact one-sided test.
        p_corrected: the same after Holm's correction for the number of pairs.
    """

    channels: tuple[str, ...]
    added: str
    accuracy: float
    accuracy_without: float
    lost: int
    won: int
    p_value: float
    p_corrected: float


@dataclass(frozen=True)
class Violations:
    """All that were found among the evaluated subsets.

    Args:
        pairs: how many pairs of subsets, one channel apart, were tested.
        found: the significant ones, the smallest p-value first.
    """

    pairs: int
    found: tuple[Violation, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"pairs": self.pairs, "family_level": FAMILY_LEVEL, "found": [asdict(one) for one in self.found]}


def find_violations(subsets: Sequence[tuple[str, ...]], correct: npt.NDArray[np.bool_]) -> Violations:
    """Test every pair S ⊂ T, T = S and one channel, for T being worse; corrected for their number.

    Args:
        subsets: names of each.
        correct: (R, N) which images were classified right on each subset.
    """
    bit = {name: 1 << number for number, name in enumerate(dict.fromkeys(chain.from_iterable(subsets)))}
    place = {sum(bit[name] for name in subset): row for row, subset in enumerate(subsets)}
    pairs = [
        (smaller, larger, name)
        for mask, larger in place.items()
        for name in subsets[larger]
        if (smaller := place.get(mask ^ bit[name])) is not None
    ]
    bits = np.packbits(correct, axis=1)
    lost, won = np.empty(len(pairs), np.int64), np.empty(len(pairs), np.int64)
    index = np.array([pair[:2] for pair in pairs], np.int64).reshape(-1, 2)
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        part = slice(start, start + _PAIRS_AT_ONCE)
        small, large = bits[index[part, 0]], bits[index[part, 1]]
        lost[part], won[part] = right_only_first(small, large), right_only_first(large, small)
    p_values = mcnemar(lost, won, two_sided=False)
    corrected = holm(p_values)
    accuracy = correct.mean(1)
    order = np.argsort(p_values, kind="stable")
    found = [
        Violation(
            channels=subsets[pairs[k][1]],
            added=pairs[k][2],
            accuracy=float(accuracy[pairs[k][1]]),
            accuracy_without=float(accuracy[pairs[k][0]]),
            lost=int(lost[k]),
            won=int(won[k]),
            p_value=float(p_values[k]),
            p_corrected=float(corrected[k]),
        )
        for k in order[corrected[order] <= FAMILY_LEVEL].tolist()
    ]
    return Violations(len(pairs), tuple(found))
