import re

import pytest
import torch
from torch import nn

from anychan.errors import ConfigError
from anychan.models.base import AnyChannelModel
from anychan.models.catalog import create_model
from anychan.models.resnet import DYNAMIC_LAYERS, BasicBlock, ResNetBody, plain_conv
from anychan.nn.drop_block import DropBlock2d
from anychan.nn.dynamic_conv import DynamicConv2d
from anychan.profiling.macs import profile
from tests.builders import build_model, conv_macs, raw_images


def on_meta(name: str, num_classes: int, **options: object) -> AnyChannelModel:
    with torch.device("meta"):
        return create_model(name, num_classes=num_classes, options=options)


@pytest.mark.parametrize(("stride", "size"), [(1, (5, 7)), (2, (3, 4)), (3, (2, 3))])
def test_block_rounds_odd_sizes_up(stride: int, size: tuple[int, int]) -> None:
    block = BasicBlock(plain_conv, 6, 8, stride=stride)
    assert block(torch.randn(2, 6, 5, 7)).shape == (2, 8, *size)


def test_block_is_relu_of_main_path_plus_shortcut() -> None:
    block = BasicBlock(plain_conv, 6, 6).eval()
    x = torch.randn(2, 6, 5, 7)
    nn.init.zeros_(block.bn2.weight)
    torch.testing.assert_close(block(x), x.relu())  # nothing but the shortcut is left
    nn.init.constant_(block.bn2.bias, -1.0)
    torch.testing.assert_close(block(x), (x - 1).relu())


@pytest.mark.parametrize(("out_channels", "stride", "projects"), [(6, 1, False), (8, 1, True), (6, 2, True)])
def test_shortcut_projects_only_where_shape_changes(out_channels: int, stride: int, projects: bool) -> None:
    block = BasicBlock(plain_conv, 6, out_channels, stride=stride)
    assert isinstance(block.downsample, nn.Sequential) == projects
    assert isinstance(block.downsample, nn.Identity) != projects


def test_body_stages() -> None:
    body = ResNetBody(plain_conv, entry=4, widths=(6, 8), blocks=(2, 3), strides=(1, 2), pool=nn.MaxPool2d(2))
    assert [len(stage) for stage in body.stages] == [2, 3]  # type: ignore[arg-type]
    assert body(torch.randn(2, 4, 10, 14)).shape == (2, 8, 3, 4)  # pooled to 5x7


@pytest.mark.parametrize(
    ("name", "entry", "shape"),
    [
        ("resnet18", "7x7", (512, 2, 3)),
        ("resnet18", "3x3s2", (512, 3, 5)),
        ("resnet18", "3x3", (512, 5, 9)),
        ("resnet34", "7x7", (512, 2, 3)),
        ("resnet34", "3x3s2", (512, 3, 5)),
    ],
)
def test_entry_sets_the_size_of_the_features(name: str, entry: str, shape: tuple[int, ...]) -> None:
    model = build_model(name, entry=entry)
    assert model.forward_features(raw_images(2, 37, 70)).shape == (2, *shape)


def test_resnet8_features() -> None:
    assert build_model("resnet8").forward_features(raw_images(2, 17, 31)).shape == (2, 128, 3, 4)


def test_other_entries_are_refused() -> None:
    message = "option 'entry' is '5x5', but a ResNet's first layer is '7x7', '3x3s2' or '3x3'"
    with pytest.raises(ConfigError, match=re.escape(message)):
        create_model("resnet34", num_classes=5, options={"entry": "5x5"})


@pytest.mark.parametrize("name", ["resnet18", "resnet34"])
def test_the_rest_of_the_network_is_the_same_whatever_the_entry(name: str) -> None:
    kernels = {"7x7": 7, "3x3s2": 3, "3x3": 3}
    models = {entry: on_meta(name, 50, entry=entry) for entry in kernels}
    shapes = [{key: value.shape for key, value in model.state_dict().items()} for model in models.values()]
    assert [rest.pop("stem.conv.weight") for rest in shapes] == [(64, 3, size, size) for size in kernels.values()]
    assert shapes[0] == shapes[1] == shapes[2]
    pools = [isinstance(model.get_submodule("body.maxpool"), nn.MaxPool2d) for model in models.values()]
    assert pools == [True, False, False]


