"""A folder, zip or `.npz` of images → a CSV file with one line each: sample, class, confidence."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

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
    names = samples.names
    bands = match_bands(path, tuple(samples.held), model.contract, allow_unknown=asked.allow_unknown_channels)
    classifier = Classifier(model, bands.channels, batch_size=asked.batch_size, flip=asked.flip)
    rule = PixelRule(str(path), model.contract, bands.channels, samples.said)
    notes = list(channel_notes(bands, model.contract))
    images = _images(path, samples, bands, rule, notes)
    try:
        with replacing(out) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["sample", "class", "confidence"])
            for first in range(0, len(names), asked.batch_size):
                part = list(islice(images, asked.batch_size))
                table.writerows(
                    _lines(names[first : first + asked.batch_size], part, classifier, model.contract.classes)
                )
    except OSError as error:
        raise RunError(f"{out}: the table cannot be written ({error.strerror})") from None
    print_warnings(rule.warnings())
    for note in dict.fromkeys(notes):
        print(note)
    print(f"{len(names)} images; table: {out}")


def _images(
    path: Path, samples: SampleReader, bands: BandChannels, rule: PixelRule, notes: list[str]
) -> Iterator[Band]:
    """The images one by one; what the user should know of them is added to `notes`."""
    console = Console(stderr=True)
    for name in track(samples.names, "predicting", console=console, transient=True, disable=not console.is_terminal):
        image, tag = samples.read(name)
        values = image[:, :, list(bands.bands)]
        notes += rule.check_dtype(f"{path}/{name}", values.dtype)
        yield rule.fill(rule.mark(Rows(values, ~np.isfinite(values) | tag.missing(values))))


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
