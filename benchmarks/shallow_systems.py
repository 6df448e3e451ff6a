"""The networks of `shallow.py`, and the ladder from WideCNN4 to `shallow4`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["ABLATIONS", "FAMILIES", "LADDER", "RESNETS", "SYSTEMS", "Step", "System"]


@dataclass(frozen=True)
class System:
    """One network.

    Args:
        title: for tables.
        model: name in the catalogue.
        options: of the network.
        least: pixels that it needs, where those are more than a scale has.
    """

    title: str
    model: str
    options: dict[str, Any] = field(default_factory=dict)
    least: int = 1


RESNETS = ("rival", "resnet34_3x3s2", "resnet34_7x7")
# family → its widths, one of which is chosen on validation images
FAMILIES = {
    "shallow4": ("shallow4_s", "shallow4_m", "shallow4_l"),
    "shallow2": ("shallow2_s", "shallow2_m", "shallow2_l"),
}
SYSTEMS = {
    "rival": System("ResNet34, 3×3 first layer", "resnet34", {"entry": "3x3"}),
    "resnet34_3x3s2": System("ResNet34, 3×3 first layer of stride 2", "resnet34", {"entry": "3x3s2"}),
    "resnet34_7x7": System("ResNet34, ImageNet's first layers", "resnet34", {"entry": "7x7"}),
    "simple_2layer_cnn": System("Simple2LayerCNN", "simple_2layer_cnn", least=40),
    "simple_4layer_cnn": System("Simple4LayerCNN", "simple_4layer_cnn"),
    "se_2layer_cnn": System("SE2LayerCNN", "se_2layer_cnn", least=40),
    "wide_cnn4": System("WideCNN4", "wide_cnn4"),
    **{name: System(name, name) for widths in FAMILIES.values() for name in widths},
    "ladder_plain": System(
        "WideCNN4 without shortcuts",
        "shallow4_s",
        {"widths": [256, 256, 256, 256], "kernels": [7, 3, 3, 3], "shrink": "stride"},
    ),
    "ladder_pool": System("the same, pooled", "shallow4_s", {"widths": [256, 256, 256, 256], "kernels": [7, 3, 3, 3]}),
    "ladder_widths": System("the same, growing", "shallow4_s", {"kernels": [7, 3, 3, 3]}),
    "local_gates": System(
        "a local gate instead of squeeze-and-excitation", "shallow4_s", {"local_gate": True, "squeeze_excite": False}
    ),
    "no_gates": System("no gates", "shallow4_s", {"squeeze_excite": False}),
    "branches": System("convolutions in branches", "shallow4_s", {"branches": True}),
    "mean_max_pool": System("means and maxima to the head", "shallow4_s", {"head": "mean_max"}),
}


@dataclass(frozen=True)
class Step:
    """One change on the way from WideCNN4 to `shallow4`.

    Args:
        title: what is changed.
        system: of `SYSTEMS`, or a family of `FAMILIES` for the width that was chosen.
        recipe: of `shallow_rows.RECIPES`.
        setting: of the scale's: `"short"` trains what `"main"` trains longer than the networks before it.
    """

    title: str
    system: str
    recipe: str
    setting: str = "main"


LADDER = (
    Step("WideCNN4 by report 2's recipe", "wide_cnn4", "report2"),
    Step("the strong recipe", "wide_cnn4", "strong"),
    Step("no shortcuts", "ladder_plain", "strong"),
    Step("every place convolved, then max pooling in place of strides", "ladder_pool", "strong"),
    Step("widths that grow with depth", "ladder_widths", "strong"),
    Step("a first kernel of 5×5", "shallow4_s", "strong", "short"),
    Step("as many epochs as the rival", "shallow4_s", "strong"),
    Step("wider", "shallow4", "strong"),
    Step("soft labels of ResNet34, and a fifth more epochs", "shallow4", "distilled"),
)

# One change each of the first; none adds a layer, also with gates
ABLATIONS = (
    Step("`shallow4_s`", "shallow4_s", "strong", "ablations"),
    Step("no gates", "no_gates", "strong", "ablations"),
    Step("a local gate in each layer in place of squeeze-and-excitation", "local_gates", "strong", "ablations"),
    Step("the head sees the maxima too, beside the means", "mean_max_pool", "strong", "ablations"),
    Step("convolutions after the first trained in branches, folded afterwards", "branches", "strong", "ablations"),
    Step("a first layer that begins with whitened patches", "shallow4_s", "whitened", "ablations"),
    Step("random resized crops in place of padded ones", "shallow4_s", "resized_crops", "ablations"),
)
