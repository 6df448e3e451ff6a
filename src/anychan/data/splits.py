"""Splits that the data does not bring along: drawn from the seed, class by class or group by group."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from anychan.errors import DataError
from anychan.randomness import derive_seed

__all__ = ["SPLITS", "draw_by_class", "draw_by_group"]

SPLITS = ("train", "val", "test")


def draw_by_class(labels: Sequence[int], val_fraction: float, test_fraction: float, seed: int) -> list[str]:
    """Each sample's split, such that each class has its share in each.

    Args:
        labels: (N,) of the samples, in an order that is always the same.
        val_fraction: share of each class for validation.
        test_fraction: share of each class for testing.
        seed: for the draw.
    """
    splits = ["train"] * len(labels)
    for label in sorted(set(labels)):
        rows = [row for row, other in enumerate(labels) if other == label]
        order = [rows[i] for i in np.random.default_rng(derive_seed(seed, "split", label)).permutation(len(rows))]
        test = round(test_fraction * len(rows))
        for row in order[:test]:
            splits[row] = "test"
        for row in order[test : test + round(val_fraction * len(rows))]:
            splits[row] = "val"
    return splits


def draw_by_group(
    labels: Sequence[int], groups: Sequence[Hashable], val_fraction: float, test_fraction: float, seed: int
) -> list[str]:
    """Each sample's split, such that a group is in one split, and classes have their shares as well as can be.

    Groups are placed one by one, the largest first and equal ones in random order, where they lessen the squared
    distance of the classes' counts from their shares the most, each class by its size. No split stays empty.

    Args:
        labels: (N,) of the samples, in an order that is always the same.
        groups: (N,) of the samples.
        val_fraction: share of the samples for validation.
        test_fraction: share of the samples for testing.
        seed: for the order.

    Raises:
        DataError: for fewer groups than splits.
    """
    names, members = {group: i for i, group in enumerate(dict.fromkeys(groups))}, set(labels)
    if len(names) < len(SPLITS):
        raise DataError(f"there are {len(names)} groups, but three splits need three or more")
    classes = {label: i for i, label in enumerate(sorted(members))}
    counts = np.zeros((len(names), len(classes)))
    np.add.at(counts, ([names[group] for group in groups], [classes[label] for label in labels]), 1)
    totals = counts.sum(0)
    missing = np.outer([1 - val_fraction - test_fraction, val_fraction, test_fraction], totals)
    order = np.random.default_rng(derive_seed(seed, "groups")).permutation(len(names))
    placed = np.zeros(len(names), int)
    for group in order[np.argsort(-counts[order].sum(1), kind="stable")]:
        change = (np.square(missing - counts[group]) - np.square(missing)) / totals
        placed[group] = int(change.sum(1).argmin())
        missing[placed[group]] -= counts[group]
    for split in range(len(SPLITS)):
        if not (placed == split).any():
            rich = np.flatnonzero(placed == np.bincount(placed).argmax())
            placed[rich[counts[rich].sum(1).argmin()]] = split
    return [SPLITS[placed[names[group]]] for group in groups]