@pytest.mark.parametrize("name", ["resnet18", "resnet34"])
def test_drops_come_after_pooling_and_the_last_two_stages(name: str) -> None:
    plain, model = on_meta(name, 50), on_meta(name, 50, dropout=0.3, drop_block=0.2)
    head = [type(part).__name__ for part in model.head.children()]
    assert head == ["AdaptiveAvgPool2d", "Flatten", "Dropout", "Linear"]
    stages = model.get_submodule("body.stages")
    last = [list(stage.children())[-1] for stage in stages.children()]
    assert [type(part).__name__ for part in last] == ["BasicBlock", "BasicBlock", "DropBlock2d", "DropBlock2d"]
    found = [module for module in model.modules() if isinstance(module, DropBlock2d)]
    assert [(module.probability, module.block_size) for module in found] == [(0.2, 3)] * 2
    assert [module.p for module in model.modules() if isinstance(module, nn.Dropout)] == [0.3]
    body = [key for key in plain.state_dict() if not key.startswith("head.")]
    assert [key for key in model.state_dict() if not key.startswith("head.")] == body  # weights keep their names


@pytest.mark.parametrize("option", ["dropout", "drop_block"])
def test_drops_are_for_training_alone(option: str) -> None:
    plain, x = build_model("resnet18"), raw_images(2, 33, 45)
    model = build_model("resnet18", None, **{option: 0.2})
    torch.testing.assert_close(model(x), plain(x), rtol=0, atol=0)  # the same seed gave the same weights
    logits = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        logits.append(model.train()(x))
    torch.testing.assert_close(logits[0], logits[1], rtol=0, atol=0)
    assert not torch.allclose(logits[0], logits[2])


@pytest.mark.parametrize("name", ["resnet18", "resnet34"])
def test_other_shares_are_refused(name: str) -> None:
    for option in ("dropout", "drop_block"):
        with pytest.raises(ConfigError, match=f"^{name}'s {option} is a share from 0 and below 1, not 1$"):
            create_model(name, num_classes=5, options={option: 1})


def test_other_backends_are_refused() -> None:
    with pytest.raises(
        ConfigError, match="dynamic convolution has no backend 'fast'; it has auto, mix, multiply, each"
    ):
        create_model("dynamic_resnet12", num_classes=5, options={"backend": "fast"})


def test_first_weights_are_torchvisions() -> None:
    """Normal, with the variance 2 / fan_out, and no bias."""
    conv = plain_conv(64, 128, kernel_size=3)
    assert conv.bias is None
    assert conv.weight.std().item() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)
    normal = (conv.weight.abs() < conv.weight.std()).float().mean().item()
    assert normal == pytest.approx(0.683, abs=0.01)  # 0.577 for a uniform distribution


def test_resnet34_parameters_and_macs_by_formula() -> None:
    """At 224x224 and 50 classes: stages at 56, 28, 14 and 7 pixels."""
    model = on_meta("resnet34", 50)
    params = 3 * 64 * 49 + 2 * 64  # first layer and its batch norm
    macs, before = conv_macs(3, 64, 7, 112, 112), 64
    for width, blocks, size in ((64, 3, 56), (128, 4, 28), (256, 6, 14), (512, 3, 7)):
        params += 9 * (before * width + (2 * blocks - 1) * width**2) + 2 * blocks * 2 * width
        macs += conv_macs(before, width, 3, size, size) + (2 * blocks - 1) * conv_macs(width, width, 3, size, size)
        if before != width:
            params += before * width + 2 * width
            macs += conv_macs(before, width, 1, size, size)
        before = width
    found = profile(model, (1, 3, 224, 224))
    assert (found.params, found.macs) == (params + 513 * 50, macs + 512 * 50)


