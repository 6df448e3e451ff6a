import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from anychan import __version__
from anychan.deploy import export_verify
from anychan.deploy.export import METADATA, Export, export, export_model
from anychan.errors import AnychanError, ChannelError, ConfigError, ContractError, RunError
from anychan.models.adapt import adapt
from anychan.models.catalog import model_from_contract
from anychan.models.pretrained import save
from anychan.presets import RGB
from tests.backbones import OwnCNN
from tests.scenes import scene_model


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of four Sentinel-2 bands, of which the last was never trained."""
    contract = replace(scene_model().contract, untrained=("sentinel2:B08",))
    folder = tmp_path_factory.mktemp("models")
    save(model_from_contract(contract), folder)
    return folder


def about(path: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads({item.key: item.value for item in onnx.load(path).metadata_props}[METADATA])
    return found


def test_a_file_says_what_it_is(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "model.onnx"
    export(saved, out, Export(channels="red,B02", opset=21))
    assert capsys.readouterr().out == (
        f"images (batch, 2, height, width)\nchannels B04, B02; opset 21; {out.stat().st_size / 1e6:.1f} MB: {out}\n"
    )
    said = about(out)
    assert said["version"] == __version__
    assert said["form"] == "one_subset"
    assert said["channels"] == ["sentinel2:B04", "sentinel2:B02"]
    assert said["contract"] == json.loads((saved / "contract.json").read_text())
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    proto = onnx.load(out)
    onnx.checker.check_model(proto, full_check=True)
    assert str(Path(__file__).parents[2]) not in str(proto)  # nobody's folders


def test_a_network_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = adapt(OwnCNN().eval(), channels=RGB, offset=[0.0] * 3, scale=[255.0] * 3, verbose=False)
    out = tmp_path / "model.onnx"
    export_model(model, out, check=True)
    assert "own:OwnCNN: largest difference" in capsys.readouterr().out
    said = about(out)
    assert (said["form"], said["channels"]) == ("any_subset", list(RGB.identities))
    x = 255 * torch.rand(2, 3, 9, 11)
    x[1, 0] = torch.nan
    present = ~x.isnan().all(3).all(2)
    (found,) = onnxruntime.InferenceSession(out).run(None, {"images": x.numpy(), "present": present.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(found, model(x, present=present), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("out", "asked", "kind", "text"),
    [
        ("model.pt", Export(), ConfigError, "--out is {folder}/model.pt, but it must end in .onnx"),
        ("no/model.onnx", Export(), RunError, "{folder}/no/model.onnx: there is no folder {folder}/no; make it first"),
        ("model.onnx", Export(opset=17), ConfigError, "--opset is 17, but it must be 18 to 22"),
        ("model.onnx", Export(channels="B02,NIR9"), ChannelError, "channel 'NIR9' is not one of B02, B03, B04, B08;"),
        ("model.onnx", Export(channels="rgb"), ChannelError, "channel 'rgb:R' is not one of B02, B03, B04, B08;"),
        ("model.onnx", Export(channels="B02,blue"), ChannelError, "channel 'B02' is asked for twice"),
        ("model.onnx", Export(channels="B08"), ChannelError, "channel 'B08' was never trained, so its weights mean"),
    ],
)
def test_what_cannot_be_is_told(
    saved: Path, tmp_path: Path, out: str, asked: Export, kind: type[AnychanError], text: str
) -> None:
    with pytest.raises(kind) as caught:
        export(saved, tmp_path / out, asked)
    assert str(caught.value).startswith(text.format(folder=tmp_path))
    assert not list(tmp_path.iterdir())


def test_no_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"contract.json: there is no contract here; name the folder of a saved"):
        export(tmp_path / "absent", tmp_path / "model.onnx", Export())


def test_missing_packages_are_told(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)  # as if it were not installed
    with pytest.raises(ConfigError, match=r"^anychan export needs onnxscript: pip install 'anychan\[export\]'$"):
        export(saved, tmp_path / "model.onnx", Export())


def test_a_file_that_differs_is_not_written(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two numbers of float32 are never all equal."""
    monkeypatch.setattr(export_verify, "TOLERANCE", 0.0)
    with pytest.raises(ContractError, match=r"^baseline_cnn gives other logits .*B02\+B03: .* no file was written$"):
        export(saved, tmp_path / "model.onnx", Export(channels="B02,B03", verify=True))
    assert "largest difference" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "model.onnx.partial").mkdir()
    with pytest.raises(RunError, match=r"model.onnx: the file cannot be written \(Is a directory\)"):
        export_model(scene_model(RGB), tmp_path / "model.onnx", channels="R")
