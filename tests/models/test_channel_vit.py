import re
from typing import Any

import pytest
import torch

from anychan.channels import Channel, ChannelSet
from anychan.errors import ConfigError
from anychan.models.catalog import CATALOG, create_model, with_changes
from anychan.presets import RGB
from anychan.profiling.macs import profile
from tests.builders import build_model, mask, raw_images

SMALL: dict[str, Any] = {"patch_size": 4, "width": 12, "depth": 2, "heads": 3, "image_size": 12}


def expected_params(channels: int, classes: int, *, patch: int, size: int, width: int, depth: int) -> int:
    tokens = (patch**2 + 1) * width + channels * width + (size // patch) ** 2 * width + width
    attention = (width + 1) * 3 * width + (width + 1) * width
    mlp = (width + 1) * 4 * width + (4 * width + 1) * width
    return tokens + depth * (attention + mlp + 2 * 2 * width) + 2 * width + (width + 1) * classes


def expected_macs(channels: int, classes: int, *, patch: int, height: int, width: int, d: int, depth: int) -> int:
    """Of one image: every layer by its formula, T tokens of d values."""
    patches = channels * -(-height // patch) * -(-width // patch)
    tokens = 1 + patches
    products = 2 * tokens * tokens * d  # q kᵀ and the weighted sum of v, all heads together
    block = tokens * d * 3 * d + products + tokens * d * d + 2 * tokens * d * 4 * d
    return patches * patch**2 * d + depth * block + d * classes


def many(count: int) -> ChannelSet:
    return ChannelSet(Channel(f"c{number}", "many") for number in range(count))


def test_source_sizes_by_formula() -> None:
    """The golden figures of tests/models/test_catalog.py."""
    assert expected_params(3, 50, patch=8, size=32, width=192, depth=12) == 5_364_722
    assert expected_macs(3, 50, patch=8, height=32, width=32, d=192, depth=12) == 271_775_616


@pytest.mark.parametrize(("patch", "size"), [(8, 32), (4, 32), (16, 224)])
@pytest.mark.parametrize("channels", [1, 3, 13])
def test_parameters_and_macs_by_formula(channels: int, patch: int, size: int) -> None:
    options = {"patch_size": patch, "image_size": size}
    with torch.device("meta"):
        model = create_model("channel_vit_tiny", channels=many(channels), num_classes=7, options=options)
    found = profile(model, (1, channels, size, size))
    assert found.params == expected_params(channels, 7, patch=patch, size=size, width=192, depth=12)
    assert found.macs == expected_macs(channels, 7, patch=patch, height=size, width=size, d=192, depth=12)


def test_subset_costs_its_own_tokens() -> None:
    model = build_model("channel_vit_tiny", **SMALL)
    for names, height, width in (("G", 12, 12), ("B,R", 5, 7), ("R,G,B", 9, 16)):
        channels = RGB.select(names.split(","))
        found = profile(model, (1, len(channels), height, width), channels=channels)
        expected = expected_macs(len(channels), 5, patch=4, height=height, width=width, d=12, depth=2)
        assert found.macs == expected


def test_what_is_not_counted_is_listed() -> None:
    """2 blocks of 3 heads over 1 + 3·9 tokens of 12 values; the last norm is over one token."""
    uncounted = profile(build_model("channel_vit_tiny", **SMALL), (1, 3, 12, 12)).uncounted
    assert uncounted["_safe_softmax"] == 2 * 3 * 28 * 28
    assert uncounted["gelu"] == 2 * 28 * 4 * 12
    assert uncounted["native_layer_norm"] == (2 * 2 * 28 + 1) * 12
    assert set(uncounted) == {"_safe_softmax", "gelu", "native_layer_norm", "add", "mul", "sub", "div"}
    filled_up = profile(build_model("channel_vit_tiny", **SMALL), (1, 3, 5, 7)).uncounted  # padding only moves values
    assert set(filled_up) - set(uncounted) == {"upsample_bicubic2d"}


def test_features_are_the_class_token() -> None:
    model, x = build_model("channel_vit_tiny", **SMALL), raw_images(2, 5, 7)
    features = model.forward_features(x)
    assert features.shape == (2, 12, 1, 1)
    linear = model.get_submodule("head.1")
    torch.testing.assert_close(linear(features.flatten(1)), model(x))


@torch.no_grad()
def test_ragged_batch_of_many_channels_equals_selections() -> None:
    torch.manual_seed(0)
    model = create_model("channel_vit_tiny", channels=many(6), num_classes=4, options=SMALL).double().eval()
    x, rows = torch.randn(3, 6, 9, 13, dtype=torch.float64) * 255, [(5,), (0, 2, 3, 4), (1, 0, 5)]
    present = mask(6, *rows)
    masked = model(x.where(present[:, :, None, None], torch.inf), present=present)
    for number, row in enumerate(rows):
        alone = model.select([f"c{channel}" for channel in row])(x[number : number + 1, list(row)])
        torch.testing.assert_close(masked[number : number + 1], alone)


def test_absent_channels_get_no_gradient() -> None:
    model, x = build_model("channel_vit_tiny", **SMALL), raw_images(2, 12, 12).requires_grad_()
    model(x, present=mask(3, (0, 2), (2,))).square().sum().backward()
    assert x.grad is not None
    assert [[bool(channel.any()) for channel in image] for image in x.grad] == [
        [True, False, True],
        [False] * 2 + [True],
    ]
    channels = model.get_parameter("stem.channels").grad
    assert channels is not None
    assert [bool(row.any()) for row in channels] == [True, False, True]


def test_channels_and_places_are_told_apart() -> None:
    model, x = build_model("channel_vit_tiny", **SMALL), raw_images(2, 12, 12)
    for channel in ("R", "G"):
        other = "G" if channel == "R" else "B"
        grey = (x[:, :1] * 0 + 4).double()
        assert (model.select(channel)(grey) - model.select(other)(grey)).abs().max() > 1e-6
    assert (model(x.flip(3)) - model(x)).abs().max() > 1e-6


def test_selection_and_mask_compile_in_one_graph() -> None:
    model, x = build_model("channel_vit_tiny", **SMALL), raw_images(2, 9, 7)
    view = model.select("B,R")
    compiled = torch.compile(view, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x[:, [2, 0]]), view(x[:, [2, 0]]))
    present = mask(3, (0, 2), (1,))
    whole = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(whole(x, present=present), model(x, present=present))


def test_bfloat16_autocast() -> None:
    model, x = build_model("channel_vit_tiny", **SMALL).float(), raw_images(2, 12, 12).float()
    present = mask(3, (0, 2), (1,))
    exact = model(x, present=present)
    with torch.autocast("cpu", torch.bfloat16):
        found = model.train()(x.where(present[:, :, None, None], torch.nan), present=present)
        found.float().square().sum().backward()
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), exact, rtol=0.05, atol=0.01)
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


