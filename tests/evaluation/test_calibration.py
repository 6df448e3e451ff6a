import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anychan.evaluation.calibration import expected_calibration_error


def slow(confidence: list[float], correct: list[bool], bins: int) -> float:
    """Bin by bin, by the definition."""
    total = 0.0
    for m in range(1, bins + 1):
        inside = [i for i, sure in enumerate(confidence) if (m - 1) / bins < sure <= m / bins]
        if inside:
            accuracy = sum(correct[i] for i in inside) / len(inside)
            sure = sum(confidence[i] for i in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(accuracy - sure)
    return total


@given(st.lists(st.tuples(st.floats(0.01, 1), st.booleans()), min_size=1, max_size=40), st.sampled_from([3, 10, 15]))
def test_equals_the_definition(images: list[tuple[float, bool]], bins: int) -> None:
    # away from the bins' edges, where one rounding decides
    images = [(sure, right) for sure, right in images if abs(sure * bins - round(sure * bins)) > 1e-9] or [(0.5, True)]
    confidence, correct = (list(part) for part in zip(*images, strict=True))
    found = expected_calibration_error(np.array(confidence), np.array(correct), bins=bins)
    assert found == pytest.approx(slow(confidence, correct, bins), abs=1e-12)


def test_by_hand() -> None:
    # bins of a fifteenth: 0.50 and 0.52 share one (accuracy 1/2, confidence 0.51), 0.95 has one to itself
    found = expected_calibration_error(np.array([0.5, 0.52, 0.95]), np.array([True, False, False]))
    assert found == pytest.approx((2 * 0.01 + 0.95) / 3)


def test_the_ends_belong_to_the_outer_bins() -> None:
    assert expected_calibration_error(np.array([1.0, 1.0]), np.array([True, True])) == 0
    assert expected_calibration_error(np.array([0.0, 1.0]), np.array([False, False])) == 0.5


def test_upper_edges_belong_to_their_bin() -> None:
    # 1/2 is the upper edge of the first of two bins: with 0.4 its gaps cancel, with 0.9 they would not
    found = expected_calibration_error(np.array([0.4, 0.5, 0.9]), np.array([True, False, True]), bins=2)
    assert found == pytest.approx((abs(0.6 - 0.5) + 0.1) / 3)


def test_confidences_that_are_no_numbers_have_no_error() -> None:
    assert expected_calibration_error(np.array([0.5, math.nan]), np.array([True, False])) is None
