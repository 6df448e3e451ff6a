import subprocess
import sys

import pytest
import torch
from torch.nn import functional

from anychan.nn.convolve import conv2d


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
