import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from anychan.channels import Channel, ChannelSet
from anychan.errors import ChannelError, ConfigError
from anychan.models.adapt import adapt
from anychan.models.base import AnyChannelModel
from anychan.models.catalog import STEMS, create_model, model_from_contract
from anychan.models.warm_start import check_stem, known_channels, start_constants, start_warm
from anychan.presets import RGB, SENTINEL2
from tests.backbones import OwnCNN
from tests.builders import training_statistics

BEFORE, NOW = SENTINEL2.select("B02,B03,B04,B08"), SENTINEL2.select("B08,B12,B02,B03")  # B04 leaves, B12 is new
VIT = {"width": 12, "depth": 1, "patch_size": 4}
NETWORKS: list[tuple[str, str, dict[str, Any]]] = [
    *(("resnet8", stem, {}) for stem in sorted(set(STEMS) - {"tokens", "generator_per_count"})),
    ("channel_vit_tiny", "tokens", VIT),
    ("dynamic_resnet12", "mean", {"num_kernels": 2}),
    ("shallow2_s", "rescaled", {}),
]


def build(
    name: str,
    stem: str,
    channels: ChannelSet,
    *,
    classes: str = "abc",
    seed: int = 1,
    options: dict[str, Any] | None = None,
    **more: Any,
) -> AnyChannelModel:
    """A fresh network whose constants belong to each channel."""
    torch.manual_seed(seed)
    statistics = training_statistics(len(channels))
    constants: dict[str, Any] = {
        key: [float(len(c.name) + (c.wavelength_nm or 0)) for c in channels] for key in ("offset", "scale")
    }
    model = create_model(
        name,
        stem=stem,
        channels=channels,
        num_classes=len(classes),
        options=options,
        statistics=statistics,
        **constants,
    )
    model.contract = dataclasses.replace(model.contract, classes=tuple(classes), **more)
    return model


def trained(name: str, stem: str, options: dict[str, Any] | None = None, **more: Any) -> AnyChannelModel:
    """A saved model: no tensor of it is as one begins."""
    model = build(name, stem, BEFORE, seed=2, options=options, **more)
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.uniform_(0.1, 0.9)
    return model.eval()


def by_channel(model: AnyChannelModel) -> dict[str, tuple[Tensor, int]]:
    parts = [(path, part) for path, part in model.stem.named_modules(prefix="stem") if hasattr(part, "by_channel")]
    return {f"{path}.{name}": pair for path, part in parts for name, pair in part.by_channel().items()}


@pytest.mark.parametrize(("name", "stem", "options"), NETWORKS, ids=lambda value: str(value) if value else "")
def test_known_channels_keep_their_numbers(name: str, stem: str, options: dict[str, Any]) -> None:
    saved = trained(name, stem, options)
    model = build(name, stem, NOW, classes="abcd", options=options)
    begun = {key: value.clone() for key, value in model.state_dict().items()}
    found = start_warm(model, saved, kept=NOW.identities, new_channels="zero")
    ours, theirs = by_channel(model), by_channel(saved)
    assert ours
    for key, (view, axis) in ours.items():
        for position, channel in enumerate(NOW):
            here = view.select(axis, position)
            if channel in BEFORE:
                assert torch.equal(here, theirs[key][0].select(axis, BEFORE.index(channel))), key
            else:
                assert not here.any(), key
    shared = set(saved.state_dict()) - set(ours)
    for key in shared:
        if not key.startswith("head."):
            assert torch.equal(model.state_dict()[key], saved.state_dict()[key]), key
    last = [key for key in begun if key.startswith("head.")][-2:]
    assert all(torch.equal(model.state_dict()[key], begun[key]) for key in last)
    assert (found.left_out, found.drawn, found.classes, found.same_classes) == (
        ("sentinel2:B04",),
        (),
        (3, 4, 3),
        False,
    )
    how = "made from its wavelength" if stem == "wavelength" else "zero"
    assert [row.how for row in found.mapping] == ["identity", how, "identity", "identity"]


