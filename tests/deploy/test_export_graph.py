import re
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from anychan.deploy.export_graph import AnySubset, OneSubset, graph_of
from anychan.deploy.export_verify import verify
from anychan.errors import ConfigError
from anychan.models.adapt import adapt
from anychan.models.base import AnyChannelModel
from anychan.models.catalog import CATALOG, create_model, model_from_contract
from anychan.models.measure import measure_subsets
from anychan.presets import RGB
from anychan.profiling.engines import OPSETS
from tests.backbones import OwnCNN, OwnViT
from tests.builders import build_model, mask, raw_images, subsets, training_statistics
from tests.models.test_anatomy import WholePatches
from tests.models.test_catalog import stems_of
from tests.runs import ROOT, anonymous

FORMS = (None, "B,R")


def difference(model: AnyChannelModel, channels: str | None) -> float:
    """The largest one between ONNX Runtime and PyTorch, of the largest logit; NaN if there is any."""
    content = graph_of(model, channels).SerializeToString()
    found = verify(content, model, None if channels is None else model.channels.select(channels))
    return float(torch.tensor([row.relative for row in found]).max())


def own(backbone: nn.Module) -> AnyChannelModel:
    """A network of one's own for R, G and B."""
    return adapt(backbone.eval(), channels=RGB, offset=[0.0] * 3, scale=[9.0] * 3, verbose=False)


def with_own_statistics(num_channels: int) -> AnyChannelModel:
    """A network whose batch norms have statistics of their own for each subset, or each number of channels."""
    rule = "subset" if num_channels == 3 else "size"
    contract = create_model("baseline_cnn", channels=anonymous(num_channels), num_classes=5).contract
    model = model_from_contract(replace(contract, batch_norm=rule)).double().eval()
    assert model.subset_statistics is not None
    for name, buffer in model.subset_statistics.named_buffers():
        buffer.uniform_(0.5, 2) if name.endswith("var") else buffer.normal_()
    return model


@pytest.mark.parametrize("num_channels", [3, 5])
@torch.no_grad()
def test_each_image_has_the_statistics_of_its_subset(num_channels: int) -> None:
    model, rows = with_own_statistics(num_channels), subsets(num_channels)
    present = mask(num_channels, *rows)
    x = torch.randn(len(rows), num_channels, 5, 7, dtype=torch.float64) * 100
    found = AnySubset(deepcopy(model))(x.where(present[:, :, None, None], torch.nan), present)
    torch.testing.assert_close(found, model(x, present=present))
    assert not torch.allclose(found, model(x, present=present, saved=False))


class BatchNormAct(nn.BatchNorm2d):
    """With its activation inside, as timm's."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).relu()


@pytest.mark.parametrize(
    ("before", "norm"),
    [
        (nn.Flatten(1, 1), BatchNormAct(4)),
        (nn.Flatten(1, 1), nn.BatchNorm2d(4, affine=False)),
        (nn.Flatten(2), nn.BatchNorm1d(4, eps=0.1)),
    ],
)
@torch.no_grad()
def test_any_batch_norm_can_have_statistics_of_each_image(before: nn.Module, norm: nn.Module) -> None:
    model = own(nn.Sequential(nn.Conv2d(3, 4, 3), before, norm, nn.Flatten(2), MeanOfLast(), nn.Linear(4, 5)))
    measure_subsets(model, [raw_images(16, 5, 7).float()])
    x, present = raw_images(3, 5, 7).float(), mask(3, (0,), (1, 2), (0, 1, 2))
    torch.testing.assert_close(AnySubset(deepcopy(model))(x, present), model(x, present=present))
    assert not torch.allclose(model(x, present=present), model(x, present=present, saved=False))


class MeanOfLast(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(-1)


@torch.no_grad()
def test_only_the_classes_have_logits() -> None:
    contract = replace(create_model("resnet8", num_classes=5).contract, num_outputs=9)
    model, x = model_from_contract(contract).eval(), 255 * torch.rand(2, 3, 5, 7)
    torch.testing.assert_close(AnySubset(model)(x, torch.ones(2, 3).bool()), model(x)[:, :5])
    torch.testing.assert_close(OneSubset(model, "B,R")(x[:, [2, 0]]), model.select("B,R")(x[:, [2, 0]])[:, :5])


@pytest.mark.parametrize(
    ("name", "options", "channels"),
    [
        ("channel_vit_tiny", {"depth": 1, "width": 24}, None),
        ("shallow2_s", {}, "B,R"),
    ],
)
def test_onnx_runtime_gives_what_pytorch_gives(name: str, options: dict[str, Any], channels: str | None) -> None:
    assert difference(build_model(name, **options), channels) < 1e-5


def test_onnx_runtime_looks_the_statistics_up() -> None:
    assert difference(with_own_statistics(3), None) < 1e-5


def sides(proto: Any) -> list[str | int]:
    return [side.dim_param or side.dim_value for side in proto.graph.input[0].type.tensor_type.shape.dim]


def test_sizes_are_multiples_where_the_model_takes_no_others() -> None:
    model = own(WholePatches())
    proto = graph_of(model, "B,R")
    assert sides(proto) == ["batch", 2, "4*height", "4*width"]
    (found,) = verify(proto.SerializeToString(), model, RGB.select("B,R"))
    assert found.sizes == ((4, 4), (32, 32), (52, 12))
    assert found.relative < 1e-5


@pytest.mark.slow
def test_one_size_alone_where_the_model_takes_no_other() -> None:
    model = own(OwnViT())
    assert sides(graph_of(model)) == ["batch", 3, 8, 12]
    assert difference(model, "B,R") < 1e-5


class BatchOfTwo(OwnCNN):
    """Its code makes a constant of the batch's size."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).view(len(x), 5)


