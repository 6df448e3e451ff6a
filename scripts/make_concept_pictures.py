"""Draw the pictures of docs/concepts.md, from the model and the tiles inside the package.

Usage::

    python scripts/make_concept_pictures.py [--out FOLDER]

Writes concept-completion.png, concept-mixing.png, concept-depth.png and concept-statistics.png.
"""

import argparse
import io
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import tifffile
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from torch import Tensor

import anychan as ac
from anychan.nn.fill import MeanFill

ROOT = Path(__file__).resolve().parents[1]
TILES = ROOT / "src/anychan/demo_data/eurosat-s2-32.zip"
DEFAULT_OUT = ROOT / "docs/images"
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#666666"
LIGHT = {BLUE: "#CFE5F5", ORANGE: "#F7D9B8", GREEN: "#CDEBDD", GREY: "#EEEEEE"}
SUBSETS = {"all 13 bands": ac.SENTINEL2.names, "red, green, blue": ("B04", "B03", "B02"), "B12 alone": ("B12",)}
Array = npt.NDArray[Any]


def test_tiles(model: ac.AnyChannelModel) -> Tensor:
    """The package's test tiles (N, C, H, W), normalised as the model does it."""
    with zipfile.ZipFile(TILES) as tiles:
        names = [line.split()[0] for line in tiles.read("test.txt").decode().splitlines()]
        images = np.stack([tifffile.imread(io.BytesIO(tiles.read(name))) for name in names])  # in the model's order
    normalised: Tensor = model.normalize(torch.from_numpy(images.astype(np.float32)))
    return normalised


def box(ax: Axes, place: tuple[float, float], text: str, *, colour: str = GREY, size: tuple[float, float]) -> None:
    """A box with a text, its centre at a place."""
    (x, y), (width, height) = place, size
    corner, style = (x - width / 2, y - height / 2), "round,pad=0,rounding_size=0.08"
    ax.add_patch(FancyBboxPatch(corner, width, height, boxstyle=style, fc=LIGHT[colour], ec=colour, lw=1.2))
    ax.text(x, y, text, ha="center", va="center", fontsize=9, linespacing=1.4)


def arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], *, bend: float = 0.0) -> None:
    """An arrow between two places."""
    style = f"arc3,rad={bend}"
    ax.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=11, color=GREY, connectionstyle=style))


def bare(ax: Axes, width: float, height: float) -> None:
    """An area to draw on, in units of an inch."""
    ax.set(xlim=(0, width), ylim=(0, height), aspect="equal")
    ax.axis("off")


def sheet(width: float, height: float) -> tuple[Figure, Axes]:
    """A picture that is one such area."""
    figure = Figure(figsize=(width, height))
    ax = figure.add_axes((0, 0, 1, 1))
    bare(ax, width, height)
    return figure, ax


def completion(path: Path) -> None:
    """Above: a band and its guesses, of a real tile; below: the guess folded into the kernel."""
    model = ac.load("demo").eval()
    x, place = test_tiles(model), ac.SENTINEL2.index("B03")
    given = list(model.channels.indices(["B04", "B08"]))
    present = torch.zeros(len(x), 13, dtype=torch.bool)
    present[:, given] = True
    filled = {
        "mean fill": MeanFill(torch.zeros(13), torch.ones(13))(x, present),
        "completion": model.stem.get_submodule("fill")(x, present),
    }
    index = int(x[:, place].flatten(1).std(1).argmax())  # a tile on which there is something to see
    pictures = [(name, x[index, at], "") for name, at in zip(("B04", "B08"), given, strict=True)]
    pictures.append(("B03, absent: the truth", x[index, place], ""))
    for name, guess in filled.items():
        error = float((guess[:, place] - x[:, place]).square().mean().sqrt())
        pictures.append((f"its {name}", guess[index, place], f"error {error:.2f}"))
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    above, below = np.asarray(figure.subfigures(2, height_ratios=(1, 1.15)))
    low, high = np.percentile(x[index, place].numpy(), [2, 98])
    for ax, (title, values, note) in zip(above.subplots(1, 5), pictures, strict=True):
        own = not title.startswith("B0") or "truth" in title
        limits = {"vmin": low, "vmax": high} if own else {}
        ax.imshow(values.detach().numpy(), cmap="gray", **limits)
        ax.set(xticks=[], yticks=[], xlabel=note)
        ax.set_title(title, fontsize=9)
    fold_diagram(below.subplots())
    figure.savefig(path, dpi=110, bbox_inches="tight")


