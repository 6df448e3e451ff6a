import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from anychan.channels import ChannelSet
from anychan.errors import ChannelError, ConfigError, ContractError, InputShapeError
from anychan.models.adapt import adapt
from anychan.models.base import AnyChannelModel
from anychan.models.pretrained import load, save
from anychan.nn.fill import FILLS
from anychan.presets import RGB, SENTINEL2
from anychan.profiling.macs import profile
from tests.backbones import OwnCNN, OwnViT, TwoNames
from tests.builders import conv_macs, mask, raw_images, subsets, training_statistics

SIZE = (8, 12)


def adapted(backbone: nn.Module, **changes: Any) -> AnyChannelModel:
    """For R, G, B without normalisation, unless told otherwise."""
    plain = {"channels": RGB, "offset": (0.0,) * 3, "scale": (1.0,) * 3, "verbose": False}
    return adapt(backbone, **{**plain, **changes})


def lively(backbone: nn.Module) -> nn.Module:
    """Batch-norm statistics that are not the fresh ones, in float64 and eval mode."""
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return backbone.double().eval()


def backbones() -> list[nn.Module]:
    return [lively(OwnCNN()), lively(OwnViT())]


@pytest.mark.parametrize("kind", [0, 1], ids=["cnn", "vit"])
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_logits_on_the_sources_channels_are_the_same_bits(kind: int, training: bool) -> None:
    backbone = backbones()[kind].float().train(training)
    model = adapted(backbone)
    assert model.training == training
    x = torch.randn(4, 3, *SIZE)
    outputs = []
    for network in (backbone, model):
        torch.manual_seed(5)  # dropout
        outputs.append([network(x), network(2 * x)])
    assert torch.equal(outputs[0][0], outputs[1][0])
    assert torch.equal(outputs[0][1], outputs[1][1])
    theirs, ours = backbone.state_dict(), model.state_dict()
    assert list(theirs) != list(ours)
    assert {model.body.our_name(name) for name in theirs} == set(ours)  # type: ignore[operator]
    for name, value in theirs.items():  # batch norm has learned the same
        assert torch.equal(value, ours[model.body.our_name(name)])  # type: ignore[operator]


def test_what_is_frozen_stays_frozen() -> None:
    backbone = OwnCNN().requires_grad_(False).train()
    backbone.last.requires_grad_(True)
    backbone.norm.eval()
    model = adapted(backbone)
    assert {name for name, value in model.named_parameters() if value.requires_grad} == {"head.weight", "head.bias"}
    assert [name for name, part in model.named_modules() if not part.training] == ["body.backbone.norm"]
    backbone.eval().norm.train()
    assert [name for name, part in adapted(backbone).named_modules() if part.training] == ["body.backbone.norm"]


def test_constants_act_as_outside() -> None:
    backbone = OwnCNN().eval()
    offset, scale = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    model = adapt(backbone, channels=RGB, offset=offset, scale=scale, verbose=False)
    x = torch.randint(0, 256, (2, 3, 9, 11), dtype=torch.uint8)
    outside = (x.float() - torch.tensor(offset)[:, None, None]) / torch.tensor(scale)[:, None, None]
    assert torch.equal(model(x), backbone(outside))


