import torch
from torch import Tensor, nn

from anychan.models.adapt import adapt
from anychan.models.catalog import create_model
from anychan.presets import RGB
from anychan.profiling.depth import effective_depth
from anychan.profiling.macs import profile
from anychan.report.page.cost import model_cost


def test_cost_is_that_of_the_channels_tested() -> None:
    model, two = create_model("baseline_cnn", num_classes=3), RGB.select(["R", "B"])
    found, expected = model_cost(model, two, 16), profile(model, (1, 2, 16, 16), channels=two)
    depth = effective_depth(model, (1, 2, 16, 16), channels=two)
    assert (found.params, found.macs, found.uncounted) == (expected.params, expected.macs, expected.uncounted)
    assert found.input_text == "2×16×16"
    assert list(found.depth.values()) == [depth.features, depth.features_with_gates, depth.classifier]
    assert found.no_depth == ""


class Untraceable(nn.Module):
    """Refuses to be exported."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_exporting():
            raise RuntimeError("no graph of this")
        logits: Tensor = self.fc(torch.relu(self.conv(x)).mean((2, 3)))
        return logits


def test_without_a_depth_the_rest_is_there() -> None:
    model = adapt(Untraceable(), channels=RGB, offset=(0, 0, 0), scale=(1, 1, 1), verbose=False)
    found = model_cost(model, RGB, 8)
    assert (found.depth, found.macs) == ({}, 3 * 4 * 9 * 64 + 8)
    assert "no graph of this" in found.no_depth