def test_dropout_and_drop_path_reach_every_part() -> None:
    model = build_model("channel_vit_tiny", **SMALL, dropout=0.3, drop_path=0.2)
    found = [module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)]
    assert found == [0.3] * (1 + 2 * 3)
    assert model.get_submodule("body.blocks.1.drop_path").extra_repr() == "0.2"


@pytest.mark.parametrize("stem", ["mean", "zero", "completion", "generator_per_count"])
def test_fills_are_refused(stem: str) -> None:
    text = f"stem '{stem}' needs a first layer that mixes channels, not channel_vit_tiny"
    with pytest.raises(ConfigError, match=text):
        create_model("channel_vit_tiny", num_classes=5, stem=stem)
    with pytest.raises(ConfigError, match=text):
        with_changes(build_model("channel_vit_tiny", **SMALL), stem=stem)


@pytest.mark.parametrize("name", [name for name in CATALOG if name != "channel_vit_tiny"])
def test_other_networks_refuse_tokens(name: str) -> None:
    with pytest.raises(ConfigError, match=f"stem 'tokens' needs tokens, as channel_vit_tiny has them, not {name}"):
        create_model(name, num_classes=5, stem="tokens")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"patch_size": 5}, "channel_vit_tiny's image_size is a multiple of its patch_size, but 32 is none of 5"),
        ({"image_size": 4}, "channel_vit_tiny's image_size is a multiple of its patch_size, but 4 is none of 8"),
        ({"heads": 5}, "channel_vit_tiny's width is a multiple of its heads, but 192 is none of 5"),
        ({"depth": 0}, "channel_vit_tiny's depth is a whole number from 1 to 65,536, not 0"),
        ({"patch_size": 8.0}, "channel_vit_tiny's patch_size is a whole number from 1 to 65,536, not 8.0"),
        ({"width": True}, "channel_vit_tiny's width is a whole number from 1 to 65,536, not True"),
        ({"dropout": 1}, "channel_vit_tiny's dropout is a share from 0 and below 1, not 1"),
        ({"drop_path": "a"}, "channel_vit_tiny's drop_path is a share from 0 and below 1, not 'a'"),
    ],
)
def test_other_options_are_refused(options: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(text)):
        create_model("channel_vit_tiny", num_classes=5, options=options)
