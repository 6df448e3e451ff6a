import pytest
import torch
from torch import Tensor

from anychan.models.base import AnyChannelModel
from anychan.models.catalog import create_model
from anychan.nn.generator import GeneratedConv2d
from anychan.profiling.macs import profile
from tests.builders import build_model, conv_macs, raw_images

GENERATORS = sum(2 * 8 + 9 * 16 + 17 * 32 * count * 9 for count in (1, 2, 3))
GENERATOR_MACS = 8 + 8 * 16 + 16 * 32 * 3 * 9  # the one for three channels


def on_meta(name: str) -> AnyChannelModel:
    with torch.device("meta"):
        return create_model(name, num_classes=50)


def generators_with_gradient(model: AnyChannelModel) -> list[bool]:
    conv = model.stem.conv
    assert isinstance(conv, GeneratedConv2d)
    return [all(p.grad is not None and p.grad.any() for p in g.parameters()) for g in conv.generators]


def train_once(model: AnyChannelModel, x: Tensor, channels: str) -> None:
    model.train()
    model.select(channels)(x).square().sum().backward()


def test_v1_by_formula() -> None:
    found = profile(on_meta("dynamic_cnn_v1"), (1, 3, 32, 32))
    assert found.params == GENERATORS + 2 * 32 + 33 * 50
    assert found.macs == GENERATOR_MACS + conv_macs(3, 32, 3, 32, 32) + 32 * 50


def test_v2_by_formula() -> None:
    found = profile(on_meta("dynamic_cnn_v2"), (1, 3, 32, 32))
    assert found.params == GENERATORS + 2 * 32 + (9 * 32 + 1) * 64 + 2 * 64 + 65 * 128 + 129 * 50
    convolutions = conv_macs(3, 32, 3, 32, 32) + conv_macs(32, 64, 3, 32, 32)
    assert found.macs == GENERATOR_MACS + convolutions + 64 * 128 + 128 * 50


@pytest.mark.parametrize(("name", "maps"), [("dynamic_cnn_v1", 32), ("dynamic_cnn_v2", 64)])
def test_features_keep_the_size(name: str, maps: int) -> None:
    assert build_model(name).forward_features(raw_images(2, 5, 7)).shape == (2, maps, 5, 7)


@pytest.mark.parametrize("name", ["dynamic_cnn_v1", "dynamic_cnn_v2"])
def test_zeroed_channels_leave_the_smaller_generators_untrained(name: str) -> None:
    model = build_model(name, "zero")
    for channels in ("G", "B,R", "R,G,B"):
        train_once(model, raw_images(2, 5, 7)[:, : len(channels.split(","))], channels)
    assert generators_with_gradient(model) == [False, False, True]


@pytest.mark.parametrize(("channels", "number"), [("G", 0), ("B,R", 1), ("R,G,B", 2)])
def test_stem_by_count_trains_the_generator_for_the_count(channels: str, number: int) -> None:
    model = build_model("dynamic_cnn_v1", "generator_per_count")
    train_once(model, raw_images(2, 5, 7)[:, : number + 1], channels)
    assert generators_with_gradient(model) == [number == count for count in range(3)]
