import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from anychan.errors import ConfigError, ContractError
from anychan.models.adapt import adapt
from anychan.models.base import AnyChannelModel
from anychan.models.catalog import create_model, find_spec, with_changes
from anychan.models.libraries import LIBRARIES, build_backbone, builds, check_backbone, library_of, name_of
from anychan.models.pretrained import load, save
from anychan.presets import RGB, SENTINEL2
from anychan.profiling.macs import profile
from tests.backbones import TIMM, TORCHVISION, OwnCNN, needs_libraries
from tests.builders import mask, subsets


def marked(test: Callable[..., None]) -> Callable[..., None]:
    for mark in needs_libraries:
        test = mark(test)
    return test


def test_names_of_libraries() -> None:
    assert [library_of(f"{library}:x") for library in LIBRARIES] == ["timm", "torchvision"]
    assert [library_of(name) for name in ("resnet18", "own:x", "timm", "keras:x")] == [None] * 4


def test_own_networks_are_of_no_library() -> None:
    assert name_of(OwnCNN(), num_classes=5) is None


@pytest.mark.skipif(TIMM is not None, reason="timm is here")
def test_absent_library_is_named(tmp_path: Path) -> None:
    text = "timm:resnet18 needs timm: pip install 'anychan[backbones]'"
    with pytest.raises(ConfigError, match=re.escape(text)):
        find_spec("timm:resnet18")
    save(adapt(OwnCNN(), channels=RGB, offset=[0] * 3, scale=[1] * 3, verbose=False), tmp_path)
    path = tmp_path / "contract.json"
    path.write_text(path.read_text().replace("own:OwnCNN", "timm:resnet18"))
    with pytest.raises(ContractError, match=re.escape(f"{path}: {text}")):
        load(tmp_path)


def small_torchvision_vit() -> nn.Module:
    sizes = {"image_size": 32, "patch_size": 16, "num_layers": 1, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 16}
    found: nn.Module = TORCHVISION.VisionTransformer(**sizes, num_classes=5)
    nn.init.normal_(found.heads.head.weight)  # type: ignore[union-attr,arg-type]
    return found


def small_torchvision_convnext() -> nn.Module:
    block = TORCHVISION.convnext.CNBlockConfig
    return TORCHVISION.ConvNeXt([block(8, 16, 1), block(16, None, 1)], num_classes=5)  # type: ignore[no-any-return]


def timm_of(name: str, **options: Any) -> nn.Module:
    return TIMM.create_model(name, num_classes=5, **options)  # type: ignore[no-any-return]


BACKBONES: dict[str, Callable[[], nn.Module]] = {
    "timm resnet18": lambda: timm_of("resnet18"),
    "timm vit": lambda: timm_of("vit_tiny_patch16_224", img_size=32, depth=1, drop_path_rate=0.3),
    "timm convnext": lambda: timm_of("convnext_atto"),
    "torchvision resnet18": lambda: TORCHVISION.resnet18(num_classes=5),
    "torchvision vit": small_torchvision_vit,
    "torchvision convnext": small_torchvision_convnext,
}


@marked
@pytest.mark.parametrize("name", BACKBONES)
def test_library_networks_keep_the_contract(name: str) -> None:
    """Equal bits on R, G, B in both modes; a selection is a mask; one graph."""
    backbone = BACKBONES[name]()
    x = torch.randn(len(subsets(3)), 3, 32, 32)
    model = adapt(backbone, channels=RGB, offset=[0.0] * 3, scale=[1.0] * 3, verbose=False)
    for training in (True, False):
        outputs = []
        for network in (backbone.train(training), model.train(training)):
            torch.manual_seed(5)  # dropout and the like
            outputs.append([network(x), network(2 * x)])
        assert torch.equal(outputs[0][0], outputs[1][0])
        assert torch.equal(outputs[0][1], outputs[1][1])
    assert outputs[0][0].std() > 1e-3
    present = mask(3, *subsets(3))
    with torch.no_grad():
        masked = model(x.where(present[:, :, None, None], torch.nan), present=present)
        for number, row in enumerate(subsets(3)):
            view = model.select([RGB[channel] for channel in row])
            alone = x[number : number + 1, list(row)]
            torch.testing.assert_close(view(alone), masked[number : number + 1], rtol=1e-4, atol=1e-5)