def test_the_backbone_is_copied() -> None:
    backbone = OwnCNN()
    before, layout = deepcopy(backbone.state_dict()), repr(backbone)
    model = adapted(backbone, num_classes=2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert repr(backbone) == layout
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.fixture(scope="module", params=[0, 1], ids=["cnn", "vit"])
def backbone(request: pytest.FixtureRequest) -> Iterator[nn.Module]:
    torch.manual_seed(0)
    found: nn.Module = backbones()[request.param]
    return found  # type: ignore[return-value]


@pytest.mark.parametrize("stem", FILLS)
def test_selection_equals_mask_for_every_subset(backbone: nn.Module, stem: str) -> None:
    """One ragged batch holds every subset, poisoned where channels are absent; each selection sees its image alone."""
    model = adapt(
        backbone,
        channels=RGB,
        stem=stem,
        offset=(3.0, 5.0, 7.0),
        scale=(2.0, 4.0, 8.0),
        statistics=training_statistics(3),
        verbose=False,
    )
    rows = subsets(3)
    x, present = raw_images(len(rows), *SIZE), mask(3, *rows)
    with torch.no_grad():
        masked = model(x.where(present[:, :, None, None], torch.nan), present=present)
        assert (masked[0] - masked[1]).abs().max() > 1e-6
        for number, row in enumerate(rows):
            index = row[::-1]
            selection = model.select([RGB[channel] for channel in index])
            alone = selection(x[number : number + 1, list(index)])
            torch.testing.assert_close(masked[number : number + 1], alone, rtol=1e-8, atol=1e-9)


def test_features_come_before_the_head(backbone: nn.Module) -> None:
    model, x = adapted(backbone), raw_images(2, *SIZE)
    assert model.forward_features(x).shape == (2, 8)
    assert torch.equal(model.head(model.forward_features(x)), model(x))
    selection = model.select("B,R")
    features = selection.forward_features(x[:, [2, 0]])
    assert torch.equal(model.head(features), selection(x[:, [2, 0]]))


def test_selection_compiles_in_one_graph(backbone: nn.Module) -> None:
    view = adapted(backbone).select(["B", "R"])
    x = raw_images(2, *SIZE)[:, :2]
    with torch.no_grad():
        compiled = torch.compile(view, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(x), view(x), rtol=0, atol=0)


def test_training_a_selection_trains_every_weight(backbone: nn.Module) -> None:
    model = adapted(deepcopy(backbone).train())
    selection = model.select("B,R")
    before = {name: value.clone() for name, value in model.named_buffers()}
    selection(raw_images(2, *SIZE)[:, :2]).square().sum().backward()
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]
    for name, value in model.named_buffers():
        assert torch.equal(value, before[name])
    for name, value in selection.named_buffers(recurse=False):
        assert not torch.equal(value, model.get_buffer(name.replace("__", "."))), name


def test_sizes() -> None:
    cnn, vit = (adapted(found) for found in backbones())
    for size in ((1, 1), (1, 4), (13, 5)):
        assert cnn(raw_images(2, *size)).shape == (2, 5)
    for model, size in ((vit, (12, 8)), (vit, (8, 11))):
        text = f"own:OwnViT takes images of 8x12 pixels alone, not {size[0]}x{size[1]}"
        for call in (model, model.select("G,R,B")):
            with pytest.raises(InputShapeError, match=text):
                call(raw_images(2, *size))
    vit.fixed_size, vit.size_step = None, 4
    with pytest.raises(InputShapeError, match="takes heights and widths that are multiples of 4 pixels, not 8x10"):
        vit.check_size(8, 10)


def test_training_batch_of_one_value_a_channel_is_refused() -> None:
    model = adapted(OwnCNN())
    with pytest.raises(InputShapeError, match="leaves batch norm one value a channel in own:OwnCNN"):
        model(torch.zeros(1, 3, 1, 1))


def test_kernels_go_where_the_mapping_says(capsys: pytest.CaptureFixture[str]) -> None:
    backbone = OwnCNN().eval()
    channels = ChannelSet([*SENTINEL2.select(["B08", "B03"]), RGB[2]])
    model = adapt(backbone, channels=channels, offset=(0.0,) * 3, scale=(1.0,) * 3, new_channels="zero")
    assert capsys.readouterr().out.splitlines() == [
        "own:OwnCNN: kernels of the first layer",
        "  sentinel2:B08 ← nothing  (zero)",
        "  sentinel2:B03 ← rgb:G    (common name)",
        "  rgb:B         ← rgb:B    (identity)",
    ]
    assert [row.how for row in model.mapping] == ["zero", "common name", "identity"]
    x = torch.randn(2, 3, 9, 11)
    theirs = torch.stack([torch.zeros(2, 9, 11), x[:, 1], x[:, 2]], 1)
    torch.testing.assert_close(model(x), backbone(theirs))
    adapted(backbone, channels=channels, new_channels="zero")
    assert capsys.readouterr().out == ""


def test_random_kernels_are_drawn_from_the_global_state() -> None:
    backbone = OwnCNN()
    kernels = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        model = adapt(
            backbone,
            channels=SENTINEL2.select("B04,B12"),
            offset=[0] * 2,
            scale=[1] * 2,
            new_channels="random",
            verbose=False,
        )
        kernels.append(model.state_dict()["stem.conv.weight"])
        assert torch.equal(kernels[-1][:, 0], backbone.first.weight[:, 0])
        bias = backbone.first.bias
        assert bias is not None
        assert torch.equal(model.state_dict()["stem.conv.bias"], bias)
    assert torch.equal(kernels[0], kernels[1])
    assert not torch.equal(kernels[0][:, 1], kernels[2][:, 1])
    bound = (2 * 15) ** -0.5  # PyTorch draws uniformly up to 1 / sqrt(fan in)
    assert 0.5 * bound < kernels[0][:, 1].abs().max() <= bound


