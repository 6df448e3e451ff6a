"""Networks of timm and torchvision through the installed command: trained, saved, evaluated on subsets."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from anychan.models.pretrained import load
from tests.backbones import TIMM, needs_libraries
from tests.e2e.test_commands import accuracies, evaluated, succeed
from tests.runs import S2_TILES, run_anychan

pytestmark = needs_libraries


def recipe(folder: Path, model: dict[str, object], **train: object) -> Path:
    """Two steps on four Sentinel-2 bands."""
    values = {
        "data": {"path": str(S2_TILES), "size": 32},
        "model": model,
        "train": {"epochs": 1, "batch_size": 4, "lr": 0.01, "precision": "float32", **train},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.mark.parametrize(
    "model",
    [
        {"name": "timm:vit_tiny_patch16_224", "options": {"img_size": 32, "depth": 2}, "stem": "completion"},
        {"name": "torchvision:resnet18"},
    ],
    ids=lambda model: model["name"],
)
def test_any_bands_from_files_to_report(model: dict[str, object], tmp_path: Path) -> None:
    run = tmp_path / "run"
    train = {"channel_sampling": "uniform", "layer_lr_decay": 0.8}
    out = succeed("train", "--config", recipe(tmp_path, model, **train), "--out", run)
    assert "test accuracy" in out
    found = evaluated(run, "--channels", "B8,green", "--channels", "B04")
    assert list(accuracies(found)) == ["B03+B08", "B04"]
    loaded = load(run)
    assert loaded.contract.model == found["model"] == model["name"]
    assert loaded.contract.options == model.get("options", {})
    assert loaded.select("B04")(torch.zeros(1, 1, 32, 32, dtype=torch.uint16)).shape == (1, 2)


def test_profile_by_name() -> None:
    found = json.loads(succeed("profile", "timm:convnext_atto", "--channels", "sentinel2", "--size", 32, "--json"))
    assert found["input_shape"] == [1, 13, 32, 32]
    assert found["params"] == sum(value.numel() for value in TIMM.create_model("convnext_atto").parameters()) + 40 * 160


def test_stem_and_head_are_fine_tuned(tmp_path: Path) -> None:
    weights = TIMM.create_model("resnet18").state_dict()
    save_file(weights, tmp_path / "resnet18.safetensors")
    model: dict[str, object] = {"name": "timm:resnet18", "pretrained": str(tmp_path / "resnet18.safetensors")}
    config = recipe(tmp_path, model, freeze="body")
    code, _, err = run_anychan("train", "--config", config, "--out", tmp_path / "run")
    assert code == 2
    assert err.startswith("anychan: no weights for B08: they are none of R, G, B and not between two of them")
    code, _, err = run_anychan(
        "train", "--config", config, "--model.new_channels", "nearest", "--out", tmp_path / "run"
    )
    assert code == 0, err
    assert "sentinel2:B08 ← rgb:R  (nearest)" in err
    trained = load_file(tmp_path / "run" / "model.safetensors")
    for name, value in trained.items():
        if name.startswith("body."):  # batch-norm statistics too
            assert torch.equal(value, weights[name.removeprefix("body.backbone.")]), name
    kernel = weights["conv1.weight"][:, [2, 1, 0, 0]]
    assert not torch.equal(trained["stem.conv.weight"], kernel)
    torch.testing.assert_close(trained["stem.conv.weight"], kernel, rtol=0, atol=0.1)
    report = evaluated(tmp_path / "run", "--channels", "B04")
    assert report["untrained"] == ["body"]
    (tmp_path / "resnet18.safetensors").unlink()
    assert evaluated(tmp_path / "run", "--channels", "B04")["untrained"] == []


def test_size_of_a_vit_is_told(tmp_path: Path) -> None:
    config = recipe(tmp_path, {"name": "timm:vit_tiny_patch16_224"})
    code, _, err = run_anychan("train", "--config", config, "--out", tmp_path / "run")
    assert (code, err) == (
        2,
        "anychan: timm:vit_tiny_patch16_224 takes images of 224x224 pixels alone, not 32x32\n",
    )
    assert not (tmp_path / "run").exists()
