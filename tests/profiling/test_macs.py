import json

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from anychan.errors import ChannelError, InputShapeError
from anychan.models.catalog import CATALOG, create_model
from anychan.presets import RGB, SENTINEL2
from anychan.profiling.depth import effective_depth
from anychan.profiling.macs import catalog_profiles, profile
from tests.builders import build_model, conv_macs


class FunctionalLayers(nn.Module):
    """No counted module anywhere: hooks on modules would see nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(6, 3, 3, 3))
        self.matrix = nn.Parameter(torch.randn(6, 4))

    def forward(self, x: Tensor) -> Tensor:
        maps = functional.conv2d(x, self.kernel, stride=2, padding=1)  # (N, 6, 3, 4)
        return maps.sum((2, 3)) @ self.matrix


class OddLayers(nn.Module):
    """Operators that no table here knows."""

    def forward(self, x: Tensor) -> Tensor:
        return x.cumsum(3).sort(2).values.flatten(1)


def test_modules_by_hand() -> None:
    layers = [nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)]
    found = profile(nn.Sequential(*layers), (1, 3, 5, 7))
    assert found.macs == conv_macs(3, 6, 3, 5, 7) + 6 * 4
    assert found.params == 3 * 6 * 9 + 6 + 6 * 4 + 4
    assert found.uncounted == {"relu": 6 * 5 * 7, "mean": 6}
    assert (found.input_shape, found.num_classes) == ((1, 3, 5, 7), 4)


def test_functional_layers_by_hand() -> None:
    found = profile(FunctionalLayers(), (1, 3, 5, 7))
    assert found.macs == conv_macs(3, 6, 3, 3, 4) + 6 * 4
    assert found.uncounted == {"sum": 6}


def test_unknown_operators_are_listed_not_dropped() -> None:
    found = profile(OddLayers(), (1, 3, 5, 7))
    assert found.macs == 0
    assert found.uncounted == {"cumsum": 105, "sort": 105}


def test_operators_in_place_are_listed_by_the_same_name() -> None:
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(105, 4), nn.ReLU())
    assert profile(model, (1, 3, 5, 7)).uncounted == {"relu": 105 + 4}


def test_grouped_convolution_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(6, 12, 3, padding=1, groups=3), nn.Flatten())
    assert profile(model, (1, 6, 5, 7)).macs == conv_macs(2, 12, 3, 5, 7)


def test_model_is_not_changed() -> None:
    model = build_model("resnet8").train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    profile(model, (1, 3, 1, 1))  # in training, one value a channel would be refused
    assert all(module.training for module in model.modules())
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("stem", "maps", "folding"),
    # the kernel times the fill's offset, and for completion also times its matrix, and the matrix times the mean
    [("mean", 2, 0), ("zero", 3, 3 * 24 * 9), ("completion", 3, 3 * 24 * 9 * 3 + 3 * 3)],
)
def test_subset_costs_its_channels_and_its_map_of_ones(stem: str, maps: int, folding: int) -> None:
    model = build_model("resnet8", stem)
    whole, part = profile(model, (1, 3, 8, 8)), profile(model, (1, 2, 8, 8), channels=RGB.select("B,R"))
    assert part.macs == whole.macs - conv_macs(3, 24, 3, 8, 8) + conv_macs(maps, 24, 3, 8, 8) + folding
    assert part.params == whole.params
    assert part.input_shape == (1, 2, 8, 8)


def stem_macs(stem: str, maps: int) -> int:
    """Of resnet8's stem on 8×8 pixels for so many of 3 channels, by formula."""
    first, mixing = conv_macs(maps, 24, 3, 8, 8), 24 * maps * 9
    return {
        # attention: means and mask → 16 → 4 kernels, which are mixed before one convolution
        "dynamic": first + 2 * maps * 16 + 16 * 4 + 4 * mixing,
        # each pixel: present → 32 → absent; then the convolution of all channels
        "expansion": conv_macs(3, 24, 3, 8, 8) + (maps < 3) * (conv_macs(3, 32, 1, 8, 8) + maps * 32),
        # each channel: 14 numbers → 64, and those with the name's 16 → the kernel
        "wavelength": first + maps * 14 * 64 + 80 * mixing,
        # a map of ones where a channel is absent, its kernel weighted by the padding
        "learned_padding": first + (maps < 3) * (conv_macs(1, 24, 3, 8, 8) + 3 * 24 * 9),
    }[stem]


@pytest.mark.parametrize("stem", ["dynamic", "expansion", "wavelength", "learned_padding"])
@pytest.mark.parametrize("names", ["B", "B,R", "B,R,G", "R,G,B"])
def test_stems_by_formula(stem: str, names: str) -> None:
    channels = RGB.select(names)
    body = profile(build_model("resnet8", "mean"), (1, 3, 8, 8)).macs - conv_macs(3, 24, 3, 8, 8)
    found = profile(build_model("resnet8", stem), (1, len(channels), 8, 8), channels=channels)
    assert found.macs == body + stem_macs(stem, len(channels))
    assert "constant_pad_nd" not in found.uncounted  # moves values, as cat does


def test_bad_sizes_and_channels_are_refused() -> None:
    model = build_model("baseline_cnn")
    with pytest.raises(InputShapeError, match="baseline_cnn takes images of at least 2x2 pixels, not 1x9"):
        profile(model, (1, 3, 1, 9))
    with pytest.raises(InputShapeError, match=r"takes \(N, 1, H, W\) with the channels G, not \(1, 3, 9, 9\)"):
        profile(model, (1, 3, 9, 9), channels=RGB.select("G"))
    with pytest.raises(ChannelError, match="channel 'sentinel2:B04' is not one of R, G, B"):
        profile(model, (1, 1, 9, 9), channels=SENTINEL2.select("B04"))


def test_size_is_counted_not_computed() -> None:
    """A batch of 8 TiB, which no machine holds."""
    model = create_model("dynamic_cnn_v1", num_classes=2)
    side = 2**19
    assert profile(model, (1, 3, side, side)).macs > conv_macs(3, 32, 3, side, side)


def test_depth_is_measured_if_asked_for() -> None:
    model, channels = build_model("baseline_cnn", "expansion"), RGB.select("B,R")
    found = profile(model, (1, 2, 8, 8), channels=channels, depth=True)
    assert found.depth == effective_depth(model, (1, 2, 8, 8), channels=channels)
    assert found.to_dict()["depth"]["features"] == 3  # one more than with all channels: absent ones are guessed
    without = profile(model, (1, 2, 8, 8), channels=channels)
    assert without.depth is None
    assert "depth" not in without.to_dict()
    assert without.macs == found.macs


def test_catalogue_rows() -> None:
    rows = catalog_profiles()
    assert [row["name"] for row in rows] == list(CATALOG)
    assert json.loads(json.dumps(rows)) == rows
    row = next(row for row in rows if row["name"] == "wide_cnn4")
    assert row["params"] == 2_068_132
    assert row["macs"] == 459_701_248
    assert (row["input_shape"], row["num_classes"]) == ([1, 3, 84, 84], 100)
    assert (row["source"], row["stem"]) == ("report 2", "mean")