def test_mistakes_are_named() -> None:
    cnn = OwnCNN()
    with pytest.raises(ChannelError, match="no weights for B01, B05"):
        adapted(cnn, channels=SENTINEL2.select("B01,B02,B05"))
    text = (
        "the first layer 'first' takes 3 channels, but source_channels names 2 (R, B); name those that it was trained"
    )
    with pytest.raises(ChannelError, match=re.escape(text)):
        adapted(cnn, source_channels=RGB.select("R,B"))
    for missing, number in (("offset", "0.0"), ("scale", "1.0")):
        text = f"OwnCNN does not say how R, G, B are normalised; give {missing}= in raw values, "
        text += f"a number a channel ({number} leaves them as they are), or statistics="
        with pytest.raises(ConfigError, match=re.escape(text)):
            adapted(cnn, **{missing: None})
    with pytest.raises(ConfigError, match=r"options \{'depth': 3\} were given without the name of a library's network"):
        adapted(cnn, options={"depth": 3})
    text = "options {'layer': <class 'torch.nn.modules.activation.ReLU'>} cannot be written as JSON, so no saved model"
    with pytest.raises(ConfigError, match=re.escape(text)):
        adapted(cnn, name="timm:convnext_atto", options={"layer": nn.ReLU})
    with pytest.raises(ConfigError, match="no stem is called 'median'"):
        adapted(cnn, stem="median")
    for wrong in ({"offset": [0.0]}, {"scale": [1.0] * 4}, {"offset": [0.0], "scale": [1.0]}):
        text = "own:OwnCNN: offset and scale must have one value for each of 3 channels"
        with pytest.raises(ContractError, match=text):
            adapted(cnn, **wrong)


def test_statistics_stand_in_for_constants() -> None:
    statistics = training_statistics(3)
    contract = adapt(OwnCNN(), channels=RGB, statistics=statistics, verbose=False).contract
    assert contract.offset == tuple(statistics.mean)
    assert contract.scale == tuple(statistics.std)


def test_profile_counts_the_stem_of_a_selection() -> None:
    model = adapted(OwnCNN())
    found = [profile(model, (1, count, 8, 12), channels=RGB.select(RGB.names[:count])) for count in (3, 1)]
    second = conv_macs(6, 8, 3, 4, 6) + 8 * 5
    assert [row.macs for row in found] == [count * 6 * 15 * 24 + second for count in (3, 1)]


def saved(tmp_path: Path, **options: object) -> AnyChannelModel:
    model = adapted(lively(OwnViT()).float(), **options).eval()
    save(model, tmp_path)
    return model


@pytest.mark.parametrize("options", [{}, {"num_classes": 9, "stem": "present_mean", "name": "mine", "size": (8, 12)}])
def test_own_network_is_loaded_around_a_given_one(tmp_path: Path, options: dict[str, object]) -> None:
    model, fresh, x = saved(tmp_path, **options), OwnViT(), torch.randn(2, 3, *SIZE)
    layout = repr(fresh)
    loaded = load(tmp_path, backbone=fresh)
    assert loaded.name == model.name == ("own:mine" if options else "own:OwnViT")
    assert loaded.contract.to_dict() == model.contract.to_dict()
    assert torch.equal(loaded(x), model(x))
    assert torch.equal(loaded.select("B,R")(x[:, :2]), model.select("B,R")(x[:, :2]))
    assert repr(fresh) == layout


def test_first_layer_of_two_names_never_reads_absent_channels(tmp_path: Path) -> None:
    backbone, x = TwoNames().eval(), torch.randn(2, 3, *SIZE)
    model, present = adapted(backbone), mask(3, (0, 2), (1,))
    assert torch.equal(model(x), backbone(x))
    poisoned = x.where(present[:, :, None, None], torch.nan)
    assert torch.isfinite(model(poisoned, present=present)).all()
    save(model, tmp_path)
    assert torch.equal(load(tmp_path, backbone=TwoNames())(x), backbone(x))


def test_own_network_must_be_given(tmp_path: Path) -> None:
    saved(tmp_path)
    text = "own:OwnViT is a network that only your own code builds; give it: load(folder, backbone=...)"
    with pytest.raises(ContractError, match=re.escape(f"{tmp_path / 'contract.json'}: {text}")):
        load(tmp_path)
    with pytest.raises(ContractError, match="weights and contract do not belong together"):
        load(tmp_path, backbone=OwnCNN())
