import pytest
import torch
from torch import nn
from torch.nn import functional

from anychan.errors import ConfigError
from anychan.models.catalog import create_model
from anychan.models.shallow import SHALLOW, AfterConv, MeanMaxPool
from anychan.nn.local_gate import LocalGate
from anychan.profiling.depth import effective_depth
from anychan.profiling.macs import profile
from tests.builders import raw_images


def test_a_layer_keeps_the_largest_response_of_each_window() -> None:
    layer = AfterConv(16, stride=2, local_gate=False).eval()
    x = torch.randn(2, 16, 7, 8)
    pooled = functional.max_pool2d(x, 3, 2, 1)
    torch.testing.assert_close(layer(x), layer.gate((pooled / (1 + layer.bn.eps) ** 0.5).relu()))
    assert layer(x).shape == (2, 16, 4, 4)


@pytest.mark.parametrize("stride", [2, 3, 4])
def test_maps_shrink_by_the_stride_rounded_up(stride: int) -> None:
    layer = AfterConv(16, stride=stride, local_gate=False).eval()
    for size in (1, 6, 7, 8, 9):
        assert layer(torch.randn(1, 16, size, size + 1)).shape == (1, 16, -(-size // stride), -(-(size + 1) // stride))


def test_a_stride_of_one_pools_nothing() -> None:
    layer = AfterConv(16, stride=1, local_gate=True).eval()
    assert isinstance(layer.pool, torch.nn.Identity)
    assert isinstance(layer.local_gate, LocalGate)
    assert layer(torch.randn(2, 16, 5, 6)).shape == (2, 16, 5, 6)


@pytest.mark.parametrize(
    ("options", "features_with_gates"),
    [({}, 12), ({"squeeze_excite": False}, 4), ({"squeeze_excite": False, "local_gate": True}, 12)],
)
def test_each_kind_of_gate_can_be_left_out(options: dict[str, bool], features_with_gates: int) -> None:
    model = create_model("shallow4_s", num_classes=5, options={"widths": [16] * 4, **options})
    found = effective_depth(model.eval(), (1, 3, 32, 32))
    assert (found.features, found.features_with_gates, found.classifier) == (4, features_with_gates, 1)


def test_branches_are_one_convolution_once_frozen() -> None:
    options = {"widths": [16] * 4, "kernels": [5, 3, 5, 1], "branches": True}
    torch.manual_seed(0)
    model = create_model("shallow4_s", num_classes=5, options=options)
    for _ in range(3):
        model(raw_images(8, 32, 32))  # statistics and, by them, scales that differ from branch to branch
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 2)
        nn.init.normal_(norm.bias)
    model.eval()
    assert sum(isinstance(module, nn.Conv2d) for module in model.body[1].modules()) == 4  # type: ignore[index]
    frozen = model.for_channels(["R", "G", "B"])
    kernels = [module.kernel_size for module in frozen.modules() if isinstance(module, nn.Conv2d)]
    assert [kernel for kernel in kernels if kernel != (1, 1)] == [(5, 5), (3, 3), (5, 5)]
    assert len(kernels) == 4 + 4 * 2  # the layers' and the gates'
    images = raw_images(4, 33, 30)
    torch.testing.assert_close(frozen(images), model(images), rtol=1e-4, atol=1e-4)
    assert effective_depth(model, (1, 3, 32, 32)).features == 4


def test_mean_and_maximum() -> None:
    x = torch.arange(24.0).view(1, 2, 3, 4)
    assert MeanMaxPool()(x).tolist() == [[5.5, 17.5, 11.0, 23.0]]


@pytest.mark.parametrize("shrink", ["max", "stride"])
def test_both_ways_to_shrink_give_maps_of_one_size(shrink: str) -> None:
    model = create_model("shallow4_s", num_classes=5, options={"shrink": shrink, "widths": [16, 16, 32, 32]}).eval()
    assert model.forward_features(raw_images(1, 32, 40)).shape == (1, 32, 2, 3)


def test_max_pooling_costs_four_times_the_macs_of_strides() -> None:
    options = {"widths": [16] * 4, "kernels": [3] * 4}
    with torch.device("meta"):
        models = [
            create_model("shallow4_s", num_classes=5, options={**options, "shrink": s}) for s in ("max", "stride")
        ]
    most, least = (profile(model, (1, 3, 64, 64)).macs for model in models)
    gates = sum(2 * 16 * 1 for _ in range(4)) + 16 * 5
    assert most - gates == 4 * (least - gates)


@pytest.mark.parametrize("name", SHALLOW)
def test_at_most_as_many_macs_as_resnet34(name: str) -> None:
    with torch.device("meta"):
        ours, theirs = (
            create_model(name, num_classes=10),
            create_model("resnet34", num_classes=10, options={"entry": "3x3"}),
        )
    assert profile(ours, (1, 3, 32, 32)).macs < profile(theirs, (1, 3, 32, 32)).macs


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"widths": [16, 16]}, "kernels is a list of whole numbers from 1, one a layer, not (5, 3, 3, 3)"),
        ({"widths": [16, 16, 16, 8]}, "widths is a list of whole numbers from 16, one a layer, not [16, 16, 16, 8]"),
        ({"widths": 16}, "widths is a list of whole numbers from 16, one a layer, not 16"),
        ({"kernels": [3, 3, 3, 4]}, "kernels have odd sizes, not [3, 3, 3, 4]"),
        ({"strides": [2, 2, 2, 0]}, "strides is a list of whole numbers from 1, one a layer, not [2, 2, 2, 0]"),
        ({"shrink": "mean"}, "shrink is 'max' or 'stride', not 'mean'"),
        ({"head": "max"}, "head is 'mean' or 'mean_max', not 'max'"),
        ({"dropout": 1}, "dropout is a share from 0 and below 1, not 1"),
    ],
)
def test_options_that_cannot_be(options: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        create_model("shallow4_s", num_classes=5, options=options)
    assert str(caught.value) == f"a shallow network's {text}"


def test_dropping_is_for_training_alone() -> None:
    torch.manual_seed(0)
    model = create_model("shallow4_s", num_classes=5, options={"widths": [16] * 4, "dropout": 0.5, "drop_block": 0.3})
    x = raw_images(4, 32, 32)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))
