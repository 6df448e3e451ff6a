import re

import numpy as np
import pytest
import torch
from torch.export import Dim, export
from torch.nn import functional

from anychan.contract import ChannelStatistics
from anychan.errors import ChannelError, ConfigError
from anychan.nn.affine import Fill
from anychan.nn.fill import FILLS, CompletionFill, LearnedPaddingFill
from tests.builders import mask, subsets, training_statistics

OFFSET, SCALE = torch.tensor([10.0, 20.0, 30.0]), torch.tensor([2.0, 4.0, 5.0])
# In normalised values: mean (1, 2, 1), and a covariance by which channel 1 follows the others.
NORMALISED = np.array([[0.99, 0.5, 0.0], [0.5, 2.0, 0.25], [0.0, 0.25, 0.99]])
STATISTICS = ChannelStatistics(np.array([12.0, 28.0, 35.0]), NORMALISED * np.outer(SCALE, SCALE), np.full((3, 3), 9))


def build(name: str, num_channels: int = 4) -> Fill:
    """A fill in float64 whose offset is not zero where that is possible."""
    offset, scale = torch.arange(1.0, num_channels + 1), 2 ** torch.arange(0.0, num_channels)
    fill = FILLS[name](offset, scale, training_statistics(num_channels)).double()
    if isinstance(fill, LearnedPaddingFill):
        fill.padding.data = torch.linspace(-1, 2, num_channels, dtype=torch.float64)
    return fill


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("zero", 2 - 50 + 300),  # raw 0 is -20 / 4 = -5
        ("mean", 2 + 0 + 300),
        ("learned_padding", 2 + 0 + 300),
        ("rescaled", 3 * (2 + 0 + 300) / 2),
        ("present_mean", 2 + 25 + 300),  # (2 + 3) / 2
        # Σ_SS + λI is the identity, so A = (0.5, 0.25): 2 + 0.5 (2 - 1) + 0.25 (3 - 1) = 3
        ("completion", 2 + 30 + 300),
    ],
)
def test_by_hand(name: str, expected: float) -> None:
    """Kernel (1, 10, 100) on the normalised pixel (2, absent, 3), by both ways."""
    fill = FILLS[name](OFFSET, SCALE, STATISTICS)
    kernel = torch.tensor([1.0, 10.0, 100.0]).view(1, 3, 1, 1)
    whole = torch.tensor([2.0, 77.0, 3.0]).view(1, 3, 1, 1)
    slow = functional.conv2d(fill(whole, mask(3, (0, 2))), kernel)
    fold = fill.fold((2, 0))
    fast = functional.conv2d(fold.extend(whole[:, [2, 0]]), fold.kernel(kernel, 1))
    torch.testing.assert_close(slow.flatten(), torch.tensor([float(expected)]))
    torch.testing.assert_close(fast, slow)


def test_every_fill_is_tested_by_hand() -> None:
    cases = next(mark for mark in test_by_hand.pytestmark if mark.name == "parametrize")  # type: ignore[attr-defined]
    assert sorted(name for name, _ in cases.args[1]) == sorted(FILLS)


@pytest.mark.parametrize("name", FILLS)
def test_present_channels_are_kept_and_absent_ones_never_read(name: str) -> None:
    fill, rows = build(name), ((0, 2), (3,), (0, 1, 2, 3))
    x = torch.randn(3, 4, 5, 7, dtype=torch.float64)
    poisoned = x.where(mask(4, *rows)[:, :, None, None], torch.tensor([torch.nan, torch.inf] * 2).view(1, 4, 1, 1))
    filled = fill(poisoned, mask(4, *rows))
    torch.testing.assert_close(filled, fill(x, mask(4, *rows)), rtol=0, atol=0)
    factor = 2 if name == "rescaled" else 1
    torch.testing.assert_close(filled[0, [0, 2]], factor * x[0, [0, 2]])
    torch.testing.assert_close(filled[2], x[2])


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", FILLS)
def test_fold_equals_fill_then_convolution_for_every_subset(name: str, stride: int) -> None:
    """Also at the zero-padded borders, where the filled constant ends."""
    fill = build(name)
    x = torch.randn(2, 4, 5, 7, dtype=torch.float64)
    kernel = torch.randn(6, 4, 3, 3, dtype=torch.float64)
    for subset in subsets(4):
        for index in (subset, subset[::-1]):
            slow = functional.conv2d(fill(x, mask(4, subset, subset)), kernel, None, stride, padding=1)
            fold = fill.fold(index)
            given = fold.extend(x[:, list(index)])
            fast = functional.conv2d(given, fold.kernel(kernel, 1), None, stride, padding=1)
            torch.testing.assert_close(fast, slow, rtol=1e-12, atol=1e-11)


