import re
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from anychan.contract import Contract
from anychan.errors import ChannelError, ConfigError
from anychan.models.adapt import adapt
from anychan.models.anatomy import examine
from anychan.models.backbone import around
from anychan.models.backbone_weights import check_takes_kernel, load_backbone_weights
from anychan.models.base import AnyChannelModel
from anychan.models.catalog import STEMS, create_model, model_from_contract
from anychan.presets import RGB, SENTINEL2
from tests.backbones import OwnCNN


def test_library_weights_are_for_library_networks(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"model\.pretrained is for networks of timm and torchvision, not for resnet8"
    ):
        load_backbone_weights(create_model("resnet8", num_classes=5), tmp_path)


@dataclass(frozen=True)
class Files:
    backbone: OwnCNN
    model: AnyChannelModel
    path: Path

    def write(self, **changes: Tensor | None) -> None:
        weights = {**self.backbone.state_dict(), **{key.replace("__", "."): value for key, value in changes.items()}}
        save_file({name: value for name, value in weights.items() if value is not None}, self.path)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A network, a fresh model of its kind for other channels and classes, and a place for its weights."""
    bands = SENTINEL2.select("B04,B08,B02")
    constants: dict[str, Any] = {"offset": [0.0] * 3, "scale": [1.0] * 3}
    model = adapt(OwnCNN(), channels=bands, num_classes=2, new_channels="zero", verbose=False, **constants)
    found = Files(OwnCNN(), model, tmp_path / "weights.safetensors")
    found.write()
    return found


def test_weights_of_the_backbones_own_layout(files: Files) -> None:
    head = files.model.state_dict()["head.weight"].clone()
    load_backbone_weights(files.model, files.path, new_channels="nearest")
    state, theirs = files.model.state_dict(), files.backbone.state_dict()
    assert torch.equal(state["stem.conv.weight"], theirs["first.weight"][:, [0, 0, 2]])
    assert torch.equal(state["body.backbone.second.0.weight"], theirs["second.0.weight"])
    assert torch.equal(state["head.weight"], head)
    assert [row.how for row in files.model.mapping] == ["common name", "nearest", "common name"]


@pytest.mark.parametrize("stem", ["learned_padding", "expansion"])
def test_what_a_stem_learns_beside_its_kernel_stays(files: Files, stem: str) -> None:
    model = adapt(OwnCNN(), channels=RGB, stem=stem, offset=[0.0] * 3, scale=[1.0] * 3, verbose=False)
    own = [name for name in model.state_dict() if name.startswith("stem.") and not name.startswith("stem.conv.")]
    before = {name: model.state_dict()[name].clone() for name in own}
    assert own
    load_backbone_weights(model, files.path)
    state = model.state_dict()
    for name, value in files.backbone.state_dict().items():
        assert torch.equal(state[model.body.our_name(name)], value)  # type: ignore[operator]
    for name in own:
        assert torch.equal(state[name], before[name])
    files.write(extra=torch.zeros(1))
    with pytest.raises(ConfigError, match=r"the file has an unknown 'body\.backbone\.extra'"):
        load_backbone_weights(model, files.path)


@pytest.mark.parametrize("stem", ["dynamic", "wavelength"])
def test_stems_with_kernels_of_their_own_are_refused(files: Files, stem: str) -> None:
    text = f"stem {stem!r} makes its own kernels, so it cannot begin with those of a trained first layer; choose one of"
    constants: dict[str, Any] = {"offset": [0.0] * 3, "scale": [1.0] * 3}
    contract = Contract("own:OwnCNN", {}, stem, RGB, (0.0,) * 3, (1.0,) * 3, tuple("abcde"))
    fresh = model_from_contract(contract, around(OwnCNN(), examine(OwnCNN())))
    with pytest.raises(ConfigError, match=text):
        load_backbone_weights(fresh, files.path)
    with pytest.raises(ConfigError, match=text) as error:
        adapt(OwnCNN(), channels=RGB, stem=stem, verbose=False, **constants)
    for other in str(error.value).partition("one of ")[2].split(", "):
        assert other in STEMS
        check_takes_kernel(other)


def test_weights_of_another_network_are_refused(files: Files) -> None:
    wide, extra = torch.zeros(6, 4, 3, 5), torch.zeros(1)
    cases: list[tuple[dict[str, Tensor | None], str]] = [
        ({"extra": extra}, "the file has an unknown 'body.backbone.extra'; it holds another network than own:OwnCNN"),
        ({"norm__bias": None}, "the file lacks 'body.backbone.norm.bias'; it holds another network"),
        ({"norm__bias": extra}, "'body.backbone.norm.bias' has another shape; the file holds another network"),
        ({"first__weight": wide}, "the file has a first kernel of 4 channels, not one of R, G, B"),
        ({"first__weight": None}, "the file has no first kernel, not one of R, G, B"),
    ]
    before = deepcopy(files.model.state_dict())
    for changes, text in cases:
        files.write(**changes)
        with pytest.raises(ConfigError, match=re.escape(f"{files.path}: {text}")):
            load_backbone_weights(files.model, files.path, new_channels="zero")
    files.write()
    with pytest.raises(ChannelError, match="no weights for B08"):
        load_backbone_weights(files.model, files.path)
    files.path.write_bytes(b"")
    with pytest.raises(ConfigError, match=r"the pretrained weights cannot be read \(.*\); it takes safetensors"):
        load_backbone_weights(files.model, files.path)
    with pytest.raises(ConfigError, match=r"the pretrained weights cannot be read \(.*No such file"):
        load_backbone_weights(files.model, files.path.with_name("absent"))
    for name, value in files.model.state_dict().items():
        assert torch.equal(value, before[name])