def fold_diagram(ax: Axes) -> None:
    """Fill and convolution in a row, and the one convolution that equals both."""
    bare(ax, 9, 2.3)
    ax.set_ylim(0.2, 2.25)
    for y, shown in ((1.85, True), (0.6, False)):
        box(ax, (0.9, y), "present channels\nS maps", colour=BLUE, size=(1.4, 0.62))
        box(ax, (8.1, y), "feature maps\nO maps", colour=BLUE, size=(1.3, 0.62))
        if shown:
            box(ax, (2.9, y), "fill\nM x + b", colour=ORANGE, size=(1.2, 0.62))
            box(ax, (4.65, y), "all channels\nC maps", colour=BLUE, size=(1.3, 0.62))
            box(ax, (6.4, y), "convolution\nW: O × C × k × k", colour=GREEN, size=(1.4, 0.62))
        else:
            box(
                ax,
                (4.65, y),
                "one convolution\nW M: O × S × k × k,  and W b for a map of ones",
                colour=GREEN,
                size=(3.7, 0.62),
            )
        ends = [(1.6, 2.3), (3.5, 4.0), (5.3, 5.7), (7.1, 7.45)] if shown else [(1.6, 2.8), (6.5, 7.45)]
        for start, end in ends:
            arrow(ax, (start, y), (end, y))
    ax.text(4.65, 1.23, "=", ha="center", va="center", fontsize=18, color=GREY)


def mixing(path: Path) -> None:
    """K kernels, the weights that an image gives them, the mixed kernel, and one convolution."""
    rng = np.random.default_rng(4)
    kernels, weights = rng.normal(size=(4, 3, 3)), np.array([0.55, 0.3, 0.1, 0.05])
    figure, ax = sheet(9, 3.1)
    box(ax, (0.9, 2.55), "image's maps\nx: C maps", colour=BLUE, size=(1.4, 0.62))
    box(ax, (3.05, 2.55), "attention: means,\ntwo small layers, softmax", colour=ORANGE, size=(2.0, 0.62))
    box(ax, (6.4, 2.55), "one convolution", colour=GREEN, size=(1.5, 0.62))
    box(ax, (8.25, 2.55), "feature maps\ny", colour=BLUE, size=(1.2, 0.62))
    for number, (kernel, weight) in enumerate(zip(kernels, weights, strict=True)):
        x = 1.35 + 1.13 * number
        ax.text(x, 1.62, f"π{'₁₂₃₄'[number]} = {weight:.2f}", ha="center", fontsize=9)
        tile(ax, kernel, (x, 1.03))
        ax.text(x, 0.38, f"W{'₁₂₃₄'[number]}", ha="center", fontsize=9)
        if number:
            ax.text(x - 0.565, 1.03, "+", ha="center", va="center", fontsize=13, color=GREY)
    ax.text(5.57, 1.03, "=", ha="center", va="center", fontsize=15, color=GREY)
    tile(ax, np.tensordot(weights, kernels, 1), (6.4, 1.03))
    ax.text(6.4, 0.38, "Σ π W, this image's own kernel", ha="center", fontsize=9)
    arrow(ax, (1.6, 2.55), (2.05, 2.55))
    arrow(ax, (3.05, 2.24), (3.05, 1.85))
    arrow(ax, (6.4, 1.5), (6.4, 2.24))
    arrow(ax, (7.15, 2.55), (7.65, 2.55))
    arrow(ax, (0.9, 2.86), (5.65, 2.7), bend=-0.12)
    figure.savefig(path, dpi=110)


def tile(ax: Axes, values: Array, place: tuple[float, float]) -> None:
    """A kernel as a picture."""
    x, y = place
    ax.imshow(values, extent=(x - 0.42, x + 0.42, y - 0.42, y + 0.42), cmap="RdBu", vmin=-2, vmax=2)
    ax.set(xlim=(0, 9), ylim=(0, 3.1))


