import numpy as np

from anychan.report.page.confusion import confusion

CLASSES = ("cat", "dog", "eel")


def test_rows_are_true_classes_and_columns_predicted_ones() -> None:
    found = confusion(np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 0, 2]), CLASSES)
    assert found.columns == CLASSES
    assert [[count for count, _ in row.cells] for row in found.rows] == [[2, 1, 0], [1, 1, 0], [0, 0, 1]]
    assert [[share for _, share in row.cells] for row in found.rows][1] == [0.5, 0.5, 0]
    assert [(row.right, row.n) for row in found.rows] == [("67 %", 3), ("50 %", 2), ("100 %", 1)]
    assert found.pairs == (("cat", "dog", 1, 3), ("dog", "cat", 1, 2))


def test_outputs_beyond_the_classes_are_none_of_them() -> None:
    found = confusion(np.array([0, 1]), np.array([99, 1]), CLASSES)
    assert found.columns == (*CLASSES, "none of them")
    assert [row.name for row in found.rows] == ["cat", "dog"]  # there is no eel to test on
    assert [count for count, _ in found.rows[0].cells] == [0, 0, 0, 1]
    assert found.pairs == (("cat", "none of them", 1, 1),)


def test_many_classes_have_pairs_alone() -> None:
    classes = [f"class {number}" for number in range(100)]
    true = np.repeat(np.arange(100), 3)
    predicted = true.copy()
    predicted[:2] = 7  # class 0 twice
    predicted[3] = 9
    found = confusion(true, predicted, classes)
    assert found.rows == ()
    assert found.pairs == (("class 0", "class 7", 2, 3), ("class 1", "class 9", 1, 3))


def test_without_a_mistake_there_are_no_pairs() -> None:
    assert confusion(np.array([0, 1]), np.array([0, 1]), CLASSES).pairs == ()
