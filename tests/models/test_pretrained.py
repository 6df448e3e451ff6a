import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from anychan.errors import ContractError
from anychan.models.adapt import adapt
from anychan.models.catalog import create_model
from anychan.models.pretrained import load, model_digest, model_folder, save
from anychan.presets import RGB, SENTINEL2
from tests.backbones import OwnCNN
from tests.builders import build_model, mask, training_statistics
from tests.runs import ROOT

Weights = dict[str, torch.Tensor]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved resnet8."""
    save(create_model("resnet8", num_classes=5), tmp_path / "a" / "model")
    return tmp_path / "a" / "model"


def change_weights(folder: Path, change: Callable[[Weights], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


def test_folder_holds_two_files(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["contract.json", "model.safetensors"]


def test_constants_are_saved_once(folder: Path) -> None:
    names = set(load_file(folder / "model.safetensors"))
    assert not [name for name in names if name.startswith(("normalize", "stem.fill"))]
    assert "stem.conv.weight" in names


@pytest.mark.parametrize(
    ("name", "stem"), [("resnet8", "completion"), ("dynamic_cnn_v1", "generator_per_count"), ("resnet8", "zero")]
)
def test_loaded_model_gives_equal_logits_for_every_way_in(name: str, stem: str, tmp_path: Path) -> None:
    model = build_model(name, stem).float()
    save(model, str(tmp_path))
    loaded, x = load(str(tmp_path)), 9 * torch.rand(2, 3, 5, 7)
    assert not loaded.training
    present = mask(3, (0, 2), (1,))
    torch.testing.assert_close(loaded(x), model(x), rtol=0, atol=0)
    torch.testing.assert_close(loaded(x, present=present), model(x, present=present), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(loaded.select("B,R")(x[:, :2]), model.select("B,R")(x[:, :2]), rtol=1e-5, atol=1e-6)


def test_contract_is_loaded_whole(tmp_path: Path) -> None:
    model = create_model("resnet18", num_classes=3, options={"entry": "3x3"}, statistics=training_statistics(3))
    save(model, tmp_path)
    assert load(tmp_path).contract.to_dict() == model.contract.to_dict()


def test_temperature_is_loaded(tmp_path: Path) -> None:
    model = create_model("dynamic_resnet12", num_classes=5)
    model.get_buffer("stem.conv.temperature").fill_(7.0)
    save(model, tmp_path)
    assert load(tmp_path).state_dict()["stem.conv.temperature"] == 7


@pytest.mark.parametrize("name", ["resnet8", "dynamic_resnet12", "channel_vit_tiny"])
def test_number_type_is_kept(name: str, tmp_path: Path) -> None:
    model, x = build_model(name), 9 * torch.rand(2, 3, 32, 32)
    save(model, tmp_path)
    loaded = load(tmp_path)
    assert loaded(x).dtype == torch.float64
    for key, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value)
    torch.testing.assert_close(loaded(x), model(x), rtol=1e-12, atol=1e-12)


def test_number_type_of_ones_own_network_is_kept(tmp_path: Path) -> None:
    model = adapt(OwnCNN().double(), channels=RGB, offset=[3.0] * 3, scale=[7.0] * 3, verbose=False).eval()
    x = torch.rand(2, 3, 5, 7)
    save(model, tmp_path)
    for backbone in (OwnCNN().double(), OwnCNN()):
        assert torch.equal(load(tmp_path, backbone=backbone)(x), model(x))


def test_mixed_number_types_are_kept(tmp_path: Path) -> None:
    model = adapt(OwnCNN().double(), channels=RGB, offset=[3.0] * 3, scale=[7.0] * 3, verbose=False).eval()
    model.head.float()
    save(model, tmp_path)
    backbone = OwnCNN().double()
    backbone.last.float()
    loaded, x = load(tmp_path, backbone=backbone), torch.rand(2, 3, 5, 7)
    assert loaded.head.get_parameter("weight").dtype == torch.float32
    maps = [found.stem(found.normalize(x)) for found in (loaded, model)]
    assert maps[0].dtype == torch.float64
    assert torch.equal(*maps)


def test_saving_again_replaces(folder: Path) -> None:
    model = create_model("dynamic_cnn_v1", num_classes=5)
    save(model, folder)
    assert load(folder).name == "dynamic_cnn_v1"
    assert len(list(folder.iterdir())) == 2


def test_absent_files_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=re.escape(f"{tmp_path / 'contract.json'}: there is no contract here")):
        load(tmp_path)
    (folder / "model.safetensors").unlink()
    text = f"{folder / 'model.safetensors'}: there are no weights here; train the model to its end first"
    with pytest.raises(ContractError, match=re.escape(text)):
        load(folder)


def test_weights_file_instead_of_folder_is_refused(folder: Path) -> None:
    with pytest.raises(ContractError, match="there is no contract here; name the folder of a saved model"):
        load(folder / "model.safetensors")


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_truncated_weights_are_refused(folder: Path, keep: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ContractError, match=re.escape(f"{path}: the weights cannot be read (")):
        load(folder)


def test_pickle_is_refused(folder: Path) -> None:
    torch.save({"stem.conv.weight": torch.zeros(1)}, folder / "model.safetensors")
    with pytest.raises(ContractError, match="the weights cannot be read"):
        load(folder)


def test_missing_tensor_is_named(folder: Path) -> None:
    change_weights(folder, lambda weights: weights.pop("head.2.bias"))
    with pytest.raises(ContractError, match=r"the file lacks 'head.2.bias'; weights and contract do not belong"):
        load(folder)


def test_unknown_tensor_is_named(folder: Path) -> None:
    change_weights(folder, lambda weights: weights.update(extra=torch.zeros(1)))
    with pytest.raises(ContractError, match="the file has an unknown 'extra'; weights and contract do not belong"):
        load(folder)


def test_other_shape_is_named(folder: Path) -> None:
    change_weights(folder, lambda weights: weights.update({"head.2.bias": torch.zeros(7)}))
    text = "'head.2.bias' has shape (7,) where the contract means (5,); weights and contract do not belong together"
    with pytest.raises(ContractError, match=re.escape(text)):
        load(folder)


def test_contract_of_another_class_count_is_refused(folder: Path) -> None:
    path = folder / "contract.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "classes": ["a", "b"]}))
    with pytest.raises(ContractError, match=r"where the contract means \(2"):
        load(folder)


def test_contract_of_an_unknown_model_is_refused(folder: Path) -> None:
    path = folder / "contract.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "model": "resnet50"}))
    with pytest.raises(ContractError, match=r"contract\.json: no model is called 'resnet50'"):
        load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_outputs": 10**9}, r"has shape .* where the contract means \(1000000000,"),
        ({"num_outputs": 10**18}, "cannot be built"),
        ({"model": "wide_cnn4", "options": {"width": 10**7}}, "weights and contract do not belong together"),
        ({"model": "channel_vit_tiny", "stem": "tokens", "options": {"depth": 60_000}}, "the contract means many more"),
        (
            {"model": "channel_vit_tiny", "stem": "tokens", "options": {"depth": 10**9}},
            "a whole number from 1 to 65,536",
        ),
    ],
)
def test_a_giant_is_not_built(folder: Path, change: dict[str, object], message: str) -> None:
    path = folder / "contract.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ContractError, match=message):
        load(folder)


@pytest.mark.parametrize(
    "header", [b"[" * 5000, b'{"a":{"dtype":"F32","shape":[1000000000,1000000000],"data_offsets":[0,4]}}']
)
def test_lying_headers_are_refused(folder: Path, header: bytes) -> None:
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"1234")
    with pytest.raises(ContractError, match=r"model.safetensors: the weights cannot be read \("):
        load(folder)


@pytest.mark.parametrize("dtype", [torch.int64, torch.float8_e4m3fn])
def test_weights_of_another_kind_of_number_are_named(folder: Path, dtype: torch.dtype) -> None:
    change_weights(folder, lambda weights: weights.update({k: v.to(dtype) for k, v in weights.items()}))
    with pytest.raises(ContractError, match=r"is of type torch.*, which weights of that name cannot be"):
        load(folder)


def test_a_shipped_name_stands_for_its_folder_unless_there_is_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert model_folder("demo") == model_folder(Path("demo")) == ROOT / "src" / "anychan" / "demo_model"
    assert model_folder("demo2") == Path("demo2")
    assert set(load("demo").channels) == set(SENTINEL2)
    folder.rename(tmp_path / "demo")
    assert model_folder("demo") == Path("demo")
    assert load("demo").channels == RGB


@pytest.mark.parametrize("name", ["contract.json", "model.safetensors"])
def test_links_to_devices_are_not_read(name: str, folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / name).unlink()
    (copy / name).symlink_to("/dev/zero")
    for read in (load, model_digest):
        with pytest.raises(ContractError, match=re.escape(f"{copy / name}: ")):
            read(copy)


def test_digest_is_of_weights_and_contract(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    first = model_digest(folder)
    assert model_digest(str(copy)) == first
    change_weights(copy, lambda weights: weights["head.2.bias"].add_(1e-3))
    changed = model_digest(copy)
    model = load(folder)
    model.contract = dataclasses.replace(model.contract, classes=("b", "a", "c", "d", "e"))
    save(model, copy)
    assert len({first, changed, model_digest(copy)}) == 3
    for name in ("model.safetensors", "contract.json"):
        (copy / name).unlink()
        message = f"^{re.escape(str(copy / name))}: there are no weights here; train the model to its end first$"
        with pytest.raises(ContractError, match=message):
            model_digest(copy)
