import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from anychan.nn.expansion import HIDDEN, ExpansionStem
from anychan.nn.fill import MeanFill
from anychan.nn.stems import Stem, StemConv2d
from tests.builders import conv_macs, mask, subsets


def build(*, trained: bool = True) -> ExpansionStem:
    torch.manual_seed(2)
    stem = ExpansionStem(StemConv2d(3, 6, 3, stride=2, padding=1), MeanFill(torch.zeros(3), torch.ones(3))).double()
    if trained:
        for parameter in stem.parameters():
            parameter.data += 0.3 * torch.randn_like(parameter)
    return stem


def judge(stem: ExpansionStem, x: Tensor, subset: tuple[int, ...]) -> Tensor:
    """Pixel by pixel, channel by channel."""
    absent = [channel for channel in range(3) if channel not in subset]
    w1, v, w2 = stem.values.weight[:, :, 0, 0], stem.presence.weight, stem.guess.weight[:, :, 0, 0]
    bias2 = stem.guess.bias
    assert bias2 is not None
    filled = x.clone()
    for image in range(x.shape[0]):
        for row in range(x.shape[2]):
            for column in range(x.shape[3]):
                hidden = stem.presence.bias.clone()
                for channel in subset:
                    hidden = hidden + w1[:, channel] * x[image, channel, row, column] + v[:, channel]
                for channel in absent:
                    filled[image, channel, row, column] = w2[channel] @ hidden.clamp(min=0) + bias2[channel]
    return functional.conv2d(filled, stem.conv.weight, stem.conv.bias, 2, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("subset", subsets(3))
def test_guesses_absent_channels_pixel_by_pixel(subset: tuple[int, ...]) -> None:
    stem, x = build(), torch.randn(2, 3, 5, 7, dtype=torch.float64)
    with torch.no_grad():
        expected = judge(stem, x, subset)
    torch.testing.assert_close(stem(x, present=mask(3, subset, subset)), expected, rtol=1e-11, atol=1e-11)
    index = subset[::-1]
    torch.testing.assert_close(stem(x[:, list(index)], index=index), expected, rtol=1e-11, atol=1e-11)


def test_starts_as_mean_fill() -> None:
    stem, x = build(trained=False), torch.randn(2, 3, 5, 7, dtype=torch.float64)
    plain = Stem(stem.conv, stem.fill)
    for subset in subsets(3):
        found, expected = (each(x, present=mask(3, subset, subset)) for each in (stem, plain))
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("index", [(1,), (2, 0), (0, 1, 2), (2, 0, 1)])
def test_absent_channels_cost_the_first_layer_nothing(index: tuple[int, ...]) -> None:
    stem, count = build(), len(index)
    with FlopCounterMode(display=False) as counter:
        stem(torch.zeros(1, count, 5, 7, dtype=torch.float64), index=index)
    expected = conv_macs(3, 6, 3, 3, 4)
    if count < 3:
        expected += conv_macs(count, HIDDEN, 1, 5, 7) + conv_macs(HIDDEN, 3 - count, 1, 5, 7) + count * HIDDEN
    assert counter.get_total_flops() == 2 * expected
