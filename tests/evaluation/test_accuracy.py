import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anychan.data.batches import Batch
from anychan.evaluation.accuracy import correct_images, wilson_interval


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # Newcombe 1998 (Statistics in Medicine 17, 857), table I, method 3: Wilson's score without correction
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
        # the ends, by hand: z² / (n + z²) = 3.8415 / 13.8415
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (297, 450, 0.6150, 0.7023),
    ],
)
def test_published_intervals(successes: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=6e-5)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.1, 5))
def test_interval_holds_the_share_and_stays_inside(counts: tuple[int, int], z: float) -> None:
    successes, n = counts
    low, high = wilson_interval(successes, n, z=z)
    assert 0 <= low <= successes / n + 1e-12
    assert successes / n - 1e-12 <= high <= 1
    assert low < high
    # both ends solve (p − share)² = z² p (1 − p) / n, the equation that defines them
    for end in (low, high):
        assert (end - successes / n) ** 2 == pytest.approx(z * z * end * (1 - end) / n, abs=1e-9)
    assert wilson_interval(n - successes, n, z=z) == pytest.approx((1 - high, 1 - low), abs=1e-12)


@given(st.integers(0, 40), st.integers(1, 40))
def test_more_images_narrow_it(successes: int, more: int) -> None:
    low, high = wilson_interval(successes, 40)
    tight_low, tight_high = wilson_interval(successes * (more + 1), 40 * (more + 1))
    assert tight_high - tight_low < high - low


def test_correct_images_keep_the_order() -> None:
    logits = torch.tensor([[3.0, 1, 2], [0, 5, 1], [0, 1, 9], [7, 8, 0]])
    batches = [Batch(logits[:3], torch.tensor([0, 2, 2])), Batch(logits[3:], torch.tensor([1]))]
    found = correct_images(lambda images: images, batches)
    assert found.dtype == torch.bool
    assert found.tolist() == [True, False, True, True]


def test_correct_images_need_no_gradient() -> None:
    weight = torch.ones(1, requires_grad=True)
    modes = []

    def classify(images: torch.Tensor) -> torch.Tensor:
        modes.append(torch.is_grad_enabled())
        return images * weight

    correct_images(classify, [Batch(torch.eye(2), torch.tensor([0, 1]))])
    assert modes == [False]
