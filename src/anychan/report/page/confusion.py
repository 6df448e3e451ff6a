"""The confusion matrix: which class is taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Confusion", "ConfusionRow", "confusion"]

_MOST_CLASSES = 60  # of a matrix; the most frequent confusions alone are told of more
_MOST_PAIRS = 5
_MORE_PAIRS = 25
_NO_CLASS = "none of them"


@dataclass(frozen=True)
class ConfusionRow:
    """One true class.

    Args:
        name: the class.
        cells: for each predicted class, the number of images and their share of the row.
        right: share of the images that were classified right, in words.
        n: images of the class.
    """

    name: str
    cells: tuple[tuple[int, float], ...]
    right: str
    n: int


@dataclass(frozen=True)
class Confusion:
    """The matrix.

    Args:
        columns: predicted classes; one more than there are where some image was given none of them.
        rows: true classes, those with test images; none where there are too many classes for a matrix.
        pairs: the most frequent confusions: true class, predicted class, number of images, images of the true class.
    """

    columns: tuple[str, ...]
    rows: tuple[ConfusionRow, ...]
    pairs: tuple[tuple[str, str, int, int], ...]


def confusion(true: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64], classes: Sequence[str]) -> Confusion:
    """Count how often each class is taken for each.

    Args:
        true: (N,) labels.
        predicted: (N,) labels; those beyond the classes are none of them.
        classes: names by label.

    Example:
        >>> found = confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), ["cat", "dog"])
        >>> [row.cells for row in found.rows], found.pairs
        ([((1, 0.5), (1, 0.5)), ((0, 0.0), (1, 1.0))], (('cat', 'dog', 1, 2),))
    """
    count = len(classes)
    counts = np.zeros((count, count + 1), np.int64)
    np.add.at(counts, (true, np.minimum(predicted, count)), 1)
    columns = (*classes, _NO_CLASS)
    if not counts[:, count].any():
        counts, columns = counts[:, :count], columns[:count]
    totals = counts.sum(1)
    matrix = count <= _MOST_CLASSES
    rows = tuple(
        ConfusionRow(
            name=classes[label],
            cells=tuple((number, number / total) for number in counts[label].tolist()),
            right=f"{100 * counts[label, label] / total:.0f} %",
            n=total,
        )
        for label, total in enumerate(totals.tolist())
        if matrix and total
    )
    wrong = counts.copy()
    wrong[np.arange(count), np.arange(count)] = 0
    order = np.argsort(-wrong, axis=None, kind="stable")[: _MOST_PAIRS if matrix else _MORE_PAIRS]
    places = [divmod(int(place), len(columns)) for place in order]
    pairs = tuple((classes[a], columns[b], int(wrong[a, b]), int(totals[a])) for a, b in places if wrong[a, b])
    return Confusion(columns, rows, pairs)
