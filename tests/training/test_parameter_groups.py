import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from anychan.data.dataset import load_data
from anychan.errors import ConfigError
from anychan.models.adapt import adapt
from anychan.models.catalog import create_model
from anychan.presets import RGB
from anychan.training.fit import build_model, fit
from anychan.training.parameter_groups import (
    fix_frozen_statistics,
    freeze,
    frozen_modules,
    parameter_groups,
    parameter_layers,
)
from anychan.training.task import make_optimizer
from tests.backbones import OwnCNN, OwnViT
from tests.runs import small_recipe


def layer_names(model: nn.Module) -> list[list[str]]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [[names[id(parameter)] for parameter in layer] for layer in parameter_layers(model)]


def own(backbone: nn.Module) -> nn.Module:
    return adapt(backbone, channels=RGB, offset=[0] * 3, scale=[1] * 3, verbose=False)


def test_layers_by_hand() -> None:
    found = layer_names(create_model("resnet8", num_classes=5))
    assert found[0] == ["stem.conv.weight", "body.bn1.weight", "body.bn1.bias"]
    assert [{name[: len("body.stages.0")] for name in layer} for layer in found[1:4]] == [
        {f"body.stages.{number}"} for number in range(3)
    ]
    assert found[4:] == [["head.2.weight", "head.2.bias"]]


def test_layers_of_a_vit_are_its_blocks() -> None:
    found = layer_names(own(OwnViT()))
    assert found[0] == ["stem.conv.weight", "stem.conv.bias", "body.backbone.positions"]
    assert {name.rsplit(".blocks.")[1][0] for name in found[1]} == {"0"}
    assert {name.rsplit(".blocks.")[1][0] for name in found[2][:-2]} == {"1"}
    assert found[2][-2:] == ["body.backbone.norm.weight", "body.backbone.norm.bias"]
    assert found[3:] == [["head.weight", "head.bias"]]


@pytest.mark.parametrize("name", ["baseline_cnn", "dynamic_cnn_v1", "wide_cnn4", "resnet18", "dynamic_resnet12"])
def test_every_parameter_is_in_one_layer(name: str) -> None:
    model = create_model(name, num_classes=5)
    found = [name for layer in layer_names(model) for name in layer]
    assert len(found) == len(set(found))
    assert set(found) == {name for name, _ in model.named_parameters()}
    assert all(parameter_layers(model))


def test_learning_rates_by_hand() -> None:
    model = own(OwnViT())
    config = small_recipe(lr=0.8, layer_lr_decay=0.5, optimizer="adamw", weight_decay=0.02).train
    groups = make_optimizer(model, config).param_groups
    assert [group["lr"] for group in groups] == [0.1, 0.2, 0.4, 0.8]
    assert {group["weight_decay"] for group in groups} == {0.02}
    assert [len(group["params"]) for group in groups] == [3, 12, 14, 2]
    freeze(model, ["body.backbone.blocks.0", "stem"])
    groups = parameter_groups(model, config)
    assert [(group["lr"], len(group["params"])) for group in groups] == [(0.1, 1), (0.4, 14), (0.8, 2)]
    config.layer_lr_decay = 1.0
    (group,) = parameter_groups(model, config)
    assert len(group["params"]) == 17
    assert "lr" not in group


@pytest.mark.parametrize(
    ("what", "frozen"),
    [("none", ()), ("body", ("body.",)), (["stem", "body.backbone.second.0"], ("stem.", "body.backbone.second.0."))],
)
def test_frozen_parts_stay_the_same_bits(what: Any, frozen: tuple[str, ...]) -> None:
    model = own(OwnCNN()).train()
    freeze(model, what)
    fix_frozen_statistics(model, what)
    before = deepcopy(model.state_dict())
    optimizer = make_optimizer(model, small_recipe(weight_decay=0.1).train)
    for _ in range(2):
        model(torch.randn(4, 3, 8, 9)).square().sum().backward()
        optimizer.step()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith(frozen), name
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert [norm.training for norm in norms] == [what != "body"] * 2
    assert [part.training for part in model.modules() if isinstance(part, nn.Dropout)] == [True]


def test_other_names_are_refused() -> None:
    model = own(OwnCNN())
    text = (
        "train.freeze names 'body.backbone.secon', but the model's modules are stem, stem.conv, body, body.backbone, "
    )
    text += "body.backbone.second, body.backbone.norm, head and those inside"
    for name in ("body.backbone.secon", ""):
        with pytest.raises(ConfigError, match=re.escape(text.replace("body.backbone.secon'", f"{name}'"))):
            frozen_modules(model, [name])
    with pytest.raises(ConfigError, match=re.escape("train.freeze ['stem', 'body', 'head'] leaves nothing to train")):
        freeze(model, ["stem", "body", "head"])


def test_run_trains_what_is_not_frozen(tmp_path: Path) -> None:
    recipe = small_recipe(freeze="body", lr=0.1)
    before = build_model(recipe, load_data(recipe.data, seed=0)).state_dict()
    fit(recipe, tmp_path / "run")
    after = load_file(tmp_path / "run" / "model.safetensors")
    assert before.keys() == after.keys()
    for name, value in after.items():  # running statistics too, through training and validation
        assert torch.equal(value, before[name]) == name.startswith("body."), name


def test_mistake_is_told_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.freeze names 'neck'"):
        fit(small_recipe(freeze=["neck"]), tmp_path / "run")
    assert not (tmp_path / "run").exists()
