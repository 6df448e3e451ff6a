"""The pictures of docs/shallow.md, from `shallow-cpu.json` alone."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, MultipleLocator, NullLocator, PercentFormatter
from results_file import select
from shallow_claims import Rows, accuracy, best
from shallow_costs import fastest_row
from shallow_systems import RESNETS, SYSTEMS
from shallow_tables import load_rows

__all__ = ["SHALLOW_PICTURES", "digest", "draw"]

SHALLOW_PICTURES = ("shallow-latency", "shallow-depth")
KINDS = {
    "ResNet34": ("#8a929a", "s"),
    "the reports'": ("#d08a3c", "D"),
    "shallow4": ("#1f5f9f", "o"),
    "shallow2": ("#6f9bc6", "o"),
}


def _points(rows: Rows) -> list[dict[str, Any]]:
    """What is drawn of each network: its best recipe's accuracy, latency, and depth."""
    points = []
    for system in dict.fromkeys(row["system"] for row in select(rows, kind="trained", setting="main")):
        timed, cost = fastest_row(rows, system, threads=1), next(iter(select(rows, kind="cost", system=system)), None)
        if timed is None or cost is None:
            continue
        family = system.partition("_")[0]
        kind = "ResNet34" if system in RESNETS else family if family in KINDS else "the reports'"
        value, low, high = accuracy(best(rows, [system]))
        points.append(
            {
                "title": SYSTEMS[system].title.removeprefix("ResNet34, "),
                "kind": kind,
                "accuracy": [value, low, high],
                "shallow-latency": timed["p50_ms"],
                "shallow-depth": cost["features"],
                "gates": cost["features_with_gates"],
            }
        )
    return points


def digest(name: str) -> str:
    """Changes when what a picture shows does."""
    return hashlib.sha256(json.dumps([name, _points(load_rows())]).encode()).hexdigest()[:16]


def draw(name: str, folder: Path) -> None:
    """Draw a picture into a folder."""
    figure = Figure(figsize=(7.5, 4.6), layout="constrained")
    axes = figure.subplots()
    rows = load_rows()
    points = _points(rows)
    for point in points:
        _draw_point(axes, point, name)
    axes.set_xscale("log")
    if name == "shallow-latency":
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    else:
        axes.set_xticks([2, 4, 8, 16, 33])
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("one image on one thread, ms" if name == "shallow-latency" else "layers of features")
    axes.yaxis.set_major_locator(MultipleLocator(0.05))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_ylabel("test accuracy")
    axes.spines[["top", "right"]].set_visible(False)
    if rival := best(rows, RESNETS):
        axes.axhline(accuracy(rival).value, color="black", lw=0.8, ls=":", label="the best ResNet34")
    for kind, (colour, marker) in KINDS.items():
        axes.plot([], [], marker, color=colour, label=kind)
    if name == "shallow-depth":
        axes.plot([], [], "o", color="#8a929a", fillstyle="none", label="with gates")
    figure.legend(frameon=False, fontsize=8, loc="outside upper center", ncols=6)
    figure.draw_without_rendering()  # which settles where the axes are
    _write_names(axes, points, name, line=accuracy(rival).value if rival else None)
    figure.savefig(folder / f"{name}.png", dpi=150, metadata={"Source": digest(name)})


def _draw_point(axes: Axes, point: dict[str, Any], name: str) -> None:
    """A network with its interval, or in the picture of depth with a line to its depth with gates."""
    colour, marker = KINDS[point["kind"]]
    value, low, high = point["accuracy"]
    if name == "shallow-latency":  # networks of one depth would hide each other's
        axes.plot([point[name]] * 2, [low, high], color=colour, lw=0.8, alpha=0.5)
    axes.plot(point[name], value, marker, color=colour)
    if name == "shallow-depth" and point["gates"] > point[name]:
        axes.plot([point[name], point["gates"]], [value, value], ":", color=colour, lw=1)
        axes.plot(point["gates"], value, marker, color=colour, fillstyle="none")


def _write_names(axes: Axes, points: list[dict[str, Any]], name: str, line: float | None) -> None:
    """Beside each network, a ResNet's to the left; lower or higher where something else stands already."""
    row, letter = 10.0, 4.0  # of this font, in points at 72 a unit
    scale = axes.figure.dpi / 72
    taken: list[tuple[float, float, float]] = []  # start, width, height
    if line is not None:
        taken.append((-1e6, 2e6, axes.transData.transform((1, line))[1] / scale - 3))

    def free(start: float, width: float, height: float) -> bool:
        return all(start >= x + w or x >= start + width or abs(height - y) >= row for x, w, y in taken)

    shapes = [(point[name], point["accuracy"][0]) for point in points]
    if name == "shallow-depth":
        shapes += [(point["gates"], point["accuracy"][0]) for point in points]
    taken += [(x - 4, 8, y - 4) for x, y in (axes.transData.transform(shape) / scale for shape in shapes)]
    for title, point in _titles(points, name):
        x, y = axes.transData.transform((point[name], point["accuracy"][0])) / scale
        left = point["kind"] == "ResNet34"
        width = letter * len(title)
        start = x - 6 - width if left else x + 6
        height = next(y + up for up in (3, -10, *range(4, 400)) if free(start, width, y + up))
        taken.append((start, width, height))
        axes.annotate(
            title,
            (point[name], point["accuracy"][0]),
            (-6 if left else 6, height - y),
            textcoords="offset points",
            ha="right" if left else "left",
            fontsize=7,
            path_effects=[withStroke(linewidth=2, foreground="white")],  # where a thin line passes below
        )


def _titles(points: list[dict[str, Any]], name: str) -> list[tuple[str, dict[str, Any]]]:
    """Names and the points that they stand beside, from below: one for points at one place that nearly touch."""
    found: list[tuple[str, dict[str, Any]]] = []
    for point in sorted(points, key=lambda point: point["accuracy"][0]):
        near = [
            number
            for number, (_, other) in enumerate(found)
            if other[name] == point[name] and point["accuracy"][0] - other["accuracy"][0] < 0.02
        ]
        if near:
            title, _ = found.pop(near[-1])
            found.append((f"{point['title']}, {title}", point))
        else:
            found.append((point["title"], point))
    return found
