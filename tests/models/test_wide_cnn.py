import re

import pytest
import torch
from torch import nn
from torch.nn import functional

from anychan.errors import ConfigError
from anychan.models.catalog import create_model
from anychan.models.wide_cnn import ConvBlock, FirstConvBlock
from anychan.nn.drop_block import DropBlock2d
from anychan.nn.squeeze_excite import SqueezeExcite
from anychan.profiling.macs import profile
from tests.builders import build_model, conv_macs, raw_images


@pytest.mark.parametrize("training", [True, False])
def test_first_block_equals_two_batch_norms(training: bool) -> None:
    block = FirstConvBlock(3).double().train(training)
    parts = [nn.BatchNorm2d(3).double().train(training) for _ in range(2)]
    for part in parts:
        for value in (part.weight, part.bias, part.running_mean, part.running_var):
            assert value is not None
            nn.init.uniform_(value, 0.5, 2)
    stacked = zip(*(part.state_dict().values() for part in parts), strict=True)
    both = [torch.cat(pair) if pair[0].ndim else pair[0] for pair in stacked]
    block.bn.load_state_dict(dict(zip(block.bn.state_dict(), both, strict=True)))
    x = torch.randn(2, 6, 5, 7, dtype=torch.float64, requires_grad=True)
    expected = (parts[0](x[:, :3]) + parts[1](x[:, 3:])).relu()
    found = block(x)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert 0 < int((expected == 0).sum()) < expected.numel()
    for name in ("running_mean", "running_var"):
        moved = torch.cat([getattr(part, name) for part in parts])
        torch.testing.assert_close(getattr(block.bn, name), moved, rtol=1e-12, atol=1e-12)
    direction = torch.randn_like(expected)
    gradients = [torch.autograd.grad(y, x, direction) for y in (found, expected)]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-11, atol=1e-11)


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


@pytest.mark.parametrize(
    ("width", "strides", "sizes"),
    [
        (256, (2, 2, 2, 2), (42, 21, 11, 6)),
        (32, (2, 2, 2, 2), (42, 21, 11, 6)),
        (256, (1, 2, 2, 2), (84, 42, 21, 11)),
        (32, (2, 1, 2, 3), (42, 42, 21, 7)),
    ],
)
@pytest.mark.parametrize("gate", ["linear", "conv"])
def test_parameters_and_macs_by_formula(
    gate: str, width: int, strides: tuple[int, ...], sizes: tuple[int, ...]
) -> None:
    """At 84 pixels; the first block's shortcut reads every channel too. Strides leave the parameters as they are."""
    with torch.device("meta"):
        options = {"width": width, "strides": strides, "gate": gate}
        model = create_model("wide_cnn4", num_classes=100, options=options)
    hidden = width // 16
    gates = 4 * (2 * width * hidden + hidden + width)
    params = 3 * width * (49 + 1) + 3 * width**2 * (9 + 1) + 4 * 4 * width + gates + 101 * width - width + 100
    macs = conv_macs(3, width, 7, sizes[0], sizes[0]) + conv_macs(3, width, 1, sizes[0], sizes[0])
    for size in sizes[1:]:
        macs += conv_macs(width, width, 3, size, size) + conv_macs(width, width, 1, size, size)
    macs += 4 * 2 * width * hidden + width * 100
    found = profile(model, (1, 3, 84, 84))
    assert (found.params, found.macs) == (params, macs)


@pytest.mark.parametrize(
    ("strides", "size"),
    [((2, 2, 2, 2), (6, 3)), ((1, 2, 2, 2), (11, 5)), ((1, 1, 1, 1), (84, 33)), ((3, 1, 2, 1), (14, 6))],
)
def test_features(strides: tuple[int, ...], size: tuple[int, int]) -> None:
    model = build_model("wide_cnn4", width=32, strides=strides)
    assert model.forward_features(raw_images(2, 84, 33)).shape == (2, 32, *size)


def test_gates_by_convolution_give_the_same_logits() -> None:
    linear, conv = (build_model("wide_cnn4", width=32, gate=gate) for gate in ("linear", "conv"))
    for model, kind in ((linear, nn.Linear), (conv, nn.Conv2d)):
        gates = [module for module in model.modules() if isinstance(module, SqueezeExcite)]
        assert [type(part) for gate in gates for part in gate.children()] == [kind] * 8
    weights, shapes = linear.state_dict(), conv.state_dict()
    conv.load_state_dict({name: value.view_as(shapes[name]) for name, value in weights.items()})
    x = raw_images(2, 37, 21)
    torch.testing.assert_close(conv(x), linear(x), rtol=1e-12, atol=1e-12)


def kinds(model: nn.Module) -> list[str]:
    return [type(module).__name__ for module in model]  # type: ignore[attr-defined]


def test_dropout_comes_after_pooling() -> None:
    plain = build_model("wide_cnn4", width=32)
    assert kinds(plain.head) == ["AdaptiveAvgPool2d", "Flatten", "Linear"]
    model = build_model("wide_cnn4", width=32, dropout=0.3)
    assert kinds(model.head) == ["AdaptiveAvgPool2d", "Flatten", "Dropout", "Linear"]
    assert [module.p for module in model.modules() if isinstance(module, nn.Dropout)] == [0.3]


def test_drop_block_comes_after_the_last_two_layers() -> None:
    plain = ["FirstConvBlock", "SqueezeExcite", *["ConvBlock", "SqueezeExcite"] * 3]
    assert kinds(build_model("wide_cnn4", width=32).body) == plain
    model = build_model("wide_cnn4", width=32, drop_block=0.2)
    assert kinds(model.body) == [*plain[:6], "DropBlock2d", *plain[6:], "DropBlock2d"]
    found = [module for module in model.modules() if isinstance(module, DropBlock2d)]
    assert [(module.probability, module.block_size) for module in found] == [(0.2, 3)] * 2


@pytest.mark.parametrize("option", ["dropout", "drop_block"])
def test_drops_are_for_training_alone(option: str) -> None:
    plain, x = build_model("wide_cnn4", width=32), raw_images(2, 84, 33)
    model = build_model("wide_cnn4", None, width=32, **{option: 0.2})
    torch.testing.assert_close(model(x), plain(x), rtol=0, atol=0)  # the same seed gave the same weights
    logits = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        logits.append(model.train()(x))
    torch.testing.assert_close(logits[0], logits[1], rtol=0, atol=0)
    assert not torch.allclose(logits[0], logits[2])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"strides": [2, 2, 2]}, "wide_cnn4 has 4 strides, whole numbers from 1, not [2, 2, 2]"),
        ({"strides": [0, 2, 2, 2]}, "wide_cnn4 has 4 strides, whole numbers from 1, not [0, 2, 2, 2]"),
        ({"strides": "2222"}, "wide_cnn4 has 4 strides, whole numbers from 1, not '2222'"),
        ({"gate": "mlp"}, "wide_cnn4 has a gate of 'linear' or 'conv', not 'mlp'"),
        ({"drop_block": 1.0}, "wide_cnn4's drop_block is a share from 0 and below 1, not 1.0"),
        ({"dropout": 1.5}, "wide_cnn4's dropout is a share from 0 and below 1, not 1.5"),
        ({"dropout": "a"}, "wide_cnn4's dropout is a share from 0 and below 1, not 'a'"),
        ({"strides": 2}, "wide_cnn4 has 4 strides, whole numbers from 1, not 2"),
        ({"width": 0}, "wide_cnn4 has a width of 16 maps or more, for its gates' sake, not 0"),
    ],
)
def test_other_options_are_refused(options: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(text)):
        create_model("wide_cnn4", num_classes=5, options=options)