@pytest.mark.parametrize(
    ("name", "stem", "options"),
    [*((network, stem, {}) for network, stem in (("resnet8", "mean"), ("resnet8", "dynamic"))), NETWORKS[-3]],
    ids=lambda value: str(value) if value else "",
)
def test_known_channels_give_the_same_answers(name: str, stem: str, options: dict[str, Any]) -> None:
    """With the constants kept and the same classes, a subset of known channels is classified as it was."""
    saved = trained(name, stem, options).double()
    model = build(name, stem, NOW, options=options).double().eval()
    start_warm(model, saved, kept=NOW.identities, new_channels="random")
    x = 3000 * torch.rand(2, 3, 9, 11, dtype=torch.float64)
    asked = ["B03", "B08", "B02"]
    torch.testing.assert_close(model.select(asked)(x), saved.select(asked)(x))
    full = [*asked, "B12"]
    assert not torch.allclose(model.select(full)(x[:, [0, 1, 2, 2]]), saved.select(asked)(x))


@pytest.mark.parametrize(("name", "stem", "options"), NETWORKS, ids=lambda value: str(value) if value else "")
def test_every_tensor_of_single_channels_is_declared(name: str, stem: str, options: dict[str, Any]) -> None:
    """Those are the tensors whose shapes follow the number of channels."""
    four, five = (
        build(name, stem, SENTINEL2.select(names), options=options)
        for names in ("B02,B03,B04,B08", "B02,B03,B04,B08,B12")
    )
    shapes = {key: value.shape for key, value in five.state_dict().items()}
    assert {key for key, value in four.state_dict().items() if value.shape != shapes[key]} == set(by_channel(four))


def test_random_nearest_and_error_are_as_for_backbones() -> None:
    saved = trained("resnet8", "mean")
    with pytest.raises(ChannelError, match="no weights for B12: they are none of B02, B03, B04, B08 and not between"):
        start_warm(build("resnet8", "mean", NOW), saved, kept=())
    kernels = {}
    for how in ("random", "nearest"):
        model = build("resnet8", "mean", NOW)
        fresh = model.get_parameter("stem.conv.weight").clone()
        start_warm(model, saved, kept=(), new_channels=how)
        kernels[how] = model.get_parameter("stem.conv.weight")[:, 1]
        assert torch.equal(kernels["random"], fresh[:, 1])
    assert torch.equal(kernels["nearest"], saved.get_parameter("stem.conv.weight")[:, 3])


def test_channels_never_trained_are_not_known() -> None:
    saved = trained("resnet8", "mean", untrained=("sentinel2:B08",))
    assert known_channels(saved.contract) == ("sentinel2:B02", "sentinel2:B03", "sentinel2:B04")
    with pytest.raises(ChannelError, match="no weights for B08, B12"):
        start_warm(build("resnet8", "mean", NOW), saved, kept=())


def test_stem_of_wavelengths() -> None:
    """Name vectors belong to the trained channels alone, in a saved model and in a new one."""
    saved = trained("resnet8", "wavelength")
    saved = model_from_contract(dataclasses.replace(saved.contract, interpolated=("sentinel2:B03",)))
    unnamed = Channel("radar", "drone")
    channels = ChannelSet([unnamed, *NOW])
    model = build("resnet8", "wavelength", channels)
    model = model_from_contract(dataclasses.replace(model.contract, interpolated=("sentinel2:B12",)))
    names = saved.get_parameter("stem.names")
    torch.nn.init.normal_(names)
    with pytest.raises(ChannelError, match=r"channel 'drone:radar' is new to the model and has no wavelength"):
        start_warm(model, saved, kept=(), new_channels="nearest")
    begun = model.get_parameter("stem.names").clone()
    assert begun[0].any()
    found = start_warm(model, saved, kept=(), new_channels="random")
    rows = model.get_parameter("stem.names")  # radar, B08, B02, B03
    assert torch.equal(rows, torch.stack([begun[0], names[2], names[0], torch.zeros(16)]))
    assert [row.how for row in found.mapping] == [
        "random",
        "identity",
        *["made from its wavelength"],
        "identity",
        "made from its wavelength",
    ]
    assert torch.equal(model.get_parameter("stem.spectrum"), saved.get_parameter("stem.spectrum"))


