"""The rows of the two reports' tables: which recipe each is, and the figures that the report printed.

Sources: I. Ku, MILS Assignment I Report ("report 1"); J. W. Lee, MILS – Assignment I ("report 2"). Report 1 counts MACs
with batch norm, activations and pooling, and misses functional convolutions; report 2 prints 2 × MACs as "FLOPs" for
DynamicResNet12, which is halved here. All accuracies are of 450 test images (each is a multiple of 1/450).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["REPORT_ROWS", "SUGGESTIONS", "TEST_IMAGES", "Printed", "Suggestion", "table_of"]

TEST_IMAGES = 450


@dataclass(frozen=True)
class Printed:
    """One row as its report prints it.

    Args:
        table: `"1A"`, `"1B"`, `"2A"` or `"2B"`: report and task.
        title: what the report calls the system.
        accuracy: on the test images.
        macs: multiply-adds of one image.
        params: parameters.
        minutes: training time, where it is given.
    """

    table: str
    title: str
    accuracy: float
    macs: float
    params: float
    minutes: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with the number of test images."""
        return {**asdict(self), "n": TEST_IMAGES}


@dataclass(frozen=True)
class Suggestion:
    """One ablation: a recipe beside the one that it changes.

    Args:
        recipe: below `recipes/`.
        base: the row that it is compared with; `None` for a base itself.
        title: what is changed.
    """

    recipe: str
    base: str | None
    title: str


def _dynamic(title: str, accuracy: float) -> Printed:
    return Printed("2A", title, accuracy, 2.637e9 / 2, 17.447e6)


REPORT_ROWS = {
    "report1/dynamic_cnn_v1": Printed("1A", "DynamicCNN v1", 0.2422, 180.39e3, 31.57e3),
    "report1/dynamic_cnn_v2": Printed("1A", "DynamicCNN v2", 0.1422, 19.49e6, 63.31e3),
    "report1/baseline_cnn": Printed("1A", "Baseline CNN", 0.2844, 5.95e6, 22.83e3),
    "report1/dynamic_cnn_v1_drop": Printed("1A", "DynamicCNN v1, channel drop", 0.1244, 180.39e3, 31.57e3),
    "report1/dynamic_cnn_v2_drop": Printed("1A", "DynamicCNN v2, channel drop", 0.2244, 19.49e6, 63.31e3),
    "report1/baseline_cnn_drop": Printed("1A", "Baseline CNN, channel drop", 0.2422, 5.95e6, 22.83e3),
    "report1/resnet34": Printed("1B", "ResNet34", 0.5667, 3.68e9, 21.31e6, 234.85),
    "report1/simple_2layer_cnn": Printed("1B", "Simple2LayerCNN", 0.44, 43.66e6, 237.75e3, 451.15),
    "report1/simple_4layer_cnn": Printed("1B", "Simple4LayerCNN", 0.40, 285.83e6, 301.11e3, 470.57),
    "report1/se_2layer_cnn": Printed("1B", "SE2LayerCNN", 0.4533, 43.82e6, 240.51e3, 449.0),
    "report2/dynamic_resnet12_rgb": _dynamic("DynamicResNet12, RGB", 0.7244),
    "report2/dynamic_resnet12_r": _dynamic("DynamicResNet12, R", 0.70),
    "report2/dynamic_resnet12_g": _dynamic("DynamicResNet12, G", 0.6467),
    "report2/dynamic_resnet12_b": _dynamic("DynamicResNet12, B", 0.6867),
    "report2/dynamic_resnet12_rg": _dynamic("DynamicResNet12, RG", 0.7356),
    "report2/dynamic_resnet12_rb": _dynamic("DynamicResNet12, RB", 0.7422),
    "report2/dynamic_resnet12_gb": _dynamic("DynamicResNet12, GB", 0.7267),
    "report2/wide_cnn4": Printed("2B", 'WideCNN4 ("MyNet")', 0.66, 464.548e6, 2.068e6),
    "report2/resnet34": Printed("2B", "ResNet34", 0.6533, 614.628e6, 21.336e6),
}

_WIDE, _DYNAMIC = "suggestions/wide_cnn4", "suggestions/dynamic_resnet12"
# rows that start from a report's recipe are bases, trained anew at the size that the suggestions are compared at
SUGGESTIONS = {
    "suggestions/dynamic_cnn_v1_per_count": Suggestion("suggestions/dynamic_cnn_v1_per_count", None, "v1's generators"),
    "suggestions/dynamic_cnn_v2_per_count": Suggestion("suggestions/dynamic_cnn_v2_per_count", None, "v2's generators"),
    _WIDE: Suggestion("report2/wide_cnn4", None, "WideCNN4 as in the report"),
    f"{_WIDE}_conv_gate": Suggestion("suggestions/wide_cnn4_conv_gate", _WIDE, "gates by 1×1 convolutions"),
    f"{_WIDE}_dropout": Suggestion("suggestions/wide_cnn4_dropout", _WIDE, "Dropout, 0.2"),
    f"{_WIDE}_drop_block": Suggestion("suggestions/wide_cnn4_drop_block", _WIDE, "DropBlock, 0.1"),
    f"{_WIDE}_cutmix": Suggestion("suggestions/wide_cnn4_cutmix", _WIDE, "CutMix, half of the steps"),
    f"{_WIDE}_stride1": Suggestion("suggestions/wide_cnn4_stride1", _WIDE, "stride 1 in the first layer"),
    _DYNAMIC: Suggestion("report2/dynamic_resnet12_rgb", None, "DynamicResNet12 as in the report"),
    f"{_DYNAMIC}_top2": Suggestion("suggestions/dynamic_resnet12_top2", _DYNAMIC, "trained with 2 of 4 kernels"),
}


def table_of(row: str) -> str:
    """`"1A"`, `"1B"`, `"2A"`, `"2B"` of a report's row, or `"count"`, `"wide"`, `"dynamic"` of a suggestion's."""
    if row in REPORT_ROWS:
        return REPORT_ROWS[row].table
    return "count" if row.endswith("_per_count") else "wide" if "wide" in row else "dynamic"
