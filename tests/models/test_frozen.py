"""Frozen plain copies: of every network of the catalogue, and of every stem."""

import pickle
import re

import pytest
import torch
from torch import nn

from anychan.channels import Channel, ChannelSet
from anychan.encoding import Encoding
from anychan.errors import ChannelError, InputShapeError
from anychan.models.adapt import adapt
from anychan.models.base import AnyChannelModel
from anychan.models.catalog import CATALOG, create_model
from anychan.models.measure import measure_subsets
from anychan.nn.dynamic_conv import DynamicConv2d
from anychan.presets import RGB
from tests.backbones import TIMM, TORCHVISION, OwnCNN, OwnViT, TwoNames, needs_libraries
from tests.builders import build_model, raw_images, subsets
from tests.models.test_catalog import images, stems_of


def check(model: AnyChannelModel, x: torch.Tensor, index: tuple[int, ...]) -> nn.Module:
    names = [model.channels[position].name for position in index]
    plain, given = model.for_channels(names), x[:, list(index)]
    expected = model.select(names)(given)
    assert expected.std() > 0
    torch.testing.assert_close(plain(given), expected, rtol=1e-9, atol=1e-10)
    return plain


@pytest.mark.parametrize("name", CATALOG)
def test_copy_is_the_selection_for_every_network(name: str) -> None:
    """It shares nothing with the model, and of its batch norms two kinds stay: after dynamic convolutions and ReLU."""
    model = build_model(name)
    plain = check(model, images(model, 2), (2, 0))
    assert not any(parameter.requires_grad for parameter in plain.parameters())
    stores = [{value.data_ptr() for value in each.state_dict().values() if value.numel()} for each in (model, plain)]
    assert not stores[0] & stores[1]
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in plain.modules())
    dynamic = sum(isinstance(module, DynamicConv2d) for module in plain.modules())
    assert norms == (2 if name == "baseline_cnn" else dynamic)


def test_wide_cnn4_is_four_convolutions() -> None:
    plain = build_model("wide_cnn4", width=16).for_channels("B,R")
    convs = [module for module in plain.modules() if isinstance(module, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.kernel_size, c.padding) for c in convs] == [
        (2, 16, (7, 7), (3, 3)),
        *[(16, 16, (3, 3), (1, 1))] * 3,
    ]


@pytest.mark.parametrize("name", ["dynamic_cnn_v1", "baseline_cnn"])
def test_copy_is_the_selection_for_every_stem(name: str) -> None:
    for stem in stems_of(name):
        model = build_model(name, stem)
        check(model, images(model, 2), (2, 0))


@pytest.mark.parametrize("index", [index[::-1] for index in subsets(3)], ids=str)
def test_copy_is_the_selection_for_every_subset(index: tuple[int, ...]) -> None:
    model = build_model("baseline_cnn", "completion")
    check(model, images(model, 2), index)


@pytest.mark.parametrize("stem", ["zero", "dynamic", "expansion", "wavelength"])
def test_first_block_of_two_convolutions_with_every_kind_of_stem(stem: str) -> None:
    model = build_model("wide_cnn4", stem, width=16)
    check(model, images(model, 2), (2, 0))


def test_statistics_are_those_of_the_subset() -> None:
    model = build_model("resnet8", "completion")
    before = model.for_channels("B")(raw_images(2, 9, 9)[:, :1])
    measure_subsets(model, [raw_images(8, 9, 9)])
    plain = check(model, raw_images(2, 9, 9), (2,))
    assert not torch.allclose(plain(raw_images(2, 9, 9)[:, :1]), before)
    check(model, raw_images(2, 9, 9), (2, 0))


def test_copy_can_be_sent_to_another_process() -> None:
    model, x = build_model("wide_cnn4", "completion", width=16), raw_images(2, 9, 9)[:, [2, 0]]
    plain = model.for_channels("B,R")
    torch.testing.assert_close(pickle.loads(pickle.dumps(plain))(x), plain(x), rtol=0, atol=0)


def test_no_data_and_number_types() -> None:
    channels = ChannelSet([Channel("a", "lab"), Channel("b", "lab")])
    encodings = [Encoding(no_data=0.0), Encoding()]
    model = create_model("resnet8", channels=channels, num_classes=3, encodings=encodings).eval()
    plain, x = model.for_channels("b,a"), torch.randint(0, 3, (2, 2, 9, 9), dtype=torch.uint8)
    assert plain(x).dtype == torch.float32
    torch.testing.assert_close(plain(x), model.select("b,a")(x))


def test_copy_stays_in_eval_mode() -> None:
    model = build_model("wide_cnn4", width=16, dropout=0.5, drop_block=0.5).train()
    plain, x = model.for_channels("R,G,B"), raw_images(2, 9, 9)
    assert not any(module.training for module in plain.train().modules())
    torch.testing.assert_close(plain(x), model.eval()(x))


@pytest.mark.parametrize("shape", [(2, 1, 9, 9), (2, 3, 9, 9), (2, 9, 9)])
def test_other_channels_are_refused(shape: tuple[int, ...]) -> None:
    """One channel would be spread over the constants of both."""
    text = f"this copy takes (N, 2, H, W) with the channels B, R, not {shape}; make another with for_channels()"
    with pytest.raises(InputShapeError, match=re.escape(text)):
        build_model("resnet8").for_channels("B,R")(torch.zeros(shape))


def test_unknown_channels_are_refused() -> None:
    with pytest.raises(ChannelError, match="channel 'NIR' is not one of R, G, B"):
        build_model("resnet8").for_channels("NIR")


def adapted(backbone: nn.Module) -> AnyChannelModel:
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value in (module.running_mean, module.running_var):
                assert value is not None
                nn.init.uniform_(value, 0.5, 2)
    constants = {"offset": (1.0, 2.0, 3.0), "scale": (2.0, 3.0, 4.0)}
    return adapt(backbone.double().eval(), channels=RGB, **constants, verbose=False)  # type: ignore[arg-type]


@pytest.mark.parametrize(("backbone", "convs"), [(OwnCNN, 2), (TwoNames, 1), (OwnViT, 1)])
def test_networks_of_ones_own(backbone: type[nn.Module], convs: int) -> None:
    """A ViT that checks sizes cannot be looked into, and works all the same."""
    model = adapted(backbone())
    height, width = model.fixed_size or (9, 11)
    for index in ((2, 0), (0, 1, 2)):
        plain = check(model, raw_images(2, height, width), index)
        assert sum(isinstance(module, nn.Conv2d) for module in plain.modules()) == convs
        assert not any(isinstance(module, nn.BatchNorm2d) for module in plain.modules())


class TestLibraries:
    pytestmark = needs_libraries

    @pytest.mark.parametrize(
        ("name", "options"),
        [("resnet18", {}), ("efficientnet_b0", {}), ("vit_tiny_patch16_224", {"img_size": 32})],
    )
    def test_timm(self, name: str, options: dict[str, int]) -> None:
        model = adapted(TIMM.create_model(name, pretrained=False, num_classes=5, **options))
        plain = check(model, raw_images(2, 32, 32), (2, 0))
        assert name != "resnet18" or not any(isinstance(module, nn.BatchNorm2d) for module in plain.modules())

    def test_torchvision(self) -> None:
        model = adapted(TORCHVISION.get_model("resnet18", weights=None, num_classes=5))
        plain = check(model, raw_images(2, 32, 32), (2, 0))
        assert not any(isinstance(module, nn.BatchNorm2d) for module in plain.modules())
