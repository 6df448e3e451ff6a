from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anychan.data.splits import SPLITS, draw_by_class, draw_by_group
from anychan.errors import DataError

ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=3, max_size=80).filter(
    lambda rows: len({group for _, group in rows}) >= 3
)


def test_each_class_has_its_share() -> None:
    labels = [0] * 20 + [1] * 10
    found = draw_by_class(labels, 0.2, 0.1, 5)
    assert Counter(zip(labels, found, strict=True)) == {
        **{(0, "train"): 14, (0, "val"): 4, (0, "test"): 2},
        **{(1, "train"): 7, (1, "val"): 2, (1, "test"): 1},
    }
    assert found == draw_by_class(labels, 0.2, 0.1, 5) != draw_by_class(labels, 0.2, 0.1, 6)


def test_a_class_is_drawn_apart_from_others() -> None:
    alone, with_others = draw_by_class([1] * 10, 0.2, 0.2, 0), draw_by_class([0, *([1] * 10), 2], 0.2, 0.2, 0)
    assert with_others[1:11] == alone


@given(ROWS, st.floats(0.05, 0.4), st.floats(0.05, 0.4), st.integers(0, 99))
def test_groups_are_never_cut(rows: list[tuple[int, int]], val: float, test: float, seed: int) -> None:
    labels, groups = zip(*rows, strict=True)
    found = draw_by_group(labels, groups, val, test, seed)
    assert len(set(zip(groups, found, strict=True))) == len(set(groups))
    assert set(found) == set(SPLITS)
    assert found == draw_by_group(labels, groups, val, test, seed)


def test_classes_have_their_shares_where_groups_allow() -> None:
    """20 plates with 6 cells of one class and 2 of the other."""
    labels = [0, 0, 0, 0, 0, 0, 1, 1] * 20
    groups = [row // 8 for row in range(160)]
    counts = Counter(zip(labels, draw_by_group(labels, groups, 0.2, 0.1, 3), strict=True))
    assert counts == {
        **{(0, "train"): 84, (0, "val"): 24, (0, "test"): 12},
        **{(1, "train"): 28, (1, "val"): 8, (1, "test"): 4},
    }


def test_patients_with_one_class_each_are_stratified() -> None:
    labels = [row // 50 for row in range(100)]
    groups = [row // 5 for row in range(100)]  # ten of each class
    counts = Counter(zip(labels, draw_by_group(labels, groups, 0.2, 0.2, 3), strict=True))
    assert all(
        counts[label, split] == size for label in (0, 1) for split, size in zip(SPLITS, (30, 10, 10), strict=True)
    )


def test_groups_follow_the_seed() -> None:
    labels, groups = [0, 1] * 30, [row // 4 for row in range(60)]
    assert len({tuple(draw_by_group(labels, groups, 0.2, 0.2, seed)) for seed in range(5)}) > 1


def test_too_few_groups() -> None:
    with pytest.raises(DataError, match="there are 2 groups, but three splits need three or more"):
        draw_by_group([0, 1, 0, 1], "aabb", 0.2, 0.2, 0)
