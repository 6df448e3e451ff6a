"""Numbers of subsets and names of channels, short enough for one sentence."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["count_text", "names_text"]

_IN_DIGITS = 10**12
_NAMES = 8


def count_text(count: int) -> str:
    """A number of subsets, 2^C − 1: in digits, or as the power that it is where these would fill a line.

    Example:
        >>> count_text(2**13 - 1), count_text(2**156 - 1)
        ('8,191', '2^156 - 1')
    """
    return f"{count:,}" if count < _IN_DIGITS else f"2^{count.bit_length()} - 1"


def names_text(names: Sequence[str]) -> str:
    """Names of channels, the first eight of many.

    Example:
        >>> names_text(("B1", "B2")), names_text([str(number) for number in range(12)])
        ('B1, B2', '0, 1, 2, 3, 4, 5, 6, 7 and 4 more')
    """
    more = len(names) - _NAMES
    return ", ".join(names[:_NAMES]) + (f" and {more:,} more" if more > 0 else "")