def test_attention_of_another_width_is_drawn() -> None:
    """The hidden width of a dynamic first layer follows the number of channels."""
    saved = trained("dynamic_resnet12", "mean", {"num_kernels": 2})
    model = build("dynamic_resnet12", "mean", SENTINEL2, options={"num_kernels": 2})
    found = start_warm(model, saved, kept=(), new_channels="zero")
    assert found.drawn == ("stem.conv.squeeze", "stem.conv.excite")
    assert "drawn anew: stem.conv.squeeze, stem.conv.excite" in str(found)
    kernels = [by_channel(each)["stem.conv.weight"][0] for each in (model, saved)]
    assert torch.equal(kernels[0][:, :, [1, 2, 3, 7]], kernels[1])


def test_another_fill() -> None:
    saved = trained("resnet8", "mean")
    model = build("resnet8", "learned_padding", BEFORE)
    found = start_warm(model, saved, kept=BEFORE.identities)
    assert found.drawn == ("stem.fill.padding",)
    assert torch.equal(model.get_parameter("stem.conv.weight"), saved.get_parameter("stem.conv.weight"))
    for stem, allowed in (("expansion", True), ("mean", True), ("dynamic", False), ("tokens", False)):
        if allowed:
            check_stem(saved.contract, stem)
        else:
            with pytest.raises(ConfigError, match=f"stem '{stem}' cannot begin with the weights of stem 'mean'"):
                check_stem(saved.contract, stem)


def test_generated_kernels_need_the_same_channels() -> None:
    saved = trained("dynamic_cnn_v1", "zero")
    same = build("dynamic_cnn_v1", "zero", BEFORE)
    start_warm(same, saved, kept=())
    assert all(torch.equal(value, same.state_dict()[key]) for key, value in saved.state_dict().items())
    for channels in (NOW, SENTINEL2.select("B03,B02,B04,B08")):
        message = r"the kernels of dynamic_cnn_v1 are generated for B02\+B03\+B04\+B08 together"
        with pytest.raises(ConfigError, match=message):
            start_warm(build("dynamic_cnn_v1", "zero", channels), saved, kept=(), new_channels="zero")


@pytest.mark.parametrize(("classes", "outputs", "same"), [("abc", 3, True), ("acb", 3, False), ("abc", 5, False)])
def test_head_is_carried_for_the_same_classes_alone(classes: str, outputs: int, same: bool) -> None:
    saved = trained("shallow4_s", "mean", {"widths": [16, 16, 16, 16]})
    torch.manual_seed(1)
    contract = dataclasses.replace(saved.contract, classes=tuple(classes), num_outputs=outputs)
    model = model_from_contract(contract)
    found = start_warm(model, saved, kept=())
    head = model.get_parameter("head.2.weight")
    assert (head.shape == (outputs, 16), found.same_classes) == (True, same)
    assert (same and torch.equal(head, saved.get_parameter("head.2.weight"))) == same
    text = "head as before" if same else "head drawn anew: 3 classes in place of 3, 3 of the same name"
    assert text in str(found)


def test_hidden_layers_of_a_head_are_carried() -> None:
    saved, model = trained("simple_4layer_cnn", "zero"), build("simple_4layer_cnn", "zero", BEFORE, classes="xy")
    start_warm(model, saved, kept=())
    first, last = [key for key in saved.state_dict() if key.startswith("head.") and key.endswith("weight")]
    assert torch.equal(model.state_dict()[first], saved.state_dict()[first])
    assert model.state_dict()[last].shape == (2, 128)


