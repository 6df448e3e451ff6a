from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from anychan.nn.dynamic_conv import DynamicConv2d
from anychan.nn.fill import FILLS
from anychan.nn.generator import GeneratedConv2d
from anychan.nn.stems import ParallelConv, Stem, StemConv2d
from tests.builders import mask, subsets, training_statistics


def ordinary() -> nn.Module:
    return StemConv2d(3, 6, 3, stride=2, padding=1)


def dynamic() -> nn.Module:
    return DynamicConv2d(3, 6, kernel_size=3, padding=1, temperature=1.0)


def generated() -> nn.Module:
    return GeneratedConv2d(3, 6)


def parallel() -> nn.Module:
    return ParallelConv([StemConv2d(3, 4, 3, 2, 1, bias=False), StemConv2d(3, 2, 1, 2)])


CONVS = [ordinary, dynamic, generated, parallel]


def build(fill: str, conv: nn.Module) -> Stem:
    offset, scale = torch.tensor([3.0, 5.0, 7.0]), torch.tensor([2.0, 4.0, 8.0])
    return Stem(conv, FILLS[fill](offset, scale, training_statistics(3))).double()


def images(num_images: int = 2) -> Tensor:
    """Noise around a constant of its own for each channel."""
    constants = torch.tensor([1.0, -2.0, 5.0], dtype=torch.float64).view(1, 3, 1, 1)
    return constants + torch.randn(num_images, 3, 5, 7, dtype=torch.float64)


@pytest.mark.parametrize("conv", CONVS, ids=lambda conv: conv.__name__)
@pytest.mark.parametrize("fill", FILLS)
def test_index_and_mask_agree_for_every_subset_in_any_order(fill: str, conv: Callable[[], nn.Module]) -> None:
    stem, x = build(fill, conv()), images()
    for subset in subsets(3):
        masked = stem(x, present=mask(3, subset, subset))
        for index in (subset, subset[::-1]):
            selected = stem(x[:, list(index)], index=index)
            torch.testing.assert_close(selected, masked, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("conv", CONVS, ids=lambda conv: conv.__name__)
@pytest.mark.parametrize("fill", FILLS)
def test_gradients_agree_too(fill: str, conv: Callable[[], nn.Module]) -> None:
    stem, x = build(fill, conv()), images()
    direction = torch.randn_like(stem(x))
    parameters = list(stem.parameters())
    slow = torch.autograd.grad(stem(x, present=mask(3, (0, 2), (0, 2))), parameters, direction, allow_unused=True)
    fast = torch.autograd.grad(stem(x[:, [2, 0]], index=(2, 0)), parameters, direction, allow_unused=True)
    assert any(gradient is not None and gradient.any() for gradient in slow)
    for mine, judge in zip(fast, slow, strict=True):
        torch.testing.assert_close(mine, judge, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("fill", FILLS)
def test_each_image_of_a_ragged_batch_stands_alone(fill: str) -> None:
    stem, x, rows = build(fill, ordinary()), images(3), [(0,), (0, 1, 2), (1, 2)]
    together = stem(x, present=mask(3, *rows))
    for number, row in enumerate(rows):
        alone = stem(x[number : number + 1, list(row)], index=row)
        torch.testing.assert_close(together[number : number + 1], alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("fill", FILLS)
def test_all_channels_are_the_plain_convolution(fill: str) -> None:
    conv = StemConv2d(3, 6, 3, stride=2, padding=1)
    stem, x = build(fill, conv), images()
    expected = functional.conv2d(x, conv.weight, conv.bias, 2, 1)
    for found in (stem(x), stem(x, index=(0, 1, 2)), stem(x, present=mask(3, (0, 1, 2), (0, 1, 2)))):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(stem(x[:, [1, 2, 0]], index=(1, 2, 0)), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("fill", FILLS)
def test_subsets_differ(fill: str) -> None:
    stem, x = build(fill, ordinary()), images()
    maps = [stem(x, present=mask(3, subset, subset)) for subset in subsets(3)]
    for number, one in enumerate(maps):
        for other in maps[:number]:
            assert (one - other).abs().max() > 1e-2


def test_stem_convolution_without_fold_is_pytorchs() -> None:
    conv = StemConv2d(3, 6, 3, stride=2, padding=1)
    plain = nn.Conv2d(3, 6, 3, stride=2, padding=1)
    plain.load_state_dict(conv.state_dict())
    x = torch.randn(2, 3, 5, 7)
    torch.testing.assert_close(conv(x), plain(x))


def test_parallel_convolutions_are_stacked_in_order() -> None:
    first, second = StemConv2d(3, 4, 3, 2, 1), StemConv2d(3, 2, 1, 2)
    x = torch.randn(2, 3, 5, 7)
    y = ParallelConv([first, second])(x)
    assert y.shape == (2, 6, 3, 4)
    torch.testing.assert_close(y[:, :4], first(x))
    torch.testing.assert_close(y[:, 4:], second(x))


def macs(stem: Stem, num_channels: int, index: tuple[int, ...]) -> int:
    x = torch.zeros(1, num_channels, 5, 7, dtype=torch.float64)
    with FlopCounterMode(display=False) as counter:
        stem(x, index=index)
    return int(counter.get_flop_counts()["Global"][torch.ops.aten.convolution]) // 2


@pytest.mark.parametrize(
    ("fill", "extra"), [("mean", 0), ("rescaled", 0), ("present_mean", 0), ("zero", 1), ("completion", 1)]
)
def test_cost_is_linear_in_the_channels_given(fill: str, extra: int) -> None:
    """A fill with an offset adds one map of ones."""
    stem = build(fill, ordinary())
    for index in ((1,), (2, 0)):
        assert macs(stem, len(index), index) == (len(index) + extra) * 6 * 9 * 3 * 4  # O 6, kernel 3x3, out 3x4
    assert macs(stem, 3, (0, 1, 2)) == 3 * 6 * 9 * 3 * 4
