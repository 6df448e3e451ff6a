import pytest
import torch
from torch import nn

from anychan.models.base import AnyChannelModel
from anychan.models.catalog import create_model
from anychan.nn.squeeze_excite import SqueezeExcite
from anychan.profiling.macs import profile
from tests.builders import build_model, conv_macs, raw_images


def on_meta(name: str) -> AnyChannelModel:
    with torch.device("meta"):
        return create_model(name, num_classes=50)


def test_baseline_by_formula() -> None:
    found = profile(on_meta("baseline_cnn"), (1, 3, 32, 32))
    assert found.params == (27 + 1) * 32 + 2 * 32 + (9 * 32 + 1) * 64 + 2 * 64 + 65 * 50
    assert found.macs == conv_macs(3, 32, 3, 32, 32) + conv_macs(32, 64, 3, 16, 16) + 64 * 50


@pytest.mark.parametrize(("name", "gated"), [("simple_2layer_cnn", 0), ("se_2layer_cnn", 1)])
def test_two_layers_by_formula(name: str, gated: int) -> None:
    """224 pixels become 56 after the first layer, 28 after pooling and 8 after the second."""
    found = profile(on_meta(name), (1, 3, 224, 224))
    gates = (64 * 4 * 2, 128 * 8 * 2)
    params = (3 * 49 + 1) * 64 + 2 * 64 + (64 * 25 + 1) * 128 + 2 * 128 + 129 * 128 + 129 * 50
    assert found.params == params + gated * (sum(gates) + 4 + 64 + 8 + 128)
    macs = conv_macs(3, 64, 7, 56, 56) + conv_macs(64, 128, 5, 8, 8) + 128 * 128 + 128 * 50
    assert found.macs == macs + gated * sum(gates)


def test_four_layers_by_formula() -> None:
    """224 → 224, pooled 112 → 28, pooled 14 → 4 → 2 pixels."""
    found = profile(on_meta("simple_4layer_cnn"), (1, 3, 224, 224))
    macs = conv_macs(3, 32, 7, 224, 224) + conv_macs(32, 64, 5, 28, 28)
    macs += conv_macs(64, 128, 3, 4, 4) + conv_macs(128, 128, 3, 2, 2) + 128 * 128 + 128 * 50
    assert found.macs == macs


def test_only_the_gated_network_has_gates() -> None:
    for name, count in (("simple_2layer_cnn", 0), ("se_2layer_cnn", 2)):
        gates = [module for module in on_meta(name).modules() if isinstance(module, SqueezeExcite)]
        assert len(gates) == count


def test_gates_stand_before_pooling_and_last() -> None:
    layers = [type(layer) for layer in on_meta("se_2layer_cnn").body.children()]
    assert layers[:4] == [nn.BatchNorm2d, nn.ReLU, SqueezeExcite, nn.MaxPool2d]
    assert layers[-2:] == [nn.ReLU, SqueezeExcite]


def test_baseline_puts_relu_before_batch_norm() -> None:
    layers = [type(layer) for layer in on_meta("baseline_cnn").body.children()]
    assert layers == [nn.ReLU, nn.BatchNorm2d, nn.MaxPool2d, nn.Conv2d, nn.ReLU, nn.BatchNorm2d]


@pytest.mark.parametrize(
    ("name", "size", "shape"),
    [
        ("baseline_cnn", (5, 8), (64, 2, 4)),
        ("simple_2layer_cnn", (37, 50), (128, 1, 1)),
        ("se_2layer_cnn", (64, 85), (128, 2, 3)),
        ("simple_4layer_cnn", (10, 75), (128, 1, 1)),
        ("simple_4layer_cnn", (224, 64), (128, 2, 1)),
    ],
)
def test_features(name: str, size: tuple[int, int], shape: tuple[int, ...]) -> None:
    assert build_model(name).forward_features(raw_images(2, *size)).shape == (2, *shape)
