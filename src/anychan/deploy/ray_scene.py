"""A scene classified by the workers of a Ray cluster, each of which reads the rows that it needs."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from anychan.data.statistics import StatisticsAccumulator
from anychan.deploy.classifier import Prediction, best_device
from anychan.deploy.ray_cluster import Cluster, open_cluster, pieces_of_work
from anychan.deploy.scene_map import WindowRow
from anychan.deploy.scene_preview import ScenePicture
from anychan.deploy.scene_windows import SceneWindows, open_windows
from anychan.models.pretrained import load

__all__ = ["RayScene"]

_ROWS = 64  # of windows, at most in one piece of work; the rows of pixels between two pieces are read twice


class _Classify:
    """A worker's part: the model, the opened scene, and what is said of some rows of windows.

    Args:
        run: the model's folder.
        path: the scene.
        asked: the options.
    """

    def __init__(self, run: Path, path: Path, asked: Prediction) -> None:
        self._open = ExitStack()  # until the process ends
        self._windows = self._open.enter_context(open_windows(load(run).to(best_device()), path, asked))

    def __call__(self, rows: range) -> tuple[list[WindowRow], ScenePicture, StatisticsAccumulator]:
        picture = self._windows.picture(rows.start, rows.stop)
        found = list(self._windows.classify(picture, rows.start, rows.stop))
        return found, picture, self._windows.rule.take()


@dataclass(frozen=True)
class RayScene:
    """Classifies a scene on a Ray cluster, window by window as one process does, so that numbers are the same.

    Args:
        run: the model's folder, which all workers can read, as they can the scene.
        asked: the options.
        address: see `open_cluster`.
    """

    run: Path
    asked: Prediction
    address: str | None = None

    @contextmanager
    def __call__(self, windows: SceneWindows, picture: ScenePicture) -> Iterator[Iterator[WindowRow]]:
        """All rows of windows, in order.

        Raises:
            AnychanError: as `SceneWindows.classify`; a RunError when the cluster fails.
        """
        with open_cluster(self.address) as cluster, closing(self._rows(windows, picture, cluster)) as rows:
            yield rows

    def _rows(self, windows: SceneWindows, picture: ScenePicture, cluster: Cluster) -> Generator[WindowRow]:
        pieces = pieces_of_work(len(windows.grid.tops), cluster.workers, most=_ROWS)
        with closing(cluster.map(_Classify, (self.run, windows.scene.path, self.asked), pieces)) as results:
            for rows, some, seen in results:
                picture.merge(some)
                windows.rule.add(seen)
                yield from rows