def test_backbone() -> None:
    constants: dict[str, Any] = {"offset": [0.0] * 3, "scale": [1.0] * 3, "verbose": False}
    saved = adapt(OwnCNN(), channels=RGB, **constants)
    bands = SENTINEL2.select("B02,B12,B04")  # blue, nothing, red
    model = adapt(OwnCNN(), channels=bands, num_classes=2, new_channels="random", **constants)
    begun = model.state_dict()["head.weight"].clone()
    found = start_warm(model, saved, kept=(), new_channels="zero")
    ours, theirs = model.state_dict(), saved.state_dict()
    assert torch.equal(ours["stem.conv.weight"][:, [0, 2]], theirs["stem.conv.weight"][:, [2, 0]])
    assert not ours["stem.conv.weight"][:, 1].any()
    for name in set(theirs) - {"stem.conv.weight", "head.weight", "head.bias"}:
        assert torch.equal(ours[name], theirs[name]), name
    assert torch.equal(ours["head.weight"], begun)
    assert (found.drawn, [row.how for row in found.mapping]) == ((), ["common name", "zero", "common name"])


def test_logits_that_no_linear_layer_gives() -> None:
    """Such a network's logits cannot be told from its features, so that other classes would get those of the old."""

    class Pooled(OwnCNN):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * 2

    model = adapt(Pooled(), channels=RGB, offset=[0.0] * 3, scale=[1.0] * 3, verbose=False)
    assert not list(model.head.parameters())
    renamed = adapt(Pooled(), channels=RGB, offset=[0.0] * 3, scale=[1.0] * 3, verbose=False)
    start_warm(renamed, model, kept=())
    renamed.contract = dataclasses.replace(renamed.contract, classes=tuple("vwxyz"))
    message = "the logits of own:Pooled do not come from a last linear layer that could be drawn anew for other classes"
    with pytest.raises(ConfigError, match=message):
        start_warm(renamed, model, kept=())


def test_constants_are_kept_for_known_channels_of_the_same_number_type() -> None:
    saved = trained("resnet8", "mean", dtype="uint16").contract
    own = [-1.0, -2.0, -3.0, -4.0], [1.0, 2.0, 3.0, 4.0]
    offset, scale, kept = start_constants(saved, NOW, "uint16", own)
    places = [BEFORE.index("B08"), BEFORE.index("B02"), BEFORE.index("B03")]
    assert offset == (saved.offset[places[0]], -2.0, saved.offset[places[1]], saved.offset[places[2]])
    assert scale == (saved.scale[places[0]], 2.0, saved.scale[places[1]], saved.scale[places[2]])
    assert kept == ("sentinel2:B08", "sentinel2:B02", "sentinel2:B03")
    assert start_constants(saved, NOW, "uint8", own) == (tuple(own[0]), tuple(own[1]), ())


def test_table_and_plain_values() -> None:
    model = build("resnet8", "mean", NOW, classes="ab")
    found = start_warm(model, trained("resnet8", "mean"), kept=("sentinel2:B08", "sentinel2:B02"), new_channels="zero")
    assert str(found).splitlines() == [
        "  sentinel2:B08 ← sentinel2:B08  (identity)",
        "  sentinel2:B12 ← nothing        (zero)",
        "  sentinel2:B02 ← sentinel2:B02  (identity)",
        "  sentinel2:B03 ← sentinel2:B03  (identity)",
        "  offset and scale of the new images for sentinel2:B12, sentinel2:B03, as before for the others",
        "  left out, as the images do not have them: sentinel2:B04",
        "  head drawn anew: 2 classes in place of 3, 2 of the same name",
    ]
    values = found.to_dict()
    assert values["saved"] == "resnet8, stem mean"
    assert values["channels"][1] == {"channel": "sentinel2:B12", "sources": (), "how": "zero", "normalization": "new"}
    assert values["head"] == {"carried": False, "classes": 2, "classes_before": 3, "classes_in_common": 2}
    whole = dataclasses.replace(found, kept=NOW.identities)
    assert "  offset and scale as before" in str(whole).splitlines()
    assert "  offset and scale of the new images" in str(dataclasses.replace(found, kept=())).splitlines()
