import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from anychan.channels import Channel
from anychan.nn.fill import MeanFill
from anychan.nn.stems import StemConv2d
from anychan.nn.wavelength import HIDDEN, NAME, CodedConv2d, WavelengthStem, spectral_features
from anychan.presets import LANDSAT8, PRESETS, SENTINEL2
from tests.builders import mask, subsets

CHANNELS = [
    Channel("red", "lab", wavelength_nm=650, width_nm=30),
    Channel("DNA", "lab"),
    Channel("nir", "lab", (), None, 840),
]
DNA = 1


def build(
    channels: list[Channel] = CHANNELS, interpolated: tuple[str, ...] = (), *, trained: bool = True
) -> WavelengthStem:
    torch.manual_seed(2)
    count = len(channels)
    convs = [StemConv2d(count, 6, 3, stride=2, padding=1), StemConv2d(count, 2, 1, 2, bias=False)]
    stem = WavelengthStem(convs, MeanFill(torch.zeros(count), torch.ones(count)), channels, interpolated).double()
    if trained:
        stem.names.data += torch.randn_like(stem.names)
    return stem


def kernel(stem: WavelengthStem, position: int, conv: int = 0) -> Tensor:
    """(O, k, k)"""
    layer = stem.conv[conv]
    assert isinstance(layer, CodedConv2d)
    return layer.kernel(stem.codes((position,)))[:, 0]


def judge(stem: WavelengthStem, x: Tensor, subset: tuple[int, ...], num_trained: int) -> Tensor:
    """Channel by channel, each by its own kernel, then times T/S."""
    maps = []
    for number, conv in enumerate(stem.conv):
        assert isinstance(conv, CodedConv2d)
        total = torch.zeros((), dtype=x.dtype)
        for channel in subset:
            weight = kernel(stem, channel, number)[:, None]
            total = total + functional.conv2d(x[:, [channel]], weight, None, conv.stride, conv.padding)
        total = total * num_trained / len(subset)
        maps.append(total if conv.bias is None else total + conv.bias[:, None, None])
    return torch.cat(maps, 1)


@pytest.mark.parametrize(("interpolated", "num_trained"), [((), 3), (("lab:nir",), 2)])
def test_channels_add_up_for_every_subset(interpolated: tuple[str, ...], num_trained: int) -> None:
    stem, x = build(interpolated=interpolated), torch.randn(2, 3, 5, 7, dtype=torch.float64)
    for subset in subsets(3):
        expected = judge(stem, x, subset, num_trained)
        assert expected.shape == (2, 8, 3, 4)
        index = subset[::-1]
        torch.testing.assert_close(stem(x[:, list(index)], index=index), expected, rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(stem(x, present=mask(3, subset, subset)), expected, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(stem(x), expected, rtol=1e-11, atol=1e-11)


def test_kernel_by_hand() -> None:
    """U relu(P φ) + V n for red; V n for DNA, which has no wavelength; U relu(P φ) for nir, never trained."""
    stem = build(interpolated=("lab:nir",))
    conv = stem.conv[0]
    assert isinstance(conv, CodedConv2d)
    spectral, named = conv.weight[:, :HIDDEN], conv.weight[:, HIDDEN:]
    features = torch.tensor([spectral_features(channel) for channel in CHANNELS]).double()
    expected = spectral @ (stem.spectrum @ features[0]).clamp(min=0) + named @ stem.names[0]
    torch.testing.assert_close(kernel(stem, 0).flatten(), expected)
    torch.testing.assert_close(kernel(stem, DNA).flatten(), named @ stem.names[1])
    torch.testing.assert_close(kernel(stem, 2).flatten(), spectral @ (stem.spectrum @ features[2]).clamp(min=0))
    assert stem.names.shape == (2, NAME)


def test_features_by_hand() -> None:
    """1 µm is at angle 0 and 2 µm one octave on: 1/8, 1/4, 1/2, 1 and 2 turns; a width of half the wavelength: -1."""
    half = math.sqrt(0.5)
    expected = [half, 1, 0, 0, 0, half, 0, -1, 1, 1]
    found = spectral_features(Channel("a", "lab", wavelength_nm=2000))
    assert found == pytest.approx([value / math.sqrt(5) for value in expected] + [0] * 4)
    found = spectral_features(Channel("a", "lab", wavelength_nm=2000, width_nm=1000))
    assert found == pytest.approx([value / math.sqrt(7) for value in [*expected, -half, -1, half, 0]])
    assert spectral_features(Channel("a", "lab", width_nm=1000)) == [0] * 14
    assert spectral_features(Channel("a", "lab", wavelength_nm=1000)) != [0] * 14


def test_every_known_band_has_features_of_its_own() -> None:
    for channels in PRESETS.values():
        features = torch.tensor([spectral_features(channel) for channel in channels])
        torch.testing.assert_close(features.norm(dim=1), torch.ones(len(channels)))
        assert (torch.cdist(features, features) + torch.eye(len(channels))).min() > 0.1


def test_near_wavelengths_have_near_kernels() -> None:
    """A blue band's kernel is nearest that of another sensor's blue band, and so on."""
    stem = build([*SENTINEL2, *LANDSAT8], trained=False)
    kernels = torch.stack([kernel(stem, position).flatten() for position in range(len(SENTINEL2) + len(LANDSAT8))])
    distances = torch.cdist(kernels[: len(SENTINEL2)], kernels[len(SENTINEL2) :])
    for mine, theirs in (("B02", "B2"), ("B03", "B3"), ("B04", "B4"), ("B11", "B6"), ("B12", "B7")):
        nearest = distances[SENTINEL2.index(mine)].argmin()
        assert LANDSAT8[int(nearest)].name == theirs


def test_kernels_start_at_the_scale_of_the_first_layer() -> None:
    """With a wavelength or without: averaged over draws, since 64 hidden units are few."""
    ratios = []
    for seed in range(20):
        torch.manual_seed(seed)
        conv = StemConv2d(3, 64, 3)
        conv.weight.data.mul_(5)
        stem = WavelengthStem([conv], MeanFill(torch.zeros(3), torch.ones(3)), CHANNELS)
        kernels = [kernel(stem, position) for position in range(3)]
        assert not stem.names[[0, 2]].any()
        ratios.append(torch.stack([each.square().mean() for each in kernels]) / conv.weight.square().mean())
    torch.testing.assert_close(torch.stack(ratios).mean(0), torch.ones(3), rtol=0.2, atol=0)


def test_bias_is_kept_and_not_rescaled() -> None:
    stem = build()
    y = stem(torch.zeros(2, 1, 5, 7, dtype=torch.float64), index=(DNA,))
    bias = stem.conv[0].bias
    assert isinstance(bias, Tensor)
    torch.testing.assert_close(y[:, :6], bias[:, None, None].expand(2, 6, 3, 4))
    assert not y[:, 6:].any()


def test_parameters_by_formula() -> None:
    kernels = (6 * 9 + 2) * (HIDDEN + NAME)
    assert sum(parameter.numel() for parameter in build().parameters()) == kernels + 6 + 14 * HIDDEN + 3 * NAME
