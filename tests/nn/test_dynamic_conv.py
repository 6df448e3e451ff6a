import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from anychan.errors import ConfigError
from anychan.nn import dynamic_conv
from anychan.nn.affine import Fold
from anychan.nn.dynamic_conv import DynamicConv2d, softmax_of_largest
from anychan.nn.dynamic_planner import CHOICES
from anychan.nn.fill import CompletionFill, MeanFill, ZeroFill
from tests.builders import training_statistics


def one_image_at_a_time(x: Tensor, attention: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """The judge: a kernel an image, written as the formula is."""
    images = []
    for image, shares in zip(x, attention, strict=True):
        kernel = sum((share * kernel for share, kernel in zip(shares, weight, strict=True)), torch.zeros(()))
        images.append(functional.conv2d(image[None], kernel, None, stride, padding))
    return torch.cat(images)


def layer(stride: int = 1, backend: str = "mix", temperature: float = 2.0, top_k: int | None = None) -> DynamicConv2d:
    """C 3, O 6, K 4 in float64; a low temperature and live hidden units, so that images differ in kernels."""
    sizes = {"kernel_size": 3, "stride": stride, "padding": 1, "reduction": 1}
    conv = DynamicConv2d(3, 6, **sizes, temperature=temperature, backend=backend, top_k=top_k).double()
    conv.squeeze.data.abs_()
    return conv


@pytest.mark.parametrize("backend", CHOICES)
def test_by_hand(backend: str) -> None:
    conv = DynamicConv2d(2, 1, kernel_size=1, num_kernels=2, temperature=2.0, backend=backend)
    with torch.no_grad():
        conv.squeeze.copy_(torch.tensor([[1.0, -1.0]]))
        conv.excite.copy_(torch.tensor([[2 * math.log(3)], [0.0]]))
        conv.kernels.copy_(torch.tensor([[1.0, 10.0], [100.0, 1000.0]]).view(2, 1, 2, 1, 1))
    x = torch.tensor([[[[2.0, 4.0]], [[1.0, 3.0]]], [[[0.0, 0.0]], [[1.0, 7.0]]]])  # (2, 2, 1, 2)
    # image 0: means 3, 2 → hidden 1 → softmax(log 3, 0) = 3/4, 1/4 → kernel 25.75, 257.5
    # image 1: means 0, 4 → hidden relu(-4) = 0 → 1/2, 1/2 → kernel 50.5, 505
    torch.testing.assert_close(conv.attention(x), torch.tensor([[0.75, 0.25], [0.5, 0.5]]))
    expected = torch.tensor([[[[309.0, 875.5]]], [[[505.0, 3535.0]]]])
    torch.testing.assert_close(conv(x), expected)


def folds() -> dict[str, Fold | None]:
    statistics = training_statistics(3)
    offset, scale = torch.tensor([3.0, 5.0, 7.0]), torch.tensor([2.0, 4.0, 8.0])
    return {
        "whole": None,
        "sliced": MeanFill(offset, scale).fold((2, 0)),
        "with an offset": ZeroFill(offset, scale).fold((2, 0)),
        "completed": CompletionFill(offset, scale, statistics).double().fold((2, 0)),
    }


@pytest.mark.parametrize("fold", folds().values(), ids=folds().keys())
@pytest.mark.parametrize("images", [1, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("top_k", [None, 2])
@pytest.mark.parametrize("kept_as", ["small", "large"])
@pytest.mark.parametrize("backend", CHOICES)
def test_backends_equal_the_plain_loop(
    monkeypatch: pytest.MonkeyPatch,
    backend: str,
    kept_as: str,
    top_k: int | None,
    stride: int,
    images: int,
    fold: Fold | None,
) -> None:
    """Of one image, `top_k` takes the chosen kernels alone."""
    monkeypatch.setattr(dynamic_conv, "SMALL", 2**16 if kept_as == "small" else 0)
    conv = layer(stride, backend, top_k=top_k)
    given = torch.rand(images, 3 if fold is None else 2, 5, 7, dtype=torch.float64, requires_grad=True)
    x: Tensor = given
    weight: Tensor = conv.kernels
    squeeze: Tensor = conv.squeeze
    if fold is not None:
        x, weight, squeeze = fold.extend(x), fold.kernel(weight, 2), fold.kernel(squeeze, 1)
    expected = one_image_at_a_time(x, conv.attention(x, squeeze), weight, stride, 1)
    found = conv(x, fold)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    direction = torch.randn_like(expected)
    inputs = [given, *conv.parameters()]
    gradients = torch.autograd.grad(found, inputs, direction)
    for gradient, judge in zip(gradients, torch.autograd.grad(expected, inputs, direction), strict=True):
        torch.testing.assert_close(gradient, judge, rtol=1e-11, atol=1e-11)
        assert judge.any()


def test_fold_sees_the_filled_image() -> None:
    """Attention and kernel by the fold are those of the image that is filled first."""
    fill = ZeroFill(torch.tensor([3.0, 5.0, 7.0]), torch.tensor([2.0, 4.0, 8.0])).double()
    conv, x = layer(), torch.randn(2, 3, 5, 7, dtype=torch.float64)
    fold = fill.fold((2, 0))
    filled = fill(x, torch.tensor([[True, False, True]] * 2))
    torch.testing.assert_close(conv(fold.extend(x[:, [2, 0]]), fold), conv(filled), rtol=1e-12, atol=1e-12)


def test_attention_sums_to_one_and_differs_by_image() -> None:
    attention = layer().attention(torch.randn(2, 3, 5, 7, dtype=torch.float64))
    torch.testing.assert_close(attention.sum(1), torch.ones(2, dtype=torch.float64))
    assert not torch.allclose(attention[0], attention[1], atol=1e-3)


def test_temperature_travels_with_the_weights() -> None:
    hot, cold = layer(temperature=30.0), layer(temperature=0.5)
    x = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    before = hot.attention(x)
    assert before.std() < 0.3 * cold.attention(x).std()
    assert hot.state_dict()["temperature"] == 30
    cold.load_state_dict(hot.state_dict())
    torch.testing.assert_close(cold.attention(x), before)


def test_every_kernel_starts_like_an_ordinary_convolution() -> None:
    torch.manual_seed(0)
    conv = DynamicConv2d(8, 16, kernel_size=3)
    bound = 1 / math.sqrt(8 * 9)
    assert conv.kernels.shape == (4, 16, 8, 3, 3)
    for kernel in conv.kernels:
        assert 0.99 * bound < kernel.abs().max() <= bound
    assert conv.squeeze.abs().max() <= 1 / math.sqrt(8)


@pytest.mark.parametrize(("channels", "hidden"), [(3, 1), (4, 1), (9, 2), (64, 16)])
def test_hidden_width(channels: int, hidden: int) -> None:
    conv = DynamicConv2d(channels, 5, kernel_size=3)
    assert conv.squeeze.shape == (hidden, channels)
    # 4 kernels and the attention's two layers, none with a bias
    assert sum(p.numel() for p in conv.parameters()) == 4 * 5 * channels * 9 + hidden * channels + 4 * hidden


@pytest.mark.parametrize(("maps", "kept_as"), [(64, (4, 64 * 64 * 9)), (128, (4, 128, 64 * 9))])
def test_large_kernels_have_their_channels_innermost(maps: int, kept_as: tuple[int, ...]) -> None:
    """A kernel of one layout has another shape than one of the other, so no weights are read in the wrong order."""
    torch.manual_seed(0)
    conv, x = DynamicConv2d(64, maps, kernel_size=3), torch.randn(2, 64, 4, 4)
    assert conv.weight.shape == kept_as
    assert conv.kernels.shape == (4, maps, 64, 3, 3)
    assert conv.kernels.is_contiguous() == (maps == 64)
    assert conv.kernels.stride(2) == (9 if maps == 64 else 1)
    bound = 1 / math.sqrt(64 * 9)
    assert 0.99 * bound < conv.weight.abs().max() <= bound
    expected = one_image_at_a_time(x, conv.attention(x), conv.kernels, 1, 0)
    torch.testing.assert_close(conv(x), expected, rtol=1e-4, atol=1e-5)


def test_channels_last_is_the_same_function() -> None:
    """PyTorch refuses to move parameters of five axes to channels_last, so the kernels are kept in fewer."""
    conv, x = layer(), torch.randn(2, 3, 5, 7, dtype=torch.float64)
    expected = conv(x)
    moved = conv.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.testing.assert_close(moved(x.to(memory_format=torch.channels_last)), expected, rtol=1e-12, atol=1e-12)


def test_unknown_backend_is_refused() -> None:
    with pytest.raises(
        ConfigError, match="dynamic convolution has no backend 'fast'; it has auto, mix, multiply, each, stacked"
    ):
        DynamicConv2d(3, 6, kernel_size=3, backend="fast")


def macs_of(conv: DynamicConv2d, *shape: int) -> int:
    with FlopCounterMode(display=False) as counter:
        conv(torch.zeros(*shape, dtype=torch.float64))
    return int(counter.get_total_flops()) // 2


def test_softmax_of_largest_by_hand() -> None:
    shares = torch.tensor([[0.1, 0.4, 0.3, 0.2], [0.7, 0.05, 0.15, 0.1]], dtype=torch.float64)
    two = torch.tensor([[0, 4 / 7, 3 / 7, 0], [14 / 17, 0, 3 / 17, 0]], dtype=torch.float64)
    torch.testing.assert_close(softmax_of_largest(shares.log(), 2), two)
    one = torch.tensor([[0.0, 1, 0, 0], [1, 0, 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(softmax_of_largest(shares.log(), 1), one)
    torch.testing.assert_close(softmax_of_largest(shares.log(), 4), shares)


@pytest.mark.parametrize("count", [2, 3, 5, 40])
def test_of_equal_logits_the_first_are_kept(count: int) -> None:
    """However many there are: pruning relies on it."""
    assert softmax_of_largest(torch.zeros(3, count), 2).tolist() == [[0.5, 0.5] + [0.0] * (count - 2)] * 3


def test_top_k_exports_with_a_dynamic_batch() -> None:
    conv, x = layer(backend="each", top_k=2).eval(), torch.randn(3, 3, 5, 7, dtype=torch.float64)
    program = torch.export.export(conv, (x,), dynamic_shapes={"x": {0: torch.export.Dim("batch")}})
    more = torch.randn(4, 3, 5, 7, dtype=torch.float64)
    torch.testing.assert_close(program.module()(more), conv(more))


@pytest.mark.parametrize("top_k", [1, 2, 3, 4])
def test_top_k_keeps_so_many_kernels_of_each_image(top_k: int) -> None:
    conv, x = layer(temperature=0.5, top_k=top_k), 9 * torch.rand(9, 3, 1, 1, dtype=torch.float64).expand(9, 3, 5, 7)
    attention = conv.attention(x)
    assert (attention > 0).sum(1).tolist() == [top_k] * 9
    torch.testing.assert_close(attention.sum(1), torch.ones(9, dtype=torch.float64))
    assert (len((attention > 0).unique(dim=0)) > 1) == (top_k < 4)  # images differ in theirs
    conv.top_k = None
    assert torch.equal(attention > 0, conv.attention(x) >= conv.attention(x).sort(1).values[:, [4 - top_k]])
    if top_k == 4:
        torch.testing.assert_close(attention, conv.attention(x), rtol=1e-14, atol=0)


@pytest.mark.parametrize("backend", CHOICES)
def test_one_image_is_what_it_is_in_a_batch(backend: str) -> None:
    conv = layer(backend=backend, temperature=0.5, top_k=2)
    x = 9 * torch.rand(9, 3, 1, 1, dtype=torch.float64) + torch.rand(9, 3, 5, 7, dtype=torch.float64)
    order = conv.attention(x).topk(2, 1).indices.diff()
    assert (order > 0).any()  # this test needs images whose second kernel comes after the first,
    assert (order < 0).any()  # and others whose second comes before it
    alone = torch.cat([conv(x[number : number + 1]) for number in range(9)])
    torch.testing.assert_close(alone, conv(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backend", CHOICES)
def test_one_image_never_touches_other_kernels(backend: str) -> None:
    conv, x = layer(backend=backend, top_k=2), torch.randn(1, 3, 5, 7, dtype=torch.float64)
    expected = conv(x)
    with torch.no_grad():
        conv.weight[conv.attention(x)[0] == 0] = torch.nan
    torch.testing.assert_close(conv(x), expected, rtol=0, atol=0)


@pytest.mark.parametrize("top_k", [None, 1, 2])
def test_macs_of_one_image_by_formula(top_k: int | None) -> None:
    """The attention, then the kernels that count: a convolution each, or one after mixing them."""
    attention, convolution, kernel = 3 * 3 + 3 * 4, 6 * 3 * 9 * 5 * 7, 6 * 3 * 9
    count = top_k or 4
    assert macs_of(layer(backend="each", top_k=top_k), 1, 3, 5, 7) == attention + count * convolution
    assert macs_of(layer(backend="mix", top_k=top_k), 1, 3, 5, 7) == attention + count * kernel + convolution


def test_choice_of_a_single_kernel_gets_no_gradient() -> None:
    conv, x = layer(top_k=1), torch.randn(2, 3, 5, 7, dtype=torch.float64)
    squeeze, excite, weight = torch.autograd.grad(conv(x).square().sum(), [conv.squeeze, conv.excite, conv.weight])
    assert max(float(squeeze.abs().max()), float(excite.abs().max())) < 1e-12 * float(weight.abs().max())


@pytest.mark.parametrize("top_k", [0, 5])
def test_other_numbers_of_kept_kernels_are_refused(top_k: int) -> None:
    with pytest.raises(ConfigError, match=f"top_k is {top_k}, but a layer of 4 kernels keeps 1 to 4"):
        layer(top_k=top_k)


def test_print_shows_the_sizes() -> None:
    assert repr(layer(stride=2)) == "DynamicConv2d(3, 6, kernel_size=3, stride=2, num_kernels=4)"
    assert repr(layer(top_k=3)) == "DynamicConv2d(3, 6, kernel_size=3, stride=1, num_kernels=4, top_k=3)"


@pytest.mark.parametrize("count", [0, 1.5, True])
def test_numbers_of_kernels_are_whole(count: Any) -> None:
    with pytest.raises(ConfigError, match=f"num_kernels is {count}, but a dynamic convolution has 1 kernel or more"):
        DynamicConv2d(3, 4, kernel_size=3, num_kernels=count)
    with pytest.raises(ConfigError, match=f"top_k is {count}, but a layer of 4 kernels keeps 1 to 4"):
        DynamicConv2d(3, 4, kernel_size=3, top_k=count)
