"""From one scene's file to its class map, confidence and picture: rows are classified and written as they are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rasterio.errors import RasterioError
from rich.console import Console
from rich.progress import track

from anychan.data.drift import print_warnings
from anychan.deploy.classifier import Classifier, Prediction
from anychan.deploy.scene import Scene, open_scene
from anychan.deploy.scene_channels import (
    BandChannels,
    channel_notes,
    find_band_files,
    match_bands,
    name_bands,
    said_channels,
    scene_channels_file,
)
from anychan.deploy.scene_files import map_writer
from anychan.deploy.scene_map import Band, Grid, class_rows
from anychan.deploy.scene_pixels import PixelRule
from anychan.deploy.scene_preview import LabelPicture, ScenePicture, draw_preview
from anychan.errors import ConfigError, DataError, RunError
from anychan.files import replacing
from anychan.models.base import AnyChannelModel
from anychan.report.pictures import picture_channels

__all__ = ["map_files", "predict_scene"]


def map_files(out: Path) -> tuple[Path, Path, Path]:
    """The three files of a map: labels, confidence, picture."""
    return out, out.with_stem(f"{out.stem}-confidence"), out.with_suffix(".png")


def predict_scene(
    model: AnyChannelModel,
    path: Path,
    out: Path,
    asked: Prediction,
) -> None:
    """Write a scene's class map, and say what is in it; warn of channels unlike the training's on standard error.

    Memory is that of a few rows of windows, however high the scene is; `Scene` tells which files are exceptions.

    Args:
        model: in eval mode.
        path: a TIFF, `.npy` or `.mat` file, or a folder of one TIFF a channel.
        out: the labels' GeoTIFF; the others lie beside it (see `map_files`).
        asked: the options.

    Raises:
        ConfigError: for a window, stride or batch size that cannot be, or an `out` that is a file of the scene.
        DataError: for a scene that cannot be read, or is smaller than a window.
        ChannelError: when nobody says which channels there are, or the model does not know them.
        ContractError: for pixels whose raw values mean something else than in training.
        RunError: when the files cannot be written.
    """
    said = scene_channels_file(path)
    files = find_band_files(path, said) if path.is_dir() else None
    if files is not None and asked.channels is not None:
        raise ConfigError(f"--channels: the channels.yaml in {path} names its channels; leave --channels out")
    _check_apart(map_files(out), [path] if files is None else list(files.values()))
    stated = said_channels(model.channels, spec=asked.channels, said=said)
    count = None if stated is None else len(stated)
    with open_scene(path, files, cube=asked.cube, channels_count=count) as scene:
        named = name_bands(path, scene.names, model.channels, spec=asked.channels, said=said)
        bands = match_bands(path, named, model.contract, allow_unknown=asked.allow_unknown_channels)
        rule = PixelRule(str(path), model.contract, bands.channels, said)
        notes = [*channel_notes(bands, model.contract), *rule.check_dtype(str(path), scene.dtype)]
        notes += ["the scene has no georeference, so the map has none"] if scene.place is None else []
        classifier = Classifier(model, bands.channels, batch_size=asked.batch_size, flip=asked.flip)
        try:
            grid = Grid(scene.height, scene.width, asked.window, asked.stride)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
        if model.contract.resize is None:
            model.check_size(asked.window, asked.window)
        for note in notes:
            print(note)
        try:
            counts = _write(model, scene, bands, grid, rule, classifier, out)
        except (OSError, RasterioError) as error:
            raise RunError(f"{out}: the map cannot be written ({error})") from None
    print_warnings(rule.warnings())
    print(_summary(counts, grid, model.contract.classes))
    print(f"map: {out}; confidence: {map_files(out)[1]}; picture: {map_files(out)[2]}")


def _check_apart(outputs: Sequence[Path], inputs: Sequence[Path]) -> None:
    taken = {path.resolve() for path in inputs}
    for path in outputs:
        if path.resolve() in taken:
            raise ConfigError(f"{path} is part of the scene, so the map cannot be written there; give another --out")


def _write(
    model: AnyChannelModel,
    scene: Scene,
    bands: BandChannels,
    grid: Grid,
    rule: PixelRule,
    classifier: Classifier,
    out: Path,
) -> npt.NDArray[np.int64]:
    """Write the three files; returns the number of cells of each class."""
    classes = model.contract.classes
    shown = picture_channels(bands.channels)
    scene_picture, label_picture = ScenePicture(grid, shown), LabelPicture(grid, len(classes))
    with ExitStack() as stack:
        labels, confidence, picture = (stack.enter_context(replacing(file)) for file in map_files(out))
        tiles = _bands(scene, bands.bands, grid, rule, scene_picture)
        with map_writer(labels, confidence, grid=grid, place=scene.place, classes=classes) as writer:
            for row in class_rows(tiles, grid, classifier, num_classes=len(classes)):
                writer.write(row)
                label_picture.add(row)
        bands_shown = ", ".join(bands.channels[position].name for position in shown)
        titles = (
            f"{scene.path.name}: {bands_shown}",
            f"{model.name}: class of each {grid.stride}x{grid.stride} pixels",
        )
        draw_preview(picture, scene_picture, label_picture, grid=grid, titles=titles, classes=classes)
    return label_picture.counts


def _bands(scene: Scene, bands: Sequence[int], grid: Grid, rule: PixelRule, picture: ScenePicture) -> Iterator[Band]:
    """As many rows as a window is high, for each row of windows; every row is read once."""
    console = Console(stderr=True)
    hidden = not console.is_terminal
    held: Band | None = None
    end = 0
    for top in track(grid.tops, "predicting", console=console, transient=True, disable=hidden):
        rows = rule.mark(scene.read(end, top + grid.window - end, bands))
        picture.add(rows)
        band = rule.fill(rows)
        if held is not None:
            again = grid.window - (end - top)  # the first of the rows held that this band has too
            band = Band(*(np.concatenate([old[again:], new]) for old, new in zip(held, band, strict=True)))
        held, end = band, top + grid.window
        yield band


def _summary(counts: npt.NDArray[np.int64], grid: Grid, classes: Sequence[str]) -> str:
    total = grid.rows * grid.columns
    order = [int(label) for label in np.argsort(-counts, kind="stable") if counts[label]]
    shares = [f"{classes[label]} {100 * counts[label] / total:.1f} %" for label in order]
    without = total - int(counts.sum())
    shares += [f"no class {100 * without / total:.1f} %"] if without else []
    return f"{grid.rows}x{grid.columns} cells of {grid.stride}x{grid.stride} pixels: {', '.join(shares)}"
