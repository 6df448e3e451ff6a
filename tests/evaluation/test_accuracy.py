import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anychan.data.batches import Batch
from anychan.evaluation.accuracy import classified, pack_bits, paired_ratio, unpack_bits, wilson_interval


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


def test_images_keep_their_order() -> None:
    logits = torch.tensor([[3.0, 1, 2], [0, 5, 1], [0, 1, 9], [7, 8, 0]])
    batches = [Batch(logits[:3], torch.tensor([0, 2, 2])), Batch(logits[3:], torch.tensor([1]))]
    found = classified(lambda images: images, batches)
    assert found.correct.dtype == torch.bool
    assert found.correct.tolist() == [True, False, True, True]
    assert found.confidence.dtype == torch.float32
    expected = [math.exp(max(row)) / sum(map(math.exp, row)) for row in logits.tolist()]
    assert found.confidence.tolist() == pytest.approx(expected, abs=1e-6)


def test_close_logits_are_told_apart_before_they_are_rounded() -> None:
    """Float64 logits that are equal in float32: the class is still the larger one's."""
    logits = torch.tensor([[1.0, 1.0 + 1e-12]], dtype=torch.float64)
    assert classified(lambda images: images, [Batch(logits, torch.tensor([1]))]).correct.tolist() == [True]


def test_classifying_needs_no_gradient() -> None:
    weight = torch.ones(1, requires_grad=True)
    modes = []

    def classify(images: torch.Tensor) -> torch.Tensor:
        modes.append(torch.is_grad_enabled())
        return images * weight

    classified(classify, [Batch(torch.eye(2), torch.tensor([0, 1]))])
    assert modes == [False]


def images(*counts: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ours and the rival's, of so many images that both, only we, only the rival, and neither gets right."""
    pairs = [(True, True), (True, False), (False, True), (False, False)]
    rows = [pair for pair, count in zip(pairs, counts, strict=True) for _ in range(count)]
    ours, rival = torch.tensor(rows).T
    return ours, rival


def test_paired_ratio_by_hand() -> None:
    found = paired_ratio(*images(50, 10, 5, 35))
    assert found is not None
    half = 1.959963984540054 * math.sqrt(15 / (60 * 55))
    assert found == pytest.approx((60 / 55, 60 / 55 * math.exp(-half), 60 / 55 * math.exp(half)))


def test_images_that_both_get_wrong_change_no_ratio() -> None:
    assert paired_ratio(*images(50, 10, 5, 0)) == paired_ratio(*images(50, 10, 5, 1000))


def test_agreement_narrows_the_interval() -> None:
    together, apart = paired_ratio(*images(60, 5, 0, 35)), paired_ratio(*images(30, 35, 30, 5))
    assert together is not None
    assert apart is not None
    assert together[0] == apart[0]
    assert together[2] - together[1] < apart[2] - apart[1]


@pytest.mark.parametrize("counts", [(0, 0, 5, 5), (0, 5, 0, 5), (0, 0, 0, 5), (5, 0, 0, 5)])
def test_no_ratio_where_images_cannot_tell(counts: tuple[int, int, int, int]) -> None:
    assert paired_ratio(*images(*counts)) is None


def test_the_ratio_covers_the_truth_as_often_as_promised() -> None:
    """2,000 tests of 300 images, both networks right on 60 %, half of it shared: 95 % within 1.5 points."""
    generator = torch.Generator().manual_seed(5)
    inside = 0
    for _ in range(2000):
        shared, mine, theirs = (torch.rand(300, generator=generator) for _ in range(3))
        common = torch.rand(300, generator=generator) < 0.5
        found = paired_ratio(torch.where(common, shared, mine) < 0.6, torch.where(common, shared, theirs) < 0.6)
        assert found is not None
        inside += found[1] <= 1 <= found[2]
    assert 0.935 <= inside / 2000 <= 0.965


def test_bits_survive_packing() -> None:
    bits = torch.tensor([True, False, False, True, True, False, True, True, False, True])
    assert torch.equal(unpack_bits(pack_bits(bits), 10), bits)
