"""A scene, a model and the windows between them: any rows of windows, read and classified by themselves."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

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
from anychan.deploy.scene_map import Band, Grid, WindowRow, classify_windows
from anychan.deploy.scene_pixels import PixelRule
from anychan.deploy.scene_preview import ScenePicture
from anychan.errors import ConfigError, DataError
from anychan.models.base import AnyChannelModel
from anychan.report.pictures import picture_channels

__all__ = ["SceneWindows", "open_windows"]


@dataclass(frozen=True, eq=False)
class SceneWindows:
    """An opened scene that a model is to classify.

    Args:
        scene: the pixels.
        bands: those that the model is to see.
        grid: where the windows lie.
        rule: from raw values to the model's.
        classifier: of windows.
        num_classes: K.
        notes: what the user must know.
    """

    scene: Scene
    bands: BandChannels
    grid: Grid
    rule: PixelRule
    classifier: Classifier
    num_classes: int
    notes: tuple[str, ...]

    def picture(self, start: int = 0, stop: int | None = None) -> ScenePicture:
        """An empty picture of the pixels that `classify` adds to it for the same rows of windows."""
        tops = self.grid.tops
        rows = range(self._known(start), tops[len(tops) - 1 if stop is None else stop - 1] + self.grid.window)
        return ScenePicture(self.grid, picture_channels(self.bands.channels), rows)

    def classify(self, picture: ScenePicture, start: int = 0, stop: int | None = None) -> Generator[WindowRow]:
        """Some rows of windows, from one number in `grid.tops` to another, read as they are needed.

        However the rows of windows are shared out, each pixel is counted once, in `picture` and for warnings: not where
        the windows before `start` hold it too.

        Raises:
            DataError: when the scene is damaged.
            ChannelError: as `PixelRule.fill`.
        """
        window, end = self.grid.window, self._known(start)
        held: Band | None = None
        for top in self.grid.tops[start:stop]:
            if held is None and top < end:
                rows = self.rule.mark(self.scene.read(top, end - top, self.bands.bands))
                held = self.rule.fill(rows, counted=False)
            rows = self.rule.mark(self.scene.read(end, top + window - end, self.bands.bands))
            picture.add(rows)
            band = self.rule.fill(rows)
            if held is not None:  # its last rows are this band's first
                again = len(held.values) - (end - top)
                band = Band(*(np.concatenate([old[again:], new]) for old, new in zip(held, band, strict=True)))
            held, end = band, top + window
            yield classify_windows(band, self.grid, self.classifier, num_classes=self.num_classes)

    def _known(self, start: int) -> int:
        """The first pixel row that no window before `start` holds."""
        return 0 if start == 0 else self.grid.tops[start - 1] + self.grid.window


@contextmanager
def open_windows(
    model: AnyChannelModel, path: Path, asked: Prediction, *, outputs: Sequence[Path] = ()
) -> Iterator[SceneWindows]:
    """Open a scene, and see that the model can take it.

    Args:
        model: in eval mode.
        path: a TIFF, `.npy` or `.mat` file, or a folder of one TIFF a channel.
        asked: the options.
        outputs: the files that will be written, none of which may be the scene's.

    Raises:
        AnychanError: as `predict_scene`.
    """
    said = scene_channels_file(path)
    files = find_band_files(path, said) if path.is_dir() else None
    if files is not None and asked.channels is not None:
        raise ConfigError(f"--channels: the channels.yaml in {path} names its channels; leave --channels out")
    _check_apart(outputs, [path] if files is None else list(files.values()))
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
        yield SceneWindows(scene, bands, grid, rule, classifier, len(model.contract.classes), tuple(notes))


def _check_apart(outputs: Sequence[Path], inputs: Sequence[Path]) -> None:
    taken = {path.resolve() for path in inputs}
    for path in outputs:
        if path.resolve() in taken:
            raise ConfigError(f"{path} is part of the scene, so the map cannot be written there; give another --out")
