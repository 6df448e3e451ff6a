from typing import Any

import pytest
import torch
from torch import Tensor, nn

from anychan.errors import ChannelError, ConfigError, InputShapeError
from anychan.presets import RGB, SENTINEL2
from anychan.profiling.graph import forward_graph, meta_copy, operator_name
from tests.builders import build_model


class InPlace(nn.Module):
    """Reads a tensor again after it was written to, through a view of it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.register_buffer("scale", torch.ones(4, 1, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        y = self.conv(x)
        y[:, :2].relu_()
        return y * self.scale, None


class DependsOnValues(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3))


class NoTensor(nn.Module):
    def forward(self, x: Tensor) -> int:
        return x.shape[0]


def test_nothing_writes_in_place() -> None:
    graph = forward_graph(InPlace(), (1, 3, 8, 9))
    names = [operator_name(node) for node in graph.nodes if node.op == "call_function"]
    assert "relu" in names
    assert names.count("slice_scatter") >= 1  # the write, as a new value
    assert names[-1] == operator_name(graph.output) == "mul"
    assert not any(name.endswith("_") for name in names)


def test_tensors_are_named_as_in_the_module() -> None:
    graph = forward_graph(InPlace(), (1, 3, 8, 9))
    assert set(graph.parameters.values()) == {"conv.weight", "conv.bias"}
    assert "scale" in graph.buffers.values()
    assert graph.image.meta["val"].shape == (2, 3, 8, 9)
    assert {node.name for node in graph.nodes if node.op == "placeholder"} == {
        graph.image.name,
        *graph.parameters,
        *graph.buffers,
    }


@pytest.mark.parametrize("channels", [None, "R,G,B", "B,R"])
def test_a_selection_has_its_models_names(channels: str | None) -> None:
    model = build_model("baseline_cnn", "mean")
    chosen = None if channels is None else RGB.select(channels)
    graph = forward_graph(model, (1, 3 if chosen is None else len(chosen), 8, 8), channels=chosen)
    assert set(graph.parameters.values()) == {name for name, _ in model.named_parameters()}


def test_the_model_is_copied() -> None:
    model = build_model("resnet8").train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    forward_graph(model, (1, 3, 8, 8))
    assert all(module.training for module in model.modules())
    assert not any(module.training for module in meta_copy(model).modules())
    assert {parameter.device.type for parameter in meta_copy(model).parameters()} == {"meta"}
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)


def test_what_cannot_be_traced_is_said_in_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError) as raised:
        forward_graph(DependsOnValues(), (1, 3, 8, 8))
    message = str(raised.value)
    assert message.startswith("DependsOnValues has no depth that can be measured, because torch.export does not trace")
    assert "data-dependent" in message
    assert message.endswith("; profile it without its depth (--no-depth)")
    assert "\n" not in message
    assert capfd.readouterr() == ("", "")
    with pytest.raises(ConfigError, match="NoTensor gives no tensor, so that it has no depth; give it logits"):
        forward_graph(NoTensor(), (1, 3, 8, 8))


@pytest.mark.parametrize(
    ("shape", "channels", "kind", "message"),
    [
        ((1, 3, 1, 9), None, InputShapeError, "baseline_cnn takes images of at least 2x2 pixels, not 1x9"),
        ((1, 2, 8, 8), None, InputShapeError, "takes .* with the channels R, G, B, not"),
        ((1, 1, 8, 8), "sentinel2:B04", ChannelError, "channel 'sentinel2:B04' is not one of R, G, B"),
    ],
)
def test_the_models_own_errors_come_through(shape: Any, channels: str | None, kind: Any, message: str) -> None:
    chosen = None if channels is None else SENTINEL2.select([channels])
    with pytest.raises(kind, match=message):
        forward_graph(build_model("baseline_cnn"), shape, channels=chosen)
