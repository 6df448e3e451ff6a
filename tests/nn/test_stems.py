"""What is particular to the plain `Stem`; the contract of all stems is in tests/models/test_stem_choice.py."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from anychan.nn.dynamic_conv import DynamicConv2d
from anychan.nn.fill import FILLS
from anychan.nn.generator import GeneratedConv2d
from anychan.nn.stems import OnesMap, ParallelConv, Stem, StemConv2d, ordinary_convs
from tests.builders import mask, training_statistics


def build(fill: str, conv: nn.Module) -> Stem:
    offset, scale = torch.tensor([3.0, 5.0, 7.0]), torch.tensor([2.0, 4.0, 8.0])
    return Stem(conv, FILLS[fill](offset, scale, training_statistics(3))).double()


def images() -> Tensor:
    """Noise around a constant of its own for each channel."""
    constants = torch.tensor([1.0, -2.0, 5.0], dtype=torch.float64).view(1, 3, 1, 1)
    return constants + torch.randn(2, 3, 5, 7, dtype=torch.float64)


@pytest.mark.parametrize("fill", FILLS)
def test_all_channels_are_the_plain_convolution(fill: str) -> None:
    conv = StemConv2d(3, 6, 3, stride=2, padding=1)
    stem, x = build(fill, conv), images()
    expected = functional.conv2d(x, conv.weight, conv.bias, 2, 1)
    for found in (stem(x), stem(x, index=(0, 1, 2)), stem(x, present=mask(3, (0, 1, 2), (0, 1, 2)))):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(stem(x[:, [1, 2, 0]], index=(1, 2, 0)), expected, rtol=1e-12, atol=1e-12)


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


def test_ordinary_convolutions_of_a_first_layer() -> None:
    first, second = StemConv2d(3, 4, 3), StemConv2d(3, 2, 3)
    assert ordinary_convs(first) == [first]
    assert ordinary_convs(ParallelConv([first, second])) == [first, second]
    for other in (GeneratedConv2d(3, 6), DynamicConv2d(3, 6, kernel_size=3), nn.Conv2d(3, 6, 3)):
        assert ordinary_convs(other) == ordinary_convs(ParallelConv([first, other])) == []


def macs(stem: Stem, num_channels: int, index: tuple[int, ...]) -> int:
    x = torch.zeros(1, num_channels, 5, 7, dtype=torch.float64)
    with FlopCounterMode(display=False) as counter:
        stem(x, index=index)
    return int(counter.get_flop_counts()["Global"][torch.ops.aten.convolution]) // 2


@pytest.mark.parametrize(
    ("fill", "extra"),
    [("mean", 0), ("rescaled", 0), ("present_mean", 0), ("zero", 1), ("completion", 1), ("learned_padding", 1)],
)
def test_cost_is_linear_in_the_channels_given(fill: str, extra: int) -> None:
    """A fill with an offset adds one map of ones."""
    stem = build(fill, StemConv2d(3, 6, 3, stride=2, padding=1))
    for index in ((1,), (2, 0)):
        assert macs(stem, len(index), index) == (len(index) + extra) * 6 * 9 * 3 * 4  # O 6, kernel 3x3, out 3x4
    assert macs(stem, 3, (0, 1, 2)) == macs(stem, 3, (2, 0, 1)) == 3 * 6 * 9 * 3 * 4


def test_parallel_convolutions_that_see_the_same_places_become_one() -> None:
    stem, x = build("completion", ParallelConv([StemConv2d(3, 4, 5, 2, 2), StemConv2d(3, 2, 1, 2)])), images()
    plain = stem.for_index((2, 0))
    assert [type(layer) for layer in plain.modules()] == [nn.Sequential, OnesMap, nn.Conv2d]
    torch.testing.assert_close(plain(x[:, [2, 0]]), stem(x[:, [2, 0]], index=(2, 0)), rtol=1e-12, atol=1e-12)


def test_parallel_convolutions_that_see_other_places_stay_apart() -> None:
    stem, x = build("mean", ParallelConv([StemConv2d(3, 4, 3, 2), StemConv2d(3, 2, 2, 2)])), images()
    plain = stem.for_index((2, 0))
    assert isinstance(plain, ParallelConv)
    torch.testing.assert_close(plain(x[:, [2, 0]]), stem(x[:, [2, 0]], index=(2, 0)), rtol=1e-12, atol=1e-12)


def test_stem_convolution_folds_to_a_plain_one() -> None:
    conv, x = StemConv2d(3, 6, (3, 5), stride=2, padding=(1, 2)), torch.randn(2, 3, 5, 7)
    plain = conv.folded()
    assert type(plain) is nn.Conv2d
    torch.testing.assert_close(plain(x), conv(x), rtol=0, atol=0)


def test_one_channel_keeps_the_layers_memory_format() -> None:
    """Its own is ambiguous: PyTorch would take it for channels-first, and copy."""
    torch.manual_seed(0)
    conv = StemConv2d(3, 6, 3, stride=2, padding=1)
    stem = build("mean", conv).float()
    x = torch.randn(4, 1, 8, 8)
    plain = stem(x, index=(1,))
    assert plain.is_contiguous()
    stem.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    found = stem(x, index=(1,))
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, plain)
    found.sum().backward()
    gradient = conv.weight.grad
    assert gradient is not None
    assert gradient[:, 1].abs().min() > 0
    assert gradient[:, [0, 2]].abs().max() == 0


def test_map_of_ones_is_last() -> None:
    x = torch.randn(2, 3, 5, 7)
    y = OnesMap()(x)
    torch.testing.assert_close(y[:, :3], x, rtol=0, atol=0)
    torch.testing.assert_close(y[:, 3], torch.ones(2, 5, 7))
