"""The picture of effective depth: a network's longest path, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Patch

from anychan.errors import RunError
from anychan.profiling.chain import Gate, Layer
from anychan.profiling.depth import Depth
from anychan.report.plots import save_picture

__all__ = ["depth_text", "plot_depths"]

_FEATURES, _CLASSIFIER, _GATE, _MERGED = "#CFE5F5", "#F7D9B8", "#CDEBDD", "#FFFFFF"
_EDGES = {_FEATURES: "#0072B2", _CLASSIFIER: "#D55E00", _GATE: "#009E73", _MERGED: "#0072B2"}
# in inches
_PER_LINE, _PITCH, _WIDTH, _HEIGHT, _LEFT = 17, 0.72, 0.46, 1.5, 0.65
_GATE_WIDTH, _GATE_HEIGHT, _GATE_PITCH, _TITLE, _SPACE = 0.56, 0.22, 0.36, 0.45, 0.3


def depth_text(depth: Depth) -> str:
    """`4 feature layers (12 with gates) + 1 in the classifier; 17 weighted modules`."""
    gates = f" ({depth.features_with_gates} with gates)" if depth.features_with_gates != depth.features else ""
    layers = f"{depth.features} feature layer{'s' * (depth.features != 1)}{gates}"
    return f"{layers} + {depth.classifier} in the classifier; {depth.weighted_modules} weighted modules"


def plot_depths(depths: Mapping[str, Depth], path: Path, *, metadata: Mapping[str, str] | None = None) -> None:
    """The longest path without gates of each network: a box a layer, its gates above, merged branches behind it.

    Args:
        depths: network → its depth; one below the other, on one scale.
        path: the PNG to write.
        metadata: written into the picture.

    Raises:
        RunError: when the file cannot be written.
    """
    width = 2 * _LEFT + _PITCH * min(_PER_LINE, max(8, *(len(depth.path) for depth in depths.values())))
    height = 0.5 + sum(_TITLE + sum(_line_height(depth, line) for line in _lines(depth)) for depth in depths.values())
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    top = height
    for name, depth in depths.items():
        axes.text(_LEFT - 0.5, top - 0.3, name, fontsize=11, weight="bold", parse_math=False)
        axes.annotate(f"   {depth_text(depth)}", (1, 0), xycoords=axes.texts[-1], fontsize=10, va="bottom")
        top -= _TITLE
        for line in _lines(depth):
            bottom = top - _line_height(depth, line)
            _draw_line(axes, depth, line, bottom + _SPACE)
            top = bottom
    axes.legend(
        handles=[
            Patch(facecolor=_FEATURES, edgecolor=_EDGES[_FEATURES], label="feature layer"),
            Patch(facecolor=_MERGED, edgecolor=_EDGES[_MERGED], label="parallel branches merged into it"),
            Patch(facecolor=_GATE, edgecolor=_EDGES[_GATE], label="gate's layer, before a product ×"),
            Patch(facecolor=_CLASSIFIER, edgecolor=_EDGES[_CLASSIFIER], label="classifier's layer"),
        ],
        loc="lower center",
        ncols=4,
        frameon=False,
    )
    try:
        save_picture(figure, path, metadata=metadata)
    except OSError as error:
        raise RunError(f"{path}: the picture cannot be written there ({error.strerror})") from None


def _lines(depth: Depth) -> list[range]:
    """Positions of the layers in each line of boxes."""
    count = len(depth.path)
    return [range(first, min(first + _PER_LINE, count)) for first in range(0, max(count, 1), _PER_LINE)]


def _gates(depth: Depth, line: range) -> list[Gate]:
    """Those behind the layers of a line; those before the first layer stand in front of the first line."""
    return [gate for gate in depth.gates if gate.after - 1 in line or (gate.after == 0 and line.start == 0)]


def _line_height(depth: Depth, line: range) -> float:
    most = max((len(gate.layers) for gate in _gates(depth, line)), default=0)
    return _HEIGHT + _SPACE + (_GATE_PITCH * most if most > 1 else 0.0) + 0.1


def _draw_line(axes: Axes, depth: Depth, line: range, bottom: float) -> None:
    middle = bottom + _HEIGHT / 2
    last = len(depth.path) - 1
    for place, position in enumerate(line):
        left = _LEFT + place * _PITCH
        _arrow(axes, (left - _PITCH + _WIDTH, middle), (left, middle))
        _draw_layer(axes, depth.path[position], position + 1, left, bottom)
        if position == line.stop - 1:
            _arrow(axes, (left + _WIDTH, middle), (left + _PITCH, middle))
        if position == last:
            axes.text(left + _PITCH + 0.03, middle, "logits", rotation=90, va="center", fontsize=8)
    if line.start == 0:
        axes.text(_LEFT - _PITCH + _WIDTH - 0.03, middle, "image", rotation=90, va="center", ha="right", fontsize=8)
    for gate in _gates(depth, line):
        _draw_gate(axes, gate, line, bottom)


def _draw_layer(axes: Axes, layer: Layer, number: int, left: float, bottom: float) -> None:
    colour = _CLASSIFIER if layer.classifier else _FEATURES
    if layer.merged:
        _box(axes, left + 0.06, bottom + 0.06, _WIDTH, _HEIGHT, _MERGED)
    _box(axes, left, bottom, _WIDTH, _HEIGHT, colour)
    centre = left + _WIDTH / 2
    names = layer.names if len(layer.names) <= 3 else (layer.names[0], "…", layer.names[-1])
    _label(axes, "\n→ ".join(map(_folded, names)), centre, bottom + _HEIGHT / 2, space=_HEIGHT, rotation=90)
    axes.text(centre, bottom - 0.14, str(number), ha="center", fontsize=8, color=_EDGES[colour])


def _draw_gate(axes: Axes, gate: Gate, line: range, bottom: float) -> None:
    centre, middle = _LEFT + (gate.after - line.start) * _PITCH - (_PITCH - _WIDTH) / 2, bottom + _HEIGHT / 2
    axes.plot(centre, middle, marker="o", markersize=9, color="white", markeredgecolor=_EDGES[_GATE], zorder=4)
    axes.plot(centre, middle, marker="x", markersize=5, color=_EDGES[_GATE], zorder=5)
    below = (centre, middle + 0.09)
    for number, layer in enumerate(reversed(gate.layers)):
        base = bottom + _HEIGHT + 0.12 + number * _GATE_PITCH
        _arrow(axes, (centre, base), below, _EDGES[_GATE])
        _box(axes, centre - _GATE_WIDTH / 2, base, _GATE_WIDTH, _GATE_HEIGHT, _GATE)
        name = layer.names[-1].rpartition(".")[2]
        _label(axes, name, centre, base + _GATE_HEIGHT / 2, space=_GATE_WIDTH)
        below = (centre, base + _GATE_HEIGHT)
    level = below[1] - _GATE_HEIGHT / 2
    if gate.after:
        _draw_source(axes, gate, line, centre - _PITCH / 2, bottom, level)
    _arrow(axes, (centre - _PITCH / 2, level), (centre - _GATE_WIDTH / 2, level), _EDGES[_GATE])


def _draw_source(axes: Axes, gate: Gate, line: range, up: float, bottom: float, level: float) -> None:
    """From what the gate reads, the last layer's output or what went into an earlier one, up to the gate's level."""
    top = bottom + _HEIGHT
    if gate.source == gate.after:
        corners = [(up, top)]
    else:
        left = _LEFT + max(0, gate.source - line.start) * _PITCH - 0.045
        corners = [(left, bottom + _HEIGHT / 2), (left, top + 0.09), (up, top + 0.09)]
    axes.plot(*zip(*corners, (up, level), strict=True), color=_EDGES[_GATE], linewidth=1)


def _folded(name: str) -> str:
    """In two lines where it is long."""
    cut = name.rfind(".", 0, 26) + 1
    return f"{name[:cut]}\n{name[cut:]}" if len(name) > 26 and cut else name


def _label(axes: Axes, text: str, x: float, y: float, *, space: float, rotation: int = 0) -> None:
    """As large as the space along the text allows."""
    longest = max(map(len, text.splitlines()))
    size = min(7.0, 110 * space / longest)
    axes.text(x, y, text, rotation=rotation, ha="center", va="center", fontsize=size, parse_math=False)


def _box(axes: Axes, left: float, bottom: float, width: float, height: float, colour: str) -> None:
    shape = "round,pad=0,rounding_size=0.05"
    axes.add_patch(
        FancyBboxPatch((left, bottom), width, height, boxstyle=shape, facecolor=colour, edgecolor=_EDGES[colour])
    )


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str = "#444444") -> None:
    look = {"arrowstyle": "-|>", "color": colour, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 8}
    axes.annotate("", end, start, arrowprops=look)
