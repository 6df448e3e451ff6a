import numpy as np

from anychan.deploy.classification import Classification


def test_the_highest_come_first_and_of_equals_the_first() -> None:
    found = Classification("a", ("x", "y", "z"), np.array([0.2, 0.4, 0.4], np.float32), ("R",), ("G", "B"))
    assert [name for name, _ in found.top(3)] == ["y", "z", "x"]
    assert found.label == "y"
    assert found.confidence == np.float32(0.4)


def test_no_probabilities_no_class() -> None:
    found = Classification("a", ("x", "y"), None, ("R",), ())
    assert (found.label, found.confidence, found.top(2)) == (None, None, [])
