from copy import deepcopy

import pytest
import torch
from torch import nn

from anychan.errors import ConfigError
from anychan.models.anatomy import examine
from anychan.models.backbone import BackboneBody, around, backbone_network, redrawn
from anychan.models.base import Network
from anychan.nn.fill import MeanFill
from anychan.nn.stems import Stem
from tests.backbones import OwnCNN, TwoNames


def stem(conv: nn.Module) -> Stem:
    return Stem(conv, MeanFill(torch.zeros(3), torch.ones(3)))


def built(backbone: nn.Module, num_classes: int = 5) -> Network:
    return around(backbone, examine(backbone))(stem, num_channels=3, num_classes=num_classes)


def test_redrawn_keeps_what_fits() -> None:
    conv = nn.Conv2d(3, 500, (3, 5), stride=(2, 1), padding=(0, 2))
    nn.init.normal_(conv.weight, 0, 0.3)
    same, other = redrawn(conv, 3), redrawn(conv, 7)
    assert torch.equal(same.weight, conv.weight)
    assert same.weight is not conv.weight
    assert other.weight.shape == (500, 7, 3, 5)
    assert other.weight.detach().std() == pytest.approx(0.3, rel=0.02)
    for found in (same, other):
        assert conv.bias is not None
        assert found.bias is not None
        assert torch.equal(found.bias, conv.bias)
        x = torch.randn(2, found.in_channels, 7, 9)
        expected = nn.functional.conv2d(x, found.weight, conv.bias, (2, 1), (0, 2))
        assert torch.equal(found(x), expected)


def test_parts_run_as_the_whole() -> None:
    model, x = OwnCNN().eval(), torch.randn(2, 3, 9, 11)
    expected = model(x)
    network = built(deepcopy(model))
    maps = network.stem(x)
    assert maps.shape == (2, 6, 5, 6)
    features = network.body(maps, x)
    assert features.shape == (2, 8)
    assert torch.equal(network.head(features), expected)
    assert torch.equal(network.body(maps, torch.full((2, 1, 9, 11), torch.nan)), features)


def test_maps_go_when_the_run_ends_or_fails() -> None:
    network = built(OwnCNN())
    assert isinstance(network.body, BackboneBody)
    with pytest.raises(RuntimeError, match="should contain 99 elements"):
        network.body(torch.zeros(2, 99, 3, 3), torch.zeros(2, 3, 9, 9))
    assert network.body.entry.maps is None
    network.body(torch.zeros(2, 6, 3, 3), torch.zeros(2, 3, 9, 9))
    assert network.body.entry.maps is None
    with pytest.raises(AssertionError, match="the backbone runs inside its model only"):
        network.body.backbone(torch.zeros(2, 3, 9, 9))


def test_other_class_counts_get_a_fresh_head() -> None:
    network = built(OwnCNN().double(), num_classes=9)
    assert isinstance(network.head, nn.Linear)
    assert (network.head.in_features, network.head.out_features, network.head.weight.dtype) == (8, 9, torch.float64)


def test_logits_without_a_linear_layer_cannot_change_in_number() -> None:
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    anatomy = examine(model)
    assert isinstance(built(deepcopy(model)).head, nn.Identity)
    with pytest.raises(ConfigError, match=r"Sequential gives 5 logits, but not by a last linear layer .* 7; build it"):
        backbone_network(stem, model, anatomy, num_channels=3, num_classes=7)


def test_names_of_the_backbone_are_found_in_the_model() -> None:
    body = built(OwnCNN()).body
    assert isinstance(body, BackboneBody)
    names = {"first.weight": "stem.conv.weight", "last.bias": "head.bias", "norm.weight": "body.backbone.norm.weight"}
    assert {name: body.our_name(name) for name in names} == names


def test_parts_of_two_names_are_taken_out_under_both() -> None:
    model, x = TwoNames().eval(), torch.randn(2, 3, 9, 11)
    expected = model(x)
    network = built(deepcopy(model))
    assert isinstance(network.body, BackboneBody)
    maps = network.stem(x)
    features = network.body(maps, torch.full_like(x, torch.nan))
    assert features.shape == (2, 5)
    assert torch.equal(network.head(features), expected)
    assert not [part for part in network.body.modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    names = {"conv.weight": "stem.conv", "features.0.weight": "stem.conv", "fc.bias": "head", "net.1.bias": "head"}
    names |= {"net.0.0.weight": "stem.conv"}
    for theirs, ours in names.items():
        assert theirs in model.state_dict()
        assert network.body.our_name(theirs) == f"{ours}.{theirs.rpartition('.')[2]}"
