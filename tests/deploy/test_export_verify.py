from dataclasses import replace

import pytest
import torch

from anychan.contract import ResizeRule
from anychan.deploy.export_graph import graph_of
from anychan.deploy.export_verify import Difference, print_differences, verify
from anychan.encoding import Encoding
from anychan.errors import ContractError
from anychan.models.base import AnyChannelModel
from anychan.models.catalog import create_model, model_from_contract
from anychan.presets import RGB

FINE = Difference("R+G", (1, 2), ((4, 4), (9, 5)), logit=2.0, absolute=1e-7, relative=5e-8)


@pytest.fixture(scope="module")
def model() -> AnyChannelModel:
    """Trained on 12×12 pixels of bytes, of which 200 stands for no data in green."""
    torch.manual_seed(0)
    contract = create_model("baseline_cnn", num_classes=5).contract
    encodings = (Encoding(), Encoding(no_data=200), Encoding())
    contract = replace(contract, dtype="uint8", resize=ResizeRule(12), encodings=encodings)
    return model_from_contract(contract).eval()


@pytest.fixture(scope="module")
def content(model: AnyChannelModel) -> bytes:
    return graph_of(model).SerializeToString()  # type: ignore[no-any-return]


def test_every_kind_of_subset_is_compared(model: AnyChannelModel, content: bytes) -> None:
    found = verify(content, model, None)
    assert [row.channels for row in found] == ["R+G+B", "R", "B", "a subset an image"]
    for row in found:
        assert row.batches == (1, 2, 5)
        assert row.sizes == ((2, 2), (12, 12), (17, 4))
        assert 0 < row.logit < 10
        assert 0 <= row.absolute <= 1e-5 * row.logit
    assert found == verify(content, model, None)


@pytest.mark.parametrize("change", ["head.2.weight", "body.1.running_mean", "no_data"])
def test_another_model_is_found_out(model: AnyChannelModel, content: bytes, change: str) -> None:
    """By a weight, a mean, and a number of one channel that stands for no data."""
    contract = replace(model.contract, encodings=(Encoding(),) * 3) if change == "no_data" else model.contract
    other = model_from_contract(contract).eval()
    other.load_state_dict(model.state_dict())
    if change != "no_data":
        other.state_dict()[change][0] += 0.1
    found = {row.channels: row.relative > 1e-3 for row in verify(content, other, None)}
    expected = {"R+G+B", "a subset an image"} if change == "no_data" else set(found)
    assert {channels for channels, differs in found.items() if differs} == expected


def test_nan_is_no_agreement(model: AnyChannelModel, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    other = model_from_contract(model.contract).eval()
    other.state_dict()["head.2.bias"][2] = torch.nan
    with pytest.raises(ContractError, match=r"differ by nan of the largest, where 0.001 is allowed; no file was writt"):
        print_differences(verify(content, other, None), "baseline_cnn")
    assert "nan" in capsys.readouterr().out


def test_what_onnx_runtime_cannot_run_is_told(model: AnyChannelModel, content: bytes) -> None:
    with pytest.raises(ContractError, match=r"^ONNX Runtime cannot run baseline_cnn \([^\n]*\); no file was written$"):
        verify(content[: len(content) // 2], model, None)
    with pytest.raises(ContractError, match=r"^ONNX Runtime cannot run baseline_cnn \([^\n]*present[^\n]*\); no fi"):
        verify(content, model, RGB)


def test_differences_are_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    print_differences([FINE], "resnet8")
    out = capsys.readouterr().out
    assert "resnet8: largest difference between ONNX Runtime and PyTorch" in out
    for cell in ("R+G", "1, 2", "4x4, 9x5", "1e-07", "5e-08"):
        assert f" {cell} " in out
    text = "^resnet8 gives other logits in ONNX Runtime than in PyTorch on R: they differ by 0.002 of the largest"
    with pytest.raises(ContractError, match=text):
        print_differences([FINE, replace(FINE, channels="R", relative=0.002)], "resnet8")