@marked
@pytest.mark.parametrize("name", ["timm vit", "torchvision convnext"])
def test_selection_compiles_in_one_graph(name: str) -> None:
    model = adapt(BACKBONES[name]().eval(), channels=RGB, offset=[0.0] * 3, scale=[1.0] * 3, verbose=False)
    view, x = model.select(["B", "R"]), torch.randn(2, 2, 32, 32)
    with torch.no_grad():
        compiled = torch.compile(view, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(x), view(x))


@marked
def test_timm_says_how_it_normalises() -> None:
    backbone = timm_of("resnet18").eval()
    model = adapt(backbone, channels=RGB, verbose=False)
    x = torch.randint(0, 256, (2, 3, 33, 40), dtype=torch.uint8)
    config: Any = backbone.pretrained_cfg
    mean, std = (torch.tensor([255 * value for value in config[key]]) for key in ("mean", "std"))
    assert torch.equal(model(x), backbone((x.float() - mean[:, None, None]) / std[:, None, None]))
    part = adapt(backbone, channels=RGB.select("B,G"), verbose=False).contract
    assert part.offset == pytest.approx((103.53, 116.28))
    with pytest.raises(ConfigError, match="ResNet does not say how B04 are normalised; give offset="):
        adapt(backbone, channels=SENTINEL2.select("B04"), verbose=False)


