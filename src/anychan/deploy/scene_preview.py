"""A picture of a scene beside its class map, both gathered while the scene goes by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from anychan.deploy.scene import Rows
from anychan.deploy.scene_files import class_colours
from anychan.deploy.scene_map import Grid, MapRow

__all__ = ["LabelPicture", "ScenePicture", "draw_preview"]

_MOST_PIXELS = 640  # what one side of the picture has
_MOST_NAMES = 30  # of the classes with the most cells
Array = npt.NDArray[Any]


class ScenePicture:
    """Means over blocks of so many pixels that the picture is at most 640 pixels high and wide.

    Args:
        grid: the scene's size.
        channels: one or three positions among the rows' channels.
        rows: those of the scene that will be added; default: all.
    """

    def __init__(self, grid: Grid, channels: Sequence[int], rows: range | None = None) -> None:
        rows = range(grid.height) if rows is None else rows
        self._channels = list(channels)
        self._step = -(-max(grid.height, grid.width) // _MOST_PIXELS)
        self._first = rows.start // self._step  # row of the picture
        shape = (-(-rows.stop // self._step) - self._first, -(-grid.width // self._step), len(channels))
        self._sums, self._counts = np.zeros(shape), np.zeros(shape)
        self._columns = np.arange(0, grid.width, self._step)
        self._seen = rows.start - self._first * self._step

    def add(self, rows: Rows) -> None:
        """The next rows."""
        values, missing = (part[..., self._channels] for part in rows)
        block = (self._seen + np.arange(len(values))) // self._step
        self._seen += len(values)
        starts = np.flatnonzero(np.diff(block, prepend=-1))
        for into, what in ((self._sums, np.where(missing, 0.0, values)), (self._counts, ~missing)):
            columns = np.add.reduceat(what, self._columns, axis=1, dtype=np.float64)
            into[block[starts]] += np.add.reduceat(columns, starts, axis=0)

    def merge(self, other: ScenePicture) -> None:
        """Add the picture of some of the same scene's rows."""
        start = other._first - self._first
        for into, what in ((self._sums, other._sums), (self._counts, other._counts)):
            into[start : start + len(what)] += what

    def image(self) -> Array:
        """(h, w, 3) in [0, 1]: each channel from its 2nd to its 98th percentile; white where there is no data."""
        with np.errstate(invalid="ignore"):
            means = self._sums / self._counts  # NaN without data
        image = np.ones((*means.shape[:2], 3))
        for position in range(3):
            plane = means[..., min(position, means.shape[2] - 1)]
            there = np.isfinite(plane)
            if there.any():
                low, high = np.percentile(plane[there], (2, 98))
                image[there, position] = np.clip((plane[there] - low) / max(high - low, 1e-12), 0, 1)
        return image


class LabelPicture:
    """Every so many cells' label, and how many cells each class has.

    Args:
        grid: the cells.
        num_classes: K.
    """

    def __init__(self, grid: Grid, num_classes: int) -> None:
        self._step = -(-max(grid.rows, grid.columns) // _MOST_PIXELS)
        self._rows: list[Array] = []
        self._seen = 0
        self.counts = np.zeros(num_classes, np.int64)

    def add(self, row: MapRow) -> None:
        """The next row of cells."""
        self.counts += np.bincount(row.labels[row.labels >= 0], minlength=len(self.counts))
        if self._seen % self._step == 0:
            self._rows.append(row.labels[:: self._step])
        self._seen += 1

    def image(self) -> Array:
        """(h, w, 4) uint8: the classes' colours; clear where there is none."""
        labels = np.stack(self._rows)
        colours = np.concatenate([class_colours(len(self.counts)), np.zeros((1, 3), np.uint8)])
        return np.concatenate([colours[labels], np.where(labels < 0, 0, 255).astype(np.uint8)[..., None]], -1)


def draw_preview(
    path: Path,
    scene: ScenePicture,
    labels: LabelPicture,
    *,
    grid: Grid,
    titles: tuple[str, str],
    classes: Sequence[str],
) -> None:
    """Write the picture.

    Args:
        path: the PNG.
        scene: the left side.
        labels: the right side.
        grid: for the sides' extents.
        titles: above the left and the right side.
        classes: names by label.
    """
    figure = Figure(figsize=(13, 1 + 6 * min(1.6, max(0.4, grid.height / grid.width))), layout="constrained")
    left, right = figure.subplots(1, 2)
    _show(left, scene.image(), (grid.width, grid.height), grid, titles[0])
    extent = (grid.columns * grid.stride, grid.rows * grid.stride)
    _show(right, labels.image(), extent, grid, titles[1])
    shares = labels.counts / max(1, int(labels.counts.sum()))
    order = [int(label) for label in np.argsort(-shares, kind="stable")[:_MOST_NAMES] if shares[label]]
    texts = [f"{classes[label]}  {100 * shares[label]:.1f} %".replace("$", r"\$") for label in order]
    colours = class_colours(len(classes)) / 255
    patches = [Patch(color=colours[label], label=text) for label, text in zip(order, texts, strict=True)]
    figure.legend(handles=patches, loc="outside right center", frameon=False)
    figure.savefig(path, dpi=120, format="png", bbox_inches="tight")


def _show(axes: Axes, image: Array, extent: tuple[int, int], grid: Grid, title: str) -> None:
    axes.imshow(image, extent=(0, extent[0], extent[1], 0), interpolation="nearest")
    axes.set(xlim=(0, grid.width), ylim=(grid.height, 0), xticks=[], yticks=[])
    axes.set_title(title.replace("$", r"\$"), fontsize="medium")
