"""What a model says of images: the classes' probabilities, and which channels it saw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from anychan.data.decoding import decoding_threads, in_order
from anychan.data.statistics import StatisticsAccumulator
from anychan.deploy.classifier import Classifier, Prediction
from anychan.deploy.sample_readers import SampleReader
from anychan.deploy.scene import Rows
from anychan.deploy.scene_channels import channel_notes, match_bands
from anychan.deploy.scene_map import EMPTY_SHARE, Band
from anychan.deploy.scene_pixels import PixelRule
from anychan.errors import ConfigError, DataError
from anychan.models.base import AnyChannelModel

__all__ = ["Classification", "Explanation", "SampleClassifier", "Seen"]


@dataclass(frozen=True, eq=False)
class Classification:
    """What a model says of one image.

    Args:
        sample: the image's name.
        classes: their names, by label.
        probabilities: (num_classes,) float32, the softmax; `None` for an image more than half of whose pixels hold no
            data.
        channels: names of those that the model saw.
        absent: names of the model's channels that the image lacks, which its stem did without.
    """

    sample: str
    classes: tuple[str, ...]
    probabilities: npt.NDArray[np.float32] | None
    channels: tuple[str, ...]
    absent: tuple[str, ...]

    @property
    def label(self) -> str | None:
        """The class of the highest probability; `None` without any."""
        found = self.top(1)
        return found[0][0] if found else None

    @property
    def confidence(self) -> float | None:
        """Its probability."""
        found = self.top(1)
        return found[0][1] if found else None

    def top(self, k: int) -> list[tuple[str, float]]:
        """The k classes of the highest probabilities, the highest first; `[]` without any."""
        if self.probabilities is None:
            return []
        order = np.argsort(-self.probabilities, kind="stable")[:k]
        return [(self.classes[label], float(self.probabilities[label])) for label in order]


@dataclass(frozen=True, eq=False)
class Explanation:
    """What each value of one image adds to a class's log-probability: integrated gradients, in nats.

    Args:
        found: what the model says of the image.
        label: the class that is explained.
        image: (H, W, C) raw values as the model took them, at its size.
        values: (H, W, C) float32; their sum is the log-probability less that of an image of training means, nearly.
    """

    found: Classification
    label: str
    image: npt.NDArray[Any]
    values: npt.NDArray[np.float32]

    @property
    def shares(self) -> dict[str, float]:
        """Channel → its part of all that speaks for or against the class, 0 to 1."""
        sums = np.abs(self.values).sum((0, 1), dtype=np.float64)
        return dict(zip(self.found.channels, (sums / (sums.sum() or 1)).tolist(), strict=True))


class Seen(NamedTuple):
    """What a classifier saw on its way: notes for the user, and what warnings are made of."""

    notes: list[str]
    statistics: StatisticsAccumulator


class SampleClassifier:
    """Classifies images that hold the same channels, decoded on several cores a batch ahead.

    Args:
        model: in eval mode.
        samples: reads them.
        path: where they lie, for messages.
        asked: the options.
        cores: that decode; default: all of the machine.

    Raises:
        ConfigError: for a batch size that cannot be.
        ChannelError: for channels that the model does not know, or in another unit than its own.
    """

    def __init__(
        self,
        model: AnyChannelModel,
        samples: SampleReader,
        path: Path,
        asked: Prediction,
        *,
        cores: int | None = None,
    ) -> None:
        self._bands = match_bands(path, tuple(samples.held), model.contract, allow_unknown=asked.allow_unknown_channels)
        self._classify = Classifier(model, self._bands.channels, batch_size=asked.batch_size, flip=asked.flip)
        self._rule = PixelRule(str(path), model.contract, self._bands.channels, samples.said)
        self.path, self.samples, self._batch_size, self._cores = path, samples, asked.batch_size, cores
        self._classes = model.contract.classes
        self._bytes = 0
        self._notes = dict.fromkeys(channel_notes(self._bands, model.contract))

    def __len__(self) -> int:
        return len(self.samples.names)

    def __iter__(self) -> Iterator[Classification]:
        """One for each image, in order.

        Raises:
            DataError: for an image that cannot be read.
            ContractError: for pixels whose raw values mean something else than in training.
            InputShapeError: for images of a size that the model cannot take.
        """
        names = self.samples.names
        first = self._read(0)  # which tells how much memory one takes
        threads = decoding_threads(self._bytes, self._cores)
        rest = in_order(
            lambda position: self._read(position + 1), len(names) - 1, threads=threads, ahead=self._batch_size
        )
        with closing(rest):
            images = chain([first], rest)
            for start in range(0, len(names), self._batch_size):
                part = names[start : start + self._batch_size]
                yield from self._of_batch(part, list(islice(images, len(part))))

    def explain(self, position: int, label: str | None = None) -> Explanation:
        """What each value of one image adds to a class's log-probability.

        Args:
            position: of the image.
            label: the class; default: the one of the highest probability.

        Raises:
            AnychanError: as for `__iter__`; a DataError for an image more than half of whose pixels hold no data, and a
                ConfigError for a class that the model does not have.
        """
        name, image = self.samples.names[position], self._read(position)
        (found,) = self._of_batch([name], [image])
        label = label or found.label
        if label is None:
            raise DataError(f"{self.path}/{name}: more than half of its pixels hold no data, so nothing is explained")
        if label not in self._classes:
            raise ConfigError(f"no class is called {label!r}; the model has {', '.join(self._classes)}")
        return Explanation(
            found, label, image.values, self._classify.attribute(image.values, self._classes.index(label))
        )

    def notes(self) -> list[str]:
        """What the user must know of the channels and number types met so far."""
        return list(self._notes)

    def warnings(self) -> list[str]:
        """Channels so far that are unlike the training's."""
        return self._rule.warnings()

    def take(self) -> Seen:
        """What this saw, to `add` it to another process's."""
        return Seen(self.notes(), self._rule.take())

    def add(self, seen: Seen) -> None:
        """Count what another process has seen for the notes and warnings."""
        self._notes |= dict.fromkeys(seen.notes)
        self._rule.add(seen.statistics)

    def _read(self, position: int) -> Band:
        name = self.samples.names[position]
        image, tag = self.samples.read(name)
        self._bytes = max(self._bytes, image.nbytes)
        values = image[:, :, list(self._bands.bands)]
        self._notes |= dict.fromkeys(self._rule.check_dtype(f"{self.path}/{name}", values.dtype))
        band = self._rule.fill(self._rule.mark(Rows(values, ~np.isfinite(values) | tag.missing(values))))
        return Band(self._classify.resize(band.values), band.empty)

    def _of_batch(self, names: Sequence[str], images: Sequence[Band]) -> Iterator[Classification]:
        known = [image.values for image in images if image.empty.mean() <= EMPTY_SHARE]
        found = iter(self._classify(known)) if known else iter(())
        for name, image in zip(names, images, strict=True):
            probabilities = None if image.empty.mean() > EMPTY_SHARE else next(found)
            yield Classification(name, self._classes, probabilities, self._bands.channels.labels, self._bands.missing)
