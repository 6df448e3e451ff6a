"""Whether a network is right as often as it says."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["expected_calibration_error"]


def expected_calibration_error(
    confidence: npt.NDArray[np.floating], correct: npt.NDArray[np.bool_], *, bins: int = 15
) -> float | None:
    """Mean distance of accuracy from confidence: Σ_m |B_m|/N · |accuracy(B_m) − confidence(B_m)|.

    B_m are the images whose confidence lies in ((m − 1)/bins, m/bins].

    Args:
        confidence: (N,) largest softmax value of each image, 0 to 1.
        correct: (N,) which images were classified right.
        bins: number of bins, of equal width.

    Returns:
        0 (calibrated) to 1; `None` where a confidence is not a number.

    Source: Guo et al. 2017, On Calibration of Modern Neural Networks (arXiv 1706.04599), equation 3.

    Example:
        >>> expected_calibration_error(np.array([0.75, 0.75, 0.75, 0.75]), np.array([True, True, False, False]))
        0.25
    """
    if not np.isfinite(confidence).all():
        return None
    sure = confidence.astype(np.float64)
    place = np.clip(np.ceil(sure * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(place, weights=correct - sure, minlength=bins)  # Σ (correct − confidence) of each bin
    return float(np.abs(gaps).sum() / len(sure))
