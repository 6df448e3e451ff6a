import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from anychan.nn.dynamic_backends import BACKENDS

# images, channels, height, width, maps, kernel size, stride, padding
CASES = {
    "3x3": (3, 4, 7, 5, 6, 3, 1, 1),
    "strided": (2, 4, 8, 7, 6, 3, 2, 1),
    "1x1": (3, 5, 4, 6, 7, 1, 1, 0),
    "1x1, strided": (3, 5, 5, 6, 7, 1, 2, 0),
    "5x5 without padding": (2, 3, 6, 9, 4, 5, 1, 0),
    "kernel as large as the padded image": (2, 3, 1, 1, 4, 3, 1, 1),
    "one image": (1, 4, 7, 5, 6, 3, 1, 1),
    "one channel": (3, 1, 6, 6, 2, 3, 3, 1),
}
Arguments = tuple[Tensor, Tensor, Tensor, int, int]


def arguments(case: str, *, last: bool = False, dtype: torch.dtype = torch.float64, kernels: int = 4) -> Arguments:
    """`last`: images, and kernels within each of the K, have their channels innermost in memory."""
    images, channels, height, width, maps, size, stride, padding = CASES[case]
    x = torch.randn(images, channels, height, width, dtype=dtype)
    weight = torch.randn(kernels, maps, channels, size, size, dtype=dtype)
    if last:
        x = x.contiguous(memory_format=torch.channels_last)
        weight = weight.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    attention = torch.rand(images, kernels, dtype=dtype).softmax(1)
    return x.requires_grad_(), attention.requires_grad_(), weight.requires_grad_(), stride, padding


def one_at_a_time(x: Tensor, attention: Tensor, kernels: Tensor, stride: int, padding: int) -> Tensor:
    mixed = torch.einsum("nk,kocij->nocij", attention, kernels)
    return torch.cat(
        [functional.conv2d(image[None], kernel, None, stride, padding) for image, kernel in zip(x, mixed, strict=True)]
    )


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_values_and_gradients(backend: str, case: str, last: bool) -> None:
    given = arguments(case, last=last)
    found, expected = BACKENDS[backend](*given), one_at_a_time(*given)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)
    direction = torch.randn_like(expected)
    gradients = (torch.autograd.grad(y, given[:3], direction) for y in (found, expected))
    for gradient, judge in zip(*gradients, strict=True):
        torch.testing.assert_close(gradient, judge, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("case", ["3x3", "strided", "1x1"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_by_differences(backend: str, case: str) -> None:
    x, attention, kernels, stride, padding = arguments(case, kernels=2)

    def run(x: Tensor, attention: Tensor, kernels: Tensor) -> Tensor:
        return BACKENDS[backend](x, attention, kernels, stride, padding)

    assert torch.autograd.gradcheck(run, (x, attention, kernels))


@pytest.mark.parametrize("backend", BACKENDS)
def test_only_what_is_asked_for_gets_a_gradient(backend: str) -> None:
    x, attention, kernels, stride, padding = arguments("3x3")
    BACKENDS[backend](x.detach(), attention.detach(), kernels, stride, padding).sum().backward()
    assert kernels.grad is not None
    BACKENDS[backend](x, attention.detach(), kernels.detach(), stride, padding).sum().backward()
    assert x.grad is not None
    assert attention.grad is None


@pytest.mark.parametrize("backend", BACKENDS)
def test_autocast(backend: str) -> None:
    """bfloat16 keeps 8 bits of each factor, and gradients come in float32."""
    given = arguments("strided", dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = BACKENDS[backend](*given)
    expected = one_at_a_time(*given)
    torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.1)
    for of_found, of_expected in zip(
        torch.autograd.grad(found.float().sum(), given[:3]), torch.autograd.grad(expected.sum(), given[:3]), strict=True
    ):
        assert of_found.dtype == torch.float32
        torch.testing.assert_close(of_found, of_expected, rtol=0.05, atol=0.3)


# PyTorch's own tracing makes one where a Function is called
@pytest.mark.filterwarnings("ignore:.*autograd.function.Function.* should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("backend", BACKENDS)
def test_compiles_in_one_graph(backend: str) -> None:
    given = arguments("strided", dtype=torch.float32)
    compiled = torch.compile(BACKENDS[backend], fullgraph=True, backend="aot_eager")
    found, expected = compiled(*given), one_at_a_time(*given)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    direction = torch.randn_like(expected)
    gradients = (torch.autograd.grad(y, given[:3], direction) for y in (found, expected))
    for gradient, judge in zip(*gradients, strict=True):
        torch.testing.assert_close(gradient, judge, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("backend", "convolutions", "mixes"), [("mix", 1, 1), ("multiply", 1, 1), ("each", 4, 0)])
def test_macs_by_formula(backend: str, convolutions: int, mixes: int) -> None:
    images, channels, height, width, maps, size, _, _ = CASES["3x3"]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        BACKENDS[backend](*arguments("3x3"))
    kernel = maps * channels * size**2
    assert counter.get_total_flops() == 2 * images * kernel * (convolutions * height * width + mixes * 4)
