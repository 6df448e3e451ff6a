import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from anychan.nn.convolve import conv2d, short_strides


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("size", "stride", "padding"),
    [
        (1, 2, 0),
        (1, (2, 3), (0, 0)),
        (1, 1, 0),
        (1, 2, "valid"),
        (1, 2, 1),
        (3, 2, 1),
        (3, (1, 2), (1, 0)),
        (3, 1, "same"),
    ],
)
def test_equals_pytorchs(size: int, stride: int | tuple[int, int], padding: int | str, bias: bool) -> None:
    x = torch.randn(2, 3, 7, 9, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 3, size, size, dtype=torch.float64, requires_grad=True)
    inputs = [x, weight, *([torch.randn(4, dtype=torch.float64, requires_grad=True)] if bias else [])]
    found, expected = (
        function(x, weight, inputs[2] if bias else None, stride, padding) for function in (conv2d, functional.conv2d)
    )
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    direction = torch.randn_like(expected)
    gradients = (torch.autograd.grad(y, inputs, direction) for y in (found, expected))
    for gradient, judge in zip(*gradients, strict=True):
        torch.testing.assert_close(gradient, judge, rtol=1e-12, atol=1e-12)


CRASH = """
import torch
from anychan import create_model
model = create_model("wide_cnn4", num_classes=5, stem={stem!r}).to(memory_format=torch.channels_last)
x = torch.randn({images}, 3, 64, 64).contiguous(memory_format=torch.channels_last)
for _ in range(4):
    model(x).sum().backward()
"""


@pytest.mark.parametrize(("stem", "images"), [("zero", 8), ("wavelength", 8), ("dynamic", 1)])
def test_few_channels_survive_the_gradient_of_a_strided_1x1_kernel(stem: str, images: int) -> None:
    """In a process of its own, because what it tests for is a corrupted heap."""
    done = subprocess.run(
        [sys.executable, "-c", CRASH.format(stem=stem, images=images)], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")


def leave_nan_in_freed_memory() -> None:
    for power in range(10, 24, 2):
        torch.full((2**power,), float("nan"))


def gradients(conv: nn.Conv2d, x: Tensor) -> tuple[Tensor, Tensor]:
    """Output, and the kernel's gradient for the sum of its squares."""
    conv.weight.grad = None
    leave_nan_in_freed_memory()
    output = conv(x)
    output.float().square().sum().backward()
    assert conv.weight.grad is not None
    return output, conv.weight.grad


@pytest.mark.parametrize(("size", "stride", "padding"), [(3, 2, 1), (3, 4, 1), (5, 4, 2), (7, 4, 3), (1, 4, 0)])
@pytest.mark.parametrize("sides", [(1, 1), (2, 2), (3, 3), (1, 3), (4, 2), (5, 1), (9, 8)])
def test_stride_longer_than_the_map(size: int, stride: int, padding: int, sides: tuple[int, int]) -> None:
    """In bfloat16 the kernel's gradient is what it is in float64, and what the stride says otherwise."""
    conv = nn.Conv2d(16, 32, size, stride, padding, bias=False).double()
    x = torch.randn(8, 16, *sides, dtype=torch.float64)
    with torch.no_grad():
        for values in (conv.weight, x):
            values.copy_(values.bfloat16())  # so that it is the same number in both
    expected, judge = gradients(conv, x)
    with short_strides(nn.Sequential(conv)):
        found, exact = gradients(conv, x)
        torch.testing.assert_close((found, exact), (expected, judge), rtol=1e-12, atol=1e-12)
        _, rounded = gradients(conv.bfloat16(), x.bfloat16())
    error = (rounded.double() - judge).abs().max() / judge.abs().max()
    assert error < 0.02
    assert conv.stride == (stride, stride)


def test_only_plain_convolutions_are_changed_and_only_for_a_while() -> None:
    class Other(nn.Conv2d):
        pass

    model = nn.Sequential(nn.Conv2d(1, 1, 3, 2), nn.Conv2d(1, 1, 3), Other(1, 1, 3, 2))
    with short_strides(model):
        assert [type(part) is nn.Conv2d for part in model] == [False, True, False]
    assert [type(part) for part in model] == [nn.Conv2d, nn.Conv2d, Other]
