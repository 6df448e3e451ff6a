"""The picture of docs/speed.md, from `speed-cpu.json`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from results_file import RESULTS
from speed_conv import PEERS, ratios

__all__ = ["SPEED_PICTURES", "digest", "draw"]

SPEED_PICTURES = ("speed-conv",)
SERIES = {
    "ours": ("ours", "#1f5f9f"),
    "grouped": ("a group an image", "#d08a3c"),
    "condconv": ("timm's CondConv2d", "#e3b98a"),
    "each": ("K convolutions", "#8a929a"),
}


def _shapes() -> list[dict[str, Any]]:
    """What is drawn: each shape's times over the static convolution's."""
    path = RESULTS / "speed-cpu.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    return [
        {
            "name": f"{shape['in']} → {shape['out']}\n{shape['side']}²{' /2' if shape['stride'] > 1 else ''}",
            "ours": shape["over"]["static"],
            **{peer: shape["over"]["static"] / shape["over"][peer] for peer in PEERS},
        }
        for shape in ratios(rows)
    ]


def digest(name: str) -> str:
    """Changes when what a picture shows does."""
    return hashlib.sha256(json.dumps([name, _shapes()]).encode()).hexdigest()[:16]


def draw(name: str, folder: Path) -> None:
    """Draw the picture into a folder."""
    shapes = _shapes()
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(SERIES)
    for number, (key, (title, colour)) in enumerate(SERIES.items()):
        places = [place + (number - (len(SERIES) - 1) / 2) * width for place in range(len(shapes))]
        axes.bar(places, [shape[key] for shape in shapes], width, color=colour, label=title)
    axes.axhline(1, color="#444", linewidth=0.8)
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter("{x:g}×")
    axes.set_xticks(range(len(shapes)), [shape["name"] for shape in shapes], fontsize=8)
    axes.set_ylabel("time over a static convolution's")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, ncols=4, loc="upper right")
    figure.savefig(folder / f"{name}.png", dpi=150, metadata={"Source": digest(name)})