class Sums(OwnCNN):
    """An operator that ONNX does not have."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.qr(super().forward(x)).Q  # type: ignore[no-any-return]


def test_what_cannot_be_written_is_told_in_a_sentence() -> None:
    with pytest.raises(ConfigError, match=r"^own:BatchOfTwo cannot be written as ONNX for any batch, which its oper"):
        graph_of(own(BatchOfTwo()), "R")
    with pytest.raises(ConfigError, match=r"^own:Sums cannot be written as ONNX \([^\n]*linalg_qr[^\n]*\)$"):
        graph_of(own(Sums()), "R")


PAGE = ROOT / "docs" / "export.md"


def page_rows() -> list[str]:
    """Of the table of networks, the only one of three columns that begins with code."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if re.fullmatch(r"\| `\w+` \| [^|]+ \| [^|]+ \|", line)]


def outcome(name: str, channels: str | None) -> str:
    try:
        return "equal" if difference(build_model(name), channels) < 1e-5 else "differs"
    except ConfigError as error:
        return str(error)


def test_page_has_every_network() -> None:
    assert [line.split("`")[1] for line in page_rows()] == list(CATALOG)


@pytest.mark.slow
@pytest.mark.parametrize("name", CATALOG)
def test_page_says_what_becomes_of_each_network(name: str) -> None:
    assert f"| `{name}` | {' | '.join(outcome(name, form) for form in FORMS)} |" in page_rows()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "stem"), [(name, stem) for name in ("resnet8", "dynamic_cnn_v1") for stem in stems_of(name)]
)
def test_every_stem_is_written(name: str, stem: str) -> None:
    assert difference(build_model(name, stem), None) < 1e-5
    assert difference(build_model(name, stem), "B,R") < 1e-5


@pytest.mark.slow
def test_completion_of_many_channels_is_a_short_graph() -> None:
    channels, statistics = anonymous(60), training_statistics(60)
    model = create_model("resnet8", channels=channels, num_classes=5, stem="completion", statistics=statistics).eval()
    proto = graph_of(model)
    assert len(proto.graph.node) < 100
    assert max(row.relative for row in verify(proto.SerializeToString(), model, None)) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"backend": "multiply"}, {"top_k": 2}, {"num_kernels": 1}], ids=str)
def test_every_dynamic_convolution_is_written(options: dict[str, Any]) -> None:
    assert difference(build_model("dynamic_resnet12", **options), None) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("opset", [OPSETS[0], OPSETS[-1]])
@pytest.mark.parametrize(("name", "options"), [("channel_vit_tiny", {"depth": 1}), ("resnet8", {})])
def test_every_opset_runs(name: str, options: dict[str, Any], opset: int) -> None:
    model = build_model(name, None, **options)
    content = graph_of(model, opset=opset)
    assert [item.version for item in content.opset_import if item.domain == ""] == [opset]
    assert max(row.relative for row in verify(content.SerializeToString(), model, None)) < 1e-5