@marked
@pytest.mark.parametrize(
    ("build", "name", "options"),
    [
        (lambda: timm_of("resnet18"), None, {}),
        (lambda: timm_of("vit_tiny_patch16_224", img_size=32), "timm:vit_tiny_patch16_224", {"img_size": 32}),
        (lambda: TORCHVISION.resnet18(num_classes=7), None, {}),
        (lambda: TORCHVISION.mobilenet_v3_small(dropout=0.7), "torchvision:mobilenet_v3_small", {"dropout": 0.7}),
    ],
    ids=["timm", "timm with options", "torchvision", "torchvision with options"],
)
def test_saved_and_loaded(build: Any, name: str | None, options: dict[str, Any], tmp_path: Path) -> None:
    channels = SENTINEL2.select("B02,B04,B08")
    constants: dict[str, Any] = {"offset": [100.0] * 3, "scale": [10.0] * 3}
    choices: dict[str, Any] = {"name": name, "options": options, "new_channels": "random", "num_classes": 3}
    model = adapt(build(), channels=channels, **constants, **choices, verbose=False).eval()
    assert model.name == (name or f"{type(build()).__module__.split('.')[0]}:resnet18")
    save(model, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["contract.json", "model.safetensors"]
    loaded, x = load(tmp_path), 100 * torch.rand(2, 3, 32, 32)
    assert loaded.contract.to_dict() == model.contract.to_dict()
    assert torch.equal(loaded(x), model(x))
    assert torch.equal(loaded.select("B8")(x[:, 2:]), model.select("B8")(x[:, 2:]))


@marked
def test_another_stem_for_a_library_network() -> None:
    model = create_model("timm:resnet18", num_classes=3, offset=[50.0] * 3, scale=[9.0] * 3).eval()
    other, x = with_changes(model, stem="zero"), 100 * torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(other(x), model(x))
    assert not torch.allclose(other.select("B")(x[:, 2:]), model.select("B")(x[:, 2:]))


@marked
def test_name_must_build_the_same_network() -> None:
    swish = timm_of("resnet18", act_layer=nn.SiLU)  # the same weights, another network
    assert name_of(swish, num_classes=5) is None
    assert builds("timm:resnet18", {"act_layer": nn.SiLU}, swish, num_classes=5)
    state = torch.get_rng_state()
    assert name_of(timm_of("resnet18"), num_classes=5) == "timm:resnet18"
    vit = timm_of("vit_tiny_patch16_224", img_size=32, depth=1)
    text = (
        "timm:vit_tiny_patch16_224 with the options {'depth': 1} builds another network than the one given; name what"
    )
    with pytest.raises(ConfigError, match=re.escape(text)):
        adapt(vit, channels=RGB, name="timm:vit_tiny_patch16_224", options={"depth": 1}, verbose=False)
    torch.set_rng_state(state)
    name_of(vit, num_classes=5)
    assert torch.equal(torch.get_rng_state(), state)


def small_vit(**options: Any) -> nn.Module:
    return timm_of("vit_tiny_patch16_224", **{"img_size": 32, "depth": 1, **options})


@marked
@pytest.mark.parametrize(
    ("build", "options"),
    [
        (small_vit, {"num_heads": 6}),
        (small_vit, {"dynamic_img_size": True}),
        (lambda **options: timm_of("resnet18", **options), {"drop_rate": 0.5}),
    ],
    ids=["num_heads", "dynamic_img_size", "drop_rate"],
)
def test_options_that_neither_print_nor_shape_are_told_apart(build: Any, options: dict[str, Any]) -> None:
    plain, other = build(), build(**options)
    assert repr(plain) == repr(other)
    name = "timm:" + plain.pretrained_cfg["architecture"]
    sizes = {} if name == "timm:resnet18" else {"img_size": 32, "depth": 1}
    assert builds(name, sizes, plain.eval(), num_classes=5)
    assert not builds(name, sizes, other, num_classes=5)
    assert builds(name, {**sizes, **options}, other, num_classes=5)


@marked
def test_network_with_other_heads_is_its_own_and_comes_back(tmp_path: Path) -> None:
    backbone, x = timm_of("vit_tiny_patch16_224", num_heads=6).eval(), torch.rand(1, 3, 224, 224)
    model = adapt(backbone, channels=RGB, verbose=False)
    assert model.name == "own:VisionTransformer"
    save(model, tmp_path)
    assert torch.equal(load(tmp_path, backbone=backbone)(x), model(x))


@marked
def test_another_last_layer_leaves_the_name() -> None:
    backbone = timm_of("resnet18")
    backbone.fc = nn.Linear(512, 7)
    assert name_of(backbone, num_classes=7) == "timm:resnet18"


@marked
@pytest.mark.parametrize("name", ["timm:resnet18", "torchvision:resnet18"])
def test_created_by_name_for_any_channels(name: str) -> None:
    def create(**options: Any) -> AnyChannelModel:
        torch.manual_seed(1)
        return create_model(name, num_classes=4, **options).eval()

    assert (find_spec(name).stem, find_spec(name).size) == ("mean", 224)
    torch.manual_seed(1)
    backbone = build_backbone(name, {}, num_classes=4).eval()
    x = torch.randn(2, 3, 32, 32)
    plain = create(offset=[0.0] * 3, scale=[1.0] * 3)
    assert torch.equal(plain(x), backbone(x))
    assert torch.equal(plain(x), create(offset=[0.0] * 3, scale=[1.0] * 3)(x))
    wide = create(channels=SENTINEL2)
    assert wide(torch.zeros(1, 13, 32, 40, dtype=torch.uint16)).shape == (1, 4)
    kernel = wide.state_dict()["stem.conv.weight"]
    assert kernel.shape == (64, 13, 7, 7)
    assert kernel.std() == pytest.approx(float(plain.state_dict()["stem.conv.weight"].std()), rel=0.05)
    found = profile(wide, (1, 13, 32, 32))
    assert found.params == sum(parameter.numel() for parameter in backbone.parameters()) + 64 * 10 * 49


@marked
@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("timm:resnet1", {}, "timm has no model 'resnet1'; timm.list_models() lists its classifiers"),
        ("torchvision:fcn", {}, "torchvision has no model 'fcn'; torchvision.models.list_models(module=torchvision."),
        (
            "timm:resnet18",
            {"depth": 3},
            "timm:resnet18 cannot be built with the options {'depth': 3}: ResNet.__init__()",
        ),
        (
            "timm:resnet18",
            {"pretrained": True},
            "timm:resnet18 takes no option 'pretrained' here; give a file of weights as",
        ),
        (
            "torchvision:resnet18",
            {"weights": "DEFAULT"},
            "takes no option 'weights' here; give a file of weights as model.pre",
        ),
        ("timm:resnet18", {"num_classes": 3}, "has no option 'num_classes'; its options: what its library takes"),
    ],
)
def test_mistakes_are_named(name: str, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(text)):
        create_model(name, num_classes=5, options=options)
    check_backbone("timm:resnet18")