def depth(path: Path) -> None:
    """A block with a shortcut and a gate, and what effective depth makes of it."""
    figure, ax = sheet(9, 2.9)
    box(ax, (0.75, 1.4), "x", colour=GREY, size=(0.6, 0.6))
    box(ax, (2.2, 1.9), "3×3 convolution", colour=BLUE, size=(1.4, 0.5))
    box(ax, (2.2, 0.9), "1×1 shortcut", colour=BLUE, size=(1.4, 0.5))
    box(ax, (3.55, 1.4), "+", colour=GREY, size=(0.4, 0.4))
    box(ax, (4.4, 1.4), "batch\nnorm", colour=GREY, size=(0.7, 0.6))
    box(ax, (5.35, 1.4), "ReLU", colour=GREY, size=(0.7, 0.6))
    box(ax, (6.85, 2.35), "gate: mean,\ntwo linear layers", colour=GREEN, size=(1.5, 0.6))
    box(ax, (6.85, 1.4), "×", colour=GREY, size=(0.4, 0.4))
    box(ax, (8.3, 1.4), "next block", colour=GREY, size=(0.9, 0.6))
    for start, end in (
        ((1.05, 1.5), (1.5, 1.9)),
        ((1.05, 1.3), (1.5, 0.9)),
        ((2.9, 1.9), (3.38, 1.55)),
        ((2.9, 0.9), (3.38, 1.25)),
        ((3.75, 1.4), (4.05, 1.4)),
        ((4.75, 1.4), (5.0, 1.4)),
        ((5.7, 1.4), (6.65, 1.4)),
        ((5.7, 1.6), (6.1, 2.2)),
        ((6.85, 2.05), (6.85, 1.6)),
        ((7.05, 1.4), (7.85, 1.4)),
    ):
        arrow(ax, start, end)
    ax.plot([1.4, 5.75], [0.45, 0.45], color=BLUE, lw=2)
    ax.text(3.6, 0.2, "1 layer: linear up to the ReLU, so it could be written as one map", ha="center", fontsize=9)
    ax.plot([6.1, 7.6], [2.75, 2.75], color=GREEN, lw=2)
    ax.text(6.0, 2.75, "2 more on the path with gates", ha="right", va="center", fontsize=9)
    figure.savefig(path, dpi=110)


def statistics(path: Path) -> None:
    """What the first batch norm of the package's model receives, for three subsets of the bands."""
    model = ac.load("demo").eval()
    x, found = test_tiles(model), dict[str, Tensor]()
    pool = model.body.get_submodule("0.pool")
    with torch.no_grad():
        for title, names in SUBSETS.items():
            index = model.channels.indices(names)
            maps = pool(model.stem(x[:, list(index)], index=index))
            found[title] = maps.movedim(1, 0).flatten(1)  # (F, N·H·W)
    all_bands, *_ = found.values()
    scale = all_bands.std(1)
    shifts = [(values.mean(1) - all_bands.mean(1)).abs() / scale for values in found.values()]
    shown = int(torch.stack(shifts).sum(0).argmax())
    figure = Figure(figsize=(9, 2.8), layout="constrained")
    ax = figure.subplots()
    values_of_all = torch.cat([values[shown] for values in found.values()]).numpy()
    low, high = np.percentile(values_of_all, [0.5, 99.5]).tolist()
    edges = np.linspace(low, high, 80).tolist()
    for (title, values), colour in zip(found.items(), (BLUE, ORANGE, GREEN), strict=True):
        mean, std = float(values[shown].mean()), float(values[shown].std())
        label = f"{title}: mean {mean:.2f}, standard deviation {std:.2f}"
        ax.hist(
            values[shown].numpy(), edges, histtype="stepfilled", density=True, color=colour, alpha=0.35, label=label
        )
        ax.axvline(mean, color=colour, lw=1.5)
    ax.set(xlabel="value of one map before its batch norm, 60 test tiles", yticks=[])
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.legend(frameon=False, fontsize=9)
    figure.savefig(path, dpi=110)


PICTURES = {"completion": completion, "mixing": mixing, "depth": depth, "statistics": statistics}


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw them all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    out: Path = parser.parse_args(arguments).out
    out.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"font.family": "DejaVu Sans"}):
        for name, draw in PICTURES.items():
            draw(out / f"concept-{name}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
