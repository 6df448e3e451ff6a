"""From one scene's file to its class map, confidence and picture: rows are classified and written as they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rasterio.errors import RasterioError
from rich.console import Console
from rich.progress import track

from anychan.data.drift import print_warnings
from anychan.deploy.classifier import Prediction
from anychan.deploy.scene_files import map_writer
from anychan.deploy.scene_map import Grid, WindowRow, class_rows
from anychan.deploy.scene_preview import LabelPicture, ScenePicture, draw_preview
from anychan.deploy.scene_windows import SceneWindows, open_windows
from anychan.errors import RunError
from anychan.files import replacing
from anychan.models.base import AnyChannelModel
from anychan.report.pictures import picture_channels

__all__ = ["ClassifyScene", "classify_here", "map_files", "predict_scene"]

# Opens what computes; then all rows of windows, in order.
ClassifyScene = Callable[[SceneWindows, ScenePicture], AbstractContextManager[Iterator[WindowRow]]]


def map_files(out: Path) -> tuple[Path, Path, Path]:
    """The three files of a map: labels, confidence, picture."""
    return out, out.with_stem(f"{out.stem}-confidence"), out.with_suffix(".png")


def classify_here(windows: SceneWindows, picture: ScenePicture) -> AbstractContextManager[Iterator[WindowRow]]:
    """Classify in this process."""
    return closing(windows.classify(picture))


def predict_scene(
    model: AnyChannelModel,
    path: Path,
    out: Path,
    asked: Prediction,
    *,
    classify: ClassifyScene = classify_here,
) -> None:
    """Write a scene's class map, and say what is in it; warn of channels unlike the training's on standard error.

    Memory is that of a few rows of windows, however high the scene is; `Scene` tells which files are exceptions.

    Args:
        model: in eval mode.
        path: a TIFF, `.npy` or `.mat` file, or a folder of one TIFF a channel.
        out: the labels' GeoTIFF; the others lie beside it (see `map_files`).
        asked: the options.
        classify: where the work is done; default: in this process.

    Raises:
        ConfigError: for a window, stride or batch size that cannot be, or an `out` that is a file of the scene.
        DataError: for a scene that cannot be read, or is smaller than a window.
        ChannelError: when nobody says which channels there are, or the model does not know them.
        ContractError: for pixels whose raw values mean something else than in training.
        RunError: when the files cannot be written.
    """
    with open_windows(model, path, asked, outputs=map_files(out)) as windows:
        for note in windows.notes:
            print(note)
        try:
            counts = _write(model, windows, classify, out)
        except (OSError, RasterioError) as error:
            reason = getattr(error, "strerror", None) or error
            raise RunError(f"{out}: the map cannot be written ({reason})") from None
    print_warnings(windows.rule.warnings())
    print(_summary(counts, windows.grid, model.contract.classes))
    print(f"map: {out}; confidence: {map_files(out)[1]}; picture: {map_files(out)[2]}")


def _write(model: AnyChannelModel, windows: SceneWindows, classify: ClassifyScene, out: Path) -> npt.NDArray[np.int64]:
    """Write the three files; returns the number of cells of each class."""
    classes, grid, channels = model.contract.classes, windows.grid, windows.bands.channels
    scene_picture, label_picture = windows.picture(), LabelPicture(grid, len(classes))
    with ExitStack() as stack:
        labels, confidence, picture = (stack.enter_context(replacing(file)) for file in map_files(out))
        found = stack.enter_context(classify(windows, scene_picture))
        rows = class_rows(_tracked(found, len(grid.tops)), grid)
        with map_writer(labels, confidence, grid=grid, place=windows.scene.place, classes=classes) as writer:
            for row in rows:
                writer.write(row)
                label_picture.add(row)
        bands_shown = ", ".join(channels[position].name for position in picture_channels(channels))
        titles = (
            f"{windows.scene.path.name}: {bands_shown}",
            f"{model.name}: class of each {grid.stride}x{grid.stride} pixels",
        )
        draw_preview(picture, scene_picture, label_picture, grid=grid, titles=titles, classes=classes)
    return label_picture.counts


def _tracked(rows: Iterable[WindowRow], total: int) -> Iterable[WindowRow]:
    console = Console(stderr=True)
    hidden = not console.is_terminal
    return track(rows, "predicting", total=total, console=console, transient=True, disable=hidden)


def _summary(counts: npt.NDArray[np.int64], grid: Grid, classes: Sequence[str]) -> str:
    total = grid.rows * grid.columns
    order = [int(label) for label in np.argsort(-counts, kind="stable") if counts[label]]
    shares = [f"{classes[label]} {100 * counts[label] / total:.1f} %" for label in order]
    without = total - int(counts.sum())
    shares += [f"no class {100 * without / total:.1f} %"] if without else []
    return f"{grid.rows}x{grid.columns} cells of {grid.stride}x{grid.stride} pixels: {', '.join(shares)}"