def dynamic_shapes() -> list[tuple[int, int, int, int, int]]:
    """DynamicResNet12's convolutions at 84x84: maps in and out, kernel size, output size, input size."""
    shapes, before, size = [(3, 64, 3, 84, 84)], 64, 42
    for width in (64, 128, 256):
        smaller = -(-size // 2)
        shapes += [(before, width, 3, smaller, size), (width, width, 3, smaller, smaller)]
        shapes += [(before, width, 1, smaller, size)]
        shapes += [(width, width, 3, smaller, smaller)] * 4
        before, size = width, smaller
    return shapes


@pytest.mark.parametrize("backend", ["each", "mix"])
def test_dynamic_resnet12_macs_by_formula(backend: str) -> None:
    macs = 256 * 100
    for maps_in, maps_out, kernel, size, _ in dynamic_shapes():
        hidden = max(maps_in // 4, 1)
        macs += maps_in * hidden + hidden * 4  # the attention
        convolution = conv_macs(maps_in, maps_out, kernel, size, size)
        mixing = 4 * maps_in * maps_out * kernel**2
        macs += 4 * convolution if backend == "each" else convolution + mixing
    assert profile(on_meta("dynamic_resnet12", 100, backend=backend), (1, 3, 84, 84)).macs == macs


def dynamic_layers(model: AnyChannelModel) -> dict[str, DynamicConv2d]:
    return {name: module for name, module in model.named_modules() if isinstance(module, DynamicConv2d)}


def test_dynamic_resnet12_has_no_plain_convolution() -> None:
    model = on_meta("dynamic_resnet12", 100)
    assert not [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    dynamic = dynamic_layers(model)
    assert len(dynamic) == len(dynamic_shapes()) == DYNAMIC_LAYERS
    assert len([name for name in dynamic if "downsample" not in name]) == 19
    assert {(layer.top_k, layer.backend) for layer in dynamic.values()} == {(None, "auto")}


def test_dynamic_resnet12_takes_numbers_of_kernels() -> None:
    """One for all layers, or one for each in their order; layers with fewer kernels than `top_k` keep all of them."""
    each = [1 + number % 5 for number in range(DYNAMIC_LAYERS)]
    for num_kernels, expected in ((3, [3] * DYNAMIC_LAYERS), (each, each)):
        layers = dynamic_layers(on_meta("dynamic_resnet12", 50, num_kernels=num_kernels, top_k=2)).values()
        assert [layer.kernel_shape[0] for layer in layers] == expected
        assert [layer.top_k for layer in layers] == [min(2, count) for count in expected]
        for layer, (maps_in, maps_out, kernel, *_) in zip(layers, dynamic_shapes(), strict=True):
            assert layer.kernel_shape[1:] == (maps_out, maps_in, kernel, kernel)


@pytest.mark.parametrize("top_k", [1, 2])
def test_dynamic_resnet12_parameters_and_macs_by_kernels(top_k: int) -> None:
    """Parameters follow the kernels that are there; MACs of one image, those that are kept."""
    counts = [1 + number % 4 for number in range(DYNAMIC_LAYERS)]
    params, macs = 257 * 100 + 2 * 64, 256 * 100  # the head, and the first batch norm
    for count, (maps_in, maps_out, kernel, size, _) in zip(counts, dynamic_shapes(), strict=True):
        hidden = max(maps_in // 4, 1)
        params += maps_in * hidden + hidden * count + count * maps_in * maps_out * kernel**2
        params += 2 * maps_out * (maps_in != 3)
        macs += maps_in * hidden + hidden * count
        macs += min(top_k, count) * conv_macs(maps_in, maps_out, kernel, size, size)
    model = on_meta("dynamic_resnet12", 100, num_kernels=counts, top_k=top_k, backend="each")
    found = profile(model, (1, 3, 84, 84))
    assert (found.params, found.macs) == (params, macs)


def test_other_numbers_of_kernels_are_refused() -> None:
    for num_kernels, count in (([4] * 21, 21), ([], 0)):
        with pytest.raises(ConfigError, match=f"num_kernels has {count} numbers, but dynamic_resnet12 has 22 layers"):
            create_model("dynamic_resnet12", num_classes=5, options={"num_kernels": num_kernels})
    for top_k in (0, 9, 1.5):
        with pytest.raises(ConfigError, match=f"top_k is {top_k}, but dynamic_resnet12 keeps 1 to 4 kernels here"):
            create_model("dynamic_resnet12", num_classes=5, options={"top_k": top_k})
    for kernels in (0, 2.0):
        with pytest.raises(ConfigError, match=f"num_kernels is {kernels}, but a dynamic convolution has 1 kernel or"):
            create_model("dynamic_resnet12", num_classes=5, options={"num_kernels": kernels})


def test_dynamic_resnet12_backends_are_one_function() -> None:
    mix, each = (build_model("dynamic_resnet12", backend=backend) for backend in ("mix", "each"))
    x = raw_images(2, 5, 7)
    torch.testing.assert_close(mix(x), each(x), rtol=1e-9, atol=1e-10)
