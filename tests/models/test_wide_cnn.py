import pytest
import torch
from torch import nn
from torch.nn import functional

from anychan.models.catalog import create_model
from anychan.models.wide_cnn import ConvBlock, FirstConvBlock
from anychan.profiling.macs import profile
from tests.builders import build_model, conv_macs, raw_images


def test_first_block_adds_its_two_halves() -> None:
    block = FirstConvBlock(2).eval()
    nn.init.constant_(block.bn.weight, 2.0)  # the main half counts twice
    x = torch.tensor([5.0, 1.0, -3.0, -7.0]).view(1, 4, 1, 1).expand(2, 4, 5, 7)
    expected = torch.tensor([2 * 5.0 - 3, 0.0]).view(1, 2, 1, 1).expand(2, 2, 5, 7)
    torch.testing.assert_close(block(x), expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(("kernel_size", "stride", "size"), [(3, 1, (5, 7)), (3, 2, (3, 4)), (7, 2, (3, 4))])
def test_block_rounds_odd_sizes_up(kernel_size: int, stride: int, size: tuple[int, int]) -> None:
    assert ConvBlock(6, kernel_size=kernel_size, stride=stride)(torch.randn(2, 6, 5, 7)).shape == (2, 6, *size)


def test_block_by_formula() -> None:
    block, x = ConvBlock(6, kernel_size=3, stride=2).eval(), torch.randn(2, 6, 5, 7)
    shortcut = block.shortcut[0]
    assert isinstance(shortcut, nn.Conv2d)
    main = functional.conv2d(x, block.conv.weight, None, 2, 1)
    expected = ((main + functional.conv2d(x, shortcut.weight, None, 2)) / (1 + block.bn.eps) ** 0.5).relu()
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize("width", [256, 32])
def test_parameters_and_macs_by_formula(width: int) -> None:
    """84 pixels become 42, 21, 11 and 6; the first block's shortcut reads every channel too."""
    with torch.device("meta"):
        model = create_model("wide_cnn4", num_classes=100, options={"width": width})
    hidden = width // 16
    gates = 4 * (2 * width * hidden + hidden + width)
    params = 3 * width * (49 + 1) + 3 * width**2 * (9 + 1) + 4 * 4 * width + gates + 101 * width - width + 100
    macs = conv_macs(3, width, 7, 42, 42) + conv_macs(3, width, 1, 42, 42)
    for size in (21, 11, 6):
        macs += conv_macs(width, width, 3, size, size) + conv_macs(width, width, 1, size, size)
    macs += 4 * 2 * width * hidden + width * 100
    found = profile(model, (1, 3, 84, 84))
    assert (found.params, found.macs) == (params, macs)


def test_features() -> None:
    assert build_model("wide_cnn4", width=32).forward_features(raw_images(2, 84, 33)).shape == (2, 32, 6, 3)