def conditional_mean(pixel: np.ndarray, subset: tuple[int, ...], ridge: float) -> np.ndarray:
    """x_M = μ_M + Σ_MS (Σ_SS + λI)⁻¹ (x_S - μ_S), with numpy, in the values that `build` normalises."""
    statistics = training_statistics(4)
    offset, scale = np.arange(1.0, 5.0), 2.0 ** np.arange(4)
    mean, covariance = (statistics.mean - offset) / scale, statistics.covariance / np.outer(scale, scale)
    seen, absent = list(subset), [channel for channel in range(4) if channel not in subset]
    inverse = np.linalg.inv(covariance[np.ix_(seen, seen)] + ridge * np.eye(len(seen)))
    filled = pixel.copy()
    filled[absent] = mean[absent] + covariance[np.ix_(absent, seen)] @ inverse @ (pixel[seen] - mean[seen])
    return filled


def test_completion_is_the_conditional_mean_for_every_subset() -> None:
    fill, pixel = build("completion"), np.array([0.3, -1.2, 2.5, 0.7])
    rows = subsets(4)
    x = torch.from_numpy(pixel).view(1, 4, 1, 1).expand(len(rows), 4, 5, 7)
    filled = fill(x, mask(4, *rows))
    for number, subset in enumerate(rows):
        expected = torch.from_numpy(conditional_mean(pixel, subset, 0.01)).view(4, 1, 1).expand(4, 5, 7)
        torch.testing.assert_close(filled[number], expected, rtol=1e-12, atol=1e-12)


def test_completion_centred_on_the_training_mean_needs_no_map_of_ones() -> None:
    statistics = training_statistics(4, mean=0.1)
    offset, scale = torch.tensor(statistics.mean).float(), torch.full((4,), 3.0)
    fold = CompletionFill(offset, scale, statistics).fold((1, 3))
    assert fold.offset is None
    assert fold.extend(torch.ones(2, 2, 5, 7)).shape == (2, 2, 5, 7)


def test_completion_of_a_constant_channel_is_finite() -> None:
    covariance = np.array([[0.0, 0.0], [0.0, 4.0]])
    statistics = ChannelStatistics(np.array([3.0, 0.0]), covariance, np.full((2, 2), 9))
    fill = CompletionFill(torch.tensor([0.0, 0.0]), torch.tensor([1.0, 2.0]), statistics)
    filled = fill(torch.full((2, 2, 5, 7), 8.0), mask(2, (0,), (1,)))
    torch.testing.assert_close(filled[0, 1], torch.zeros(5, 7))
    torch.testing.assert_close(filled[1, 0], torch.full((5, 7), 3.0))


def test_completion_at_the_borders_is_completion_before_zero_padding() -> None:
    """With means that are not 0: each pixel filled by itself, with numpy, and then convolved by a 5×5 kernel."""
    fill, subset = build("completion"), (1, 3)
    x = 2 + torch.randn(1, 4, 5, 7, dtype=torch.float64)
    filled = x.clone()
    for row in range(5):
        for column in range(7):
            pixel = conditional_mean(x[0, :, row, column].numpy(), subset, fill.ridge)  # type: ignore[arg-type]
            filled[0, :, row, column] = torch.from_numpy(pixel)
    kernel = torch.randn(6, 4, 5, 5, dtype=torch.float64)
    expected = functional.conv2d(filled, kernel, padding=2)
    fold = fill.fold(subset)
    found = functional.conv2d(fold.extend(x[:, list(subset)]), fold.kernel(kernel, 1), padding=2)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-11)
    # a constant added after the convolution instead of the map of ones would be wrong at the border, and there alone
    assert fold.offset is not None
    constant = torch.einsum("ochw,c->o", kernel, fold.offset)[:, None, None]
    simpler = functional.conv2d(x[:, list(subset)], fold.kernel(kernel, 1)[:, :2], padding=2) + constant
    wrong = (simpler - expected).abs().amax((0, 1)) > 1e-3
    assert not wrong[2:-2, 2:-2].any()
    assert wrong.sum() == 5 * 7 - 1 * 3


