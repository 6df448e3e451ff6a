import math

import pytest
import torch
from torch import nn

from anychan.errors import ConfigError
from anychan.nn.squeeze_excite import SqueezeExcite


def test_gate_by_hand() -> None:
    layer = SqueezeExcite(2, reduction=2)
    with torch.no_grad():
        layer.squeeze.weight.copy_(torch.tensor([[1.0, -2.0]]))
        layer.squeeze.bias.copy_(torch.tensor([0.5]))
        layer.excite.weight.copy_(torch.tensor([[2.0], [-1.0]]))
        layer.excite.bias.copy_(torch.tensor([-3.0, 0.0]))
    x = torch.tensor([[[[1.0, 5.0]], [[0.0, 2.0]]]])  # means 3 and 1, so the hidden unit is 3 - 2 + 0.5 = 1.5
    gates = 1 / (1 + math.exp(-0.0)), 1 / (1 + math.exp(1.5))  # 2 · 1.5 - 3 = 0 and -1.5
    expected = torch.tensor([[[[gates[0], 5 * gates[0]]], [[0.0, 2 * gates[1]]]]])
    torch.testing.assert_close(layer(x), expected)


def test_negative_hidden_units_are_cut() -> None:
    layer = SqueezeExcite(32)
    with torch.no_grad():
        layer.squeeze.bias.fill_(-1e6)
        layer.excite.bias.zero_()
    x = torch.randn(2, 32, 5, 7)
    torch.testing.assert_close(layer(x), 0.5 * x)


def test_each_image_and_map_has_its_own_gate() -> None:
    layer = SqueezeExcite(32)
    x = torch.randn(2, 32, 5, 7)
    gates = layer(x) / x  # (N, C, H, W)
    torch.testing.assert_close(gates, gates[:, :, :1, :1].expand_as(gates))
    assert gates[:, :, 0, 0].unique().numel() == 64
    torch.testing.assert_close(layer(x[1:]), layer(x)[1:])


def test_parameters_by_formula() -> None:
    # 64 → 4 → 64 with biases
    assert sum(p.numel() for p in SqueezeExcite(64).parameters()) == 64 * 4 + 4 + 4 * 64 + 64


def test_convolutions_are_the_same_function() -> None:
    """Values and gradients of both ways to write the layers, in float64."""
    linear, conv = SqueezeExcite(32).double(), SqueezeExcite(32, as_conv=True).double()
    conv.load_state_dict(
        {name: value[..., None, None] if value.ndim == 2 else value for name, value in linear.state_dict().items()}
    )
    x = torch.randn(2, 32, 5, 7, dtype=torch.float64, requires_grad=True)
    direction = torch.randn_like(x)
    torch.testing.assert_close(conv(x), linear(x), rtol=1e-14, atol=1e-14)
    found, expected = (torch.autograd.grad(layer(x), [x, *layer.parameters()], direction) for layer in (conv, linear))
    for gradient, judge in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient.view_as(judge), judge, rtol=1e-12, atol=1e-13)
        assert judge.any()


def test_convolutions_start_from_the_same_weights() -> None:
    weights = []
    for as_conv in (False, True):
        torch.manual_seed(5)
        layer = SqueezeExcite(32, as_conv=as_conv)
        assert all(isinstance(part, nn.Conv2d) == as_conv for part in layer.children())
        weights.append({name: value.flatten() for name, value in layer.state_dict().items()})
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)


@pytest.mark.parametrize(("channels", "reduction"), [(8, 16), (8, 0)])
def test_a_gate_without_hidden_units_is_refused(channels: int, reduction: int) -> None:
    text = f"squeeze-and-excitation of 8 channels takes a reduction of 1 to 8, not {reduction}"
    with pytest.raises(ConfigError, match=text):
        SqueezeExcite(channels, reduction=reduction)
