"""A folder, zip or `.npz` of images → a CSV file with one line each: sample, class, confidence."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import chain, islice
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from anychan.data.decoding import decoding_threads, in_order
from anychan.data.drift import print_warnings
from anychan.deploy.classifier import Classifier, Prediction
from anychan.deploy.sample_readers import SampleReader, open_samples
from anychan.deploy.scene import Rows
from anychan.deploy.scene_channels import BandChannels, channel_notes, match_bands
from anychan.deploy.scene_map import EMPTY_SHARE, Band
from anychan.deploy.scene_pixels import PixelRule
from anychan.errors import RunError
from anychan.files import replacing
from anychan.models.base import AnyChannelModel

__all__ = ["predict_samples"]


def predict_samples(
    model: AnyChannelModel,
    path: Path,
    out: Path,
    asked: Prediction,
) -> None:
    """Write a line for each image: its name, its class and the softmax of that class.

    An image more than half of whose pixels hold no data gets a line without a class. Channels that are unlike the
    training's are warned of on standard error.

    Args:
        model: in eval mode.
        path: a folder, zip or `.npz`, stored as for training; folders inside it, and labels, mean nothing.
        out: the CSV file.
        asked: the options.

    Raises:
        ConfigError: for a batch size that cannot be, or channels that are named twice over.
        DataError: for an image that cannot be read, or if there is none.
        ChannelError: when nobody says which channels there are, or the model does not know them.
        ContractError: for pixels whose raw values mean something else than in training.
        RunError: when the table cannot be written.
    """
    samples = open_samples(path, model.channels, spec=asked.channels, grey=model.contract.grey)
    bands = match_bands(path, tuple(samples.held), model.contract, allow_unknown=asked.allow_unknown_channels)
    classifier = Classifier(model, bands.channels, batch_size=asked.batch_size, flip=asked.flip)
    rule = PixelRule(str(path), model.contract, bands.channels, samples.said)
    images = _Images(path, samples, bands, rule, classifier)
    try:
        with replacing(out) as partial, partial.open("w", newline="", encoding="utf-8") as file, _progress() as shown:
            task = shown.add_task("predicting", total=len(samples.names))
            table = csv.writer(file)
            table.writerow(["sample", "class", "confidence"])
            for names, part in images.batches(asked.batch_size):
                table.writerows(_lines(names, part, classifier, model.contract.classes))
                shown.advance(task, len(names))
    except OSError as error:
        raise RunError(f"{out}: the table cannot be written ({error.strerror})") from None
    print_warnings(rule.warnings())
    for note in [*channel_notes(bands, model.contract), *sorted(images.notes)]:
        print(note)
    print(f"{len(samples.names)} images; table: {out}")


def _progress() -> Progress:
    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not console.is_terminal)


class _Images:
    """Images as the model takes them, decoded on several cores a batch ahead.

    Args:
        path: where they lie, for messages.
        samples: reads them.
        bands: the channels that the model takes of them.
        rule: fills what is missing.
        classifier: brings them to its size, so that those that wait are small.
    """

    def __init__(
        self, path: Path, samples: SampleReader, bands: BandChannels, rule: PixelRule, classifier: Classifier
    ) -> None:
        self._path, self._samples, self._bands = path, samples, list(bands.bands)
        self._rule, self._classifier = rule, classifier
        self.notes: set[str] = set()
        self._bytes = 0

    def batches(self, size: int) -> Iterator[tuple[tuple[str, ...], list[Band]]]:
        """Names and images, so many at once and the rest at the end."""
        names = self._samples.names
        first = self._read(0)  # which tells how much memory one takes
        threads = decoding_threads(self._bytes)
        rest = in_order(lambda position: self._read(position + 1), len(names) - 1, threads=threads, ahead=size)
        with closing(rest):
            images = chain([first], rest)
            for start in range(0, len(names), size):
                yield names[start : start + size], list(islice(images, size))

    def _read(self, position: int) -> Band:
        name = self._samples.names[position]
        image, tag = self._samples.read(name)
        self._bytes = max(self._bytes, image.nbytes)
        values = image[:, :, self._bands]
        self.notes.update(self._rule.check_dtype(f"{self._path}/{name}", values.dtype))
        band = self._rule.fill(self._rule.mark(Rows(values, ~np.isfinite(values) | tag.missing(values))))
        return Band(self._classifier.resize(band.values), band.empty)


def _lines(
    names: Sequence[str], images: Sequence[Band], classifier: Classifier, classes: Sequence[str]
) -> Iterator[tuple[str, str, str]]:
    known = [image.values for image in images if image.empty.mean() <= EMPTY_SHARE]
    found = iter(classifier(known)) if known else iter(())
    for name, image in zip(names, images, strict=True):
        if image.empty.mean() > EMPTY_SHARE:
            yield name, "", ""
        else:
            probabilities = next(found)
            label = int(probabilities.argmax())
            yield name, classes[label], f"{probabilities[label]:.4f}"