# (C, r) factors of the channels: Σ = F Fᵀ, exact in float32
DEFICIENT = {
    "two equal channels": [[1, 0, 2], [1, 0, 2], [0, 1, 1]],
    "a channel and its double": [[1, 2], [2, 4], [1, -1]],
    "a constant channel": [[1, 1], [0, 0], [1, -2]],
    "all constant": [[0], [0], [0]],
    "more channels than rank": [[1, 0], [0, 1], [1, 1], [2, -1], [1, 3]],
    "nearly equal channels": [[1, 0], [1, 2**-10], [3, 1]],
}


def deficient(name: str, ridge: float) -> tuple[Fill, np.ndarray]:
    """Completion in normalised values by such a covariance, and the factors."""
    factors = np.array(DEFICIENT[name], np.float64)
    count = len(factors)
    statistics = ChannelStatistics(np.zeros(count), factors @ factors.T, np.full((count, count), 9))
    return CompletionFill(torch.zeros(count), torch.ones(count), statistics, ridge=ridge).double(), factors


@pytest.mark.parametrize("ridge", [0.01, 1e-6])
@pytest.mark.parametrize("name", DEFICIENT)
def test_completion_by_a_deficient_covariance_is_ridge_regression(name: str, ridge: float) -> None:
    """Against least squares on the factors: min_a |F_Sᵀ a - F_m|² + λ|a|², which inverts nothing."""
    fill, factors = deficient(name, ridge)
    count = len(factors)
    for subset in subsets(count):
        present = mask(count, subset).double()
        matrix, offset = (each[0].numpy() for each in fill.affine(present))
        assert not offset.any()
        seen = factors[list(subset)]
        tall = np.concatenate([seen.T, np.sqrt(ridge) * np.eye(len(subset))])
        for absent in set(range(count)) - set(subset):
            target = np.concatenate([factors[absent], np.zeros(len(subset))])
            expected = np.linalg.lstsq(tall, target, rcond=None)[0]
            np.testing.assert_allclose(matrix[absent, list(subset)], expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", [name for name in DEFICIENT if name != "nearly equal channels"])
def test_small_ridge_is_the_pseudo_inverse(name: str) -> None:
    """Of equal channels each counts half; a constant one counts for nothing and is guessed as its mean."""
    fill, factors = deficient(name, 1e-7)
    covariance, count = factors @ factors.T, len(factors)
    for subset in subsets(count):
        seen, absent = list(subset), [channel for channel in range(count) if channel not in subset]
        matrix = fill.affine(mask(count, subset).double())[0][0].numpy()
        expected = covariance[np.ix_(absent, seen)] @ np.linalg.pinv(covariance[np.ix_(seen, seen)], rcond=1e-10)
        np.testing.assert_allclose(matrix[np.ix_(absent, seen)], expected, rtol=0, atol=1e-5)


def test_rounding_the_model_does_not_round_the_covariance() -> None:
    """Of 13 channels with 3 degrees of freedom, whose covariance rounded to bfloat16 has negative eigenvalues."""
    factors = np.random.default_rng(1).normal(0, 4, (13, 3))
    statistics = ChannelStatistics(np.zeros(13), factors @ factors.T, np.full((13, 13), 9))
    fill = CompletionFill(torch.zeros(13), torch.ones(13), statistics)
    assert np.linalg.eigvalsh(torch.tensor(factors @ factors.T).bfloat16().double().numpy()).min() < -fill.ridge
    present = torch.ones(1, 13)
    present[0, 4] = 0
    expected, _ = fill.affine(present)
    assert fill.bfloat16().offset.dtype == torch.bfloat16
    torch.testing.assert_close(fill.affine(present)[0], expected, rtol=0, atol=0)
    assert fill.to("meta").covariance.is_meta


def test_guesses_from_equal_channels_by_hand() -> None:
    """Variance 5 each, covariance 2 with channel 2: one alone gives 2 / 5.01, both 2 / 10.01 each."""
    fill, _ = deficient("two equal channels", 0.01)
    one, both = (fill.affine(mask(3, subset).double())[0][0] for subset in ((0,), (0, 1)))
    torch.testing.assert_close(one[:, 0], torch.tensor([1, 5 / 5.01, 2 / 5.01], dtype=torch.float64))
    torch.testing.assert_close(both[2], torch.tensor([2 / 10.01, 2 / 10.01, 0], dtype=torch.float64))


@pytest.mark.parametrize("ridge", [0.0, -0.01, float("nan")])
def test_completion_needs_a_ridge_above_0(ridge: float) -> None:
    with pytest.raises(ConfigError, match=f"stem 'completion' has a ridge of {ridge}, but it must be above 0"):
        CompletionFill(OFFSET, SCALE, STATISTICS, ridge=ridge)


def test_completion_needs_statistics() -> None:
    text = "stem 'completion' needs the training images' statistics; train the model, or give them"
    with pytest.raises(ConfigError, match=text):
        CompletionFill(OFFSET, SCALE)


def test_completion_refuses_channels_never_seen_together() -> None:
    pixels = np.array([[9, 9, 9], [9, 9, 0], [9, 0, 9]])
    statistics = ChannelStatistics(STATISTICS.mean, np.where(pixels == 0, np.nan, STATISTICS.covariance), pixels)
    text = "were never seen together, so stem 'completion' cannot guess one from the other; use stem 'mean'"
    with pytest.raises(ChannelError, match=re.escape(f"channels number 2 and number 3 {text}")):
        CompletionFill(OFFSET, SCALE, statistics)
    with pytest.raises(ChannelError, match=re.escape(f"channels G and B {text}")):
        CompletionFill(OFFSET, SCALE, statistics, ("R", "G", "B"))


@pytest.mark.parametrize("name", FILLS)
def test_fills_have_no_state_but_what_they_learn(name: str) -> None:
    learned = ["padding"] if name == "learned_padding" else []
    assert list(build(name).state_dict()) == learned
    assert [key for key, _ in build(name).named_parameters()] == learned


def test_learned_padding_by_hand() -> None:
    """Kernel (1, 10, 100) on the normalised pixel (2, absent, 3), padded by -0.5."""
    fill = LearnedPaddingFill(OFFSET, SCALE)
    assert not fill.padding.any()
    fill.padding.data = torch.tensor([7.0, -0.5, 9.0])
    filled = fill(torch.tensor([2.0, torch.nan, 3.0]).view(1, 3, 1, 1), mask(3, (0, 2)))
    torch.testing.assert_close(filled.flatten(), torch.tensor([2.0, -0.5, 3.0]))
    fold = fill.fold((2, 0))
    kernel = fold.kernel(torch.tensor([[1.0, 10.0, 100.0]]), 1)
    torch.testing.assert_close(kernel, torch.tensor([[100.0, 1.0, -5.0]]))
    (gradient,) = torch.autograd.grad(kernel.sum(), fill.padding)
    torch.testing.assert_close(gradient, torch.tensor([0.0, 10.0, 0.0]))


def test_the_last_fold_is_kept_as_long_as_it_holds() -> None:
    fill = build("completion")
    first = fill.fold((2, 0))
    assert fill.fold((2, 0)) is first
    assert fill.fold((0, 2)).index == (0, 2)
    again = fill.fold((2, 0))
    assert first.matrix is not None
    assert again.matrix is not None
    torch.testing.assert_close(again.matrix, first.matrix, rtol=0, atol=0)
    rounded = fill.float().fold((2, 0)).matrix
    assert rounded is not None
    assert rounded.dtype == torch.float32
    with torch.inference_mode():
        fill.fold((1,))
    kernel = torch.ones(1, 4, 1, 1, requires_grad=True)
    fill.fold((1,)).kernel(kernel, 1).sum().backward()  # what inference made cannot be differentiated
    assert kernel.grad is not None


def test_completion_exported_for_any_batch_is_the_same() -> None:
    """It solves by steps of its own there, in a loop."""
    fill, rows = build("completion", 5), subsets(5)
    x, present, free = torch.randn(len(rows), 5, 2, 3, dtype=torch.float64), mask(5, *rows), {0: Dim("batch")}
    exported = export(fill, (x[:2], present[:2]), dynamic_shapes=(free, free)).module()
    torch.testing.assert_close(exported(x, present), fill(x, present))
