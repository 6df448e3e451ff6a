"""Images classified by the workers of a Ray cluster, which read them themselves, and give back what the model says."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from anychan.deploy.classification import Classification, SampleClassifier, Seen
from anychan.deploy.classifier import Prediction, best_device
from anychan.deploy.predict_samples import Part
from anychan.deploy.ray_cluster import Cluster, open_cluster, pieces_of_work
from anychan.deploy.sample_readers import SampleReader
from anychan.models.pretrained import load

__all__ = ["RaySamples"]

_BATCHES = 64  # at most in one piece of work: a few seconds on a core


@dataclass(frozen=True)
class _Piece:
    """Images that one worker reads and classifies."""

    part: int
    samples: SampleReader
    path: Path


class _Classify:
    """A worker's part: the model, and what it says of a piece.

    Args:
        run: the model's folder.
        asked: the options.
        cores: that decode.
    """

    def __init__(self, run: Path, asked: Prediction, cores: int) -> None:
        self._model, self._asked, self._cores = load(run).to(best_device()), asked, cores

    def __call__(self, piece: _Piece) -> tuple[int, list[Classification], Seen]:
        images = SampleClassifier(self._model, piece.samples, piece.path, self._asked, cores=self._cores)
        return piece.part, list(images), images.take()


@dataclass(frozen=True)
class RaySamples:
    """Classifies images on a Ray cluster, batch by batch as one process does, so that numbers are the same.

    Args:
        run: the model's folder, which all workers can read, as they can the images.
        asked: the options.
        address: see `open_cluster`.
    """

    run: Path
    asked: Prediction
    address: str | None = None

    @contextmanager
    def __call__(self, parts: Sequence[Part]) -> Iterator[Iterator[tuple[str, Classification]]]:
        """Each image's name for the user, and what the model says of it, in order.

        Raises:
            AnychanError: as `SampleClassifier`; a RunError when the cluster fails.
        """
        with open_cluster(self.address) as cluster, closing(self._images(parts, cluster)) as images:
            yield images

    def _images(self, parts: Sequence[Part], cluster: Cluster) -> Generator[tuple[str, Classification]]:
        arguments = (self.run, self.asked, cluster.cores)
        with closing(cluster.map(_Classify, arguments, self._pieces(parts, cluster))) as results:
            for number, found, seen in results:
                parts[number].images.add(seen)
                yield from map(parts[number].named, found)

    def _pieces(self, parts: Sequence[Part], cluster: Cluster) -> Iterator[_Piece]:
        size = self.asked.batch_size
        for number, part in enumerate(parts):
            batches = -(-len(part.images) // size)
            for some in pieces_of_work(batches, cluster.workers, most=_BATCHES):
                samples = part.images.samples.part(some.start * size, some.stop * size)
                yield _Piece(number, samples, part.images.path)
