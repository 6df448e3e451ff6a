"""Image files, folders, zips and `.npz` files → a table with a line for each image, CSV or JSON Lines."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.progress import Progress

from anychan.data.drift import print_warnings
from anychan.deploy.classification import Classification, SampleClassifier
from anychan.deploy.classifier import Prediction
from anychan.deploy.prediction_table import open_table
from anychan.deploy.sample_readers import SampleReader, open_files, open_samples, without_channels
from anychan.errors import ConfigError, DataError, RunError
from anychan.files import replacing
from anychan.models.base import AnyChannelModel

__all__ = ["Classify", "Part", "classify_here", "open_parts", "predict_samples"]


@dataclass(frozen=True)
class Part:
    """Images that lie in one place and hold the same channels.

    Args:
        images: what classifies them.
        prefix: what their names lack, where several inputs are given.
    """

    images: SampleClassifier
    prefix: Path | None

    def __iter__(self) -> Iterator[tuple[str, Classification]]:
        """Each image's name for the user, and what the model says of it."""
        return map(self.named, self.images)

    def named(self, found: Classification) -> tuple[str, Classification]:
        """What the model says of an image, with the image's name for the user."""
        return found.sample if self.prefix is None else str(self.prefix / found.sample), found


# Opens what computes; then of each image its name and what the model says of it, in order.
Classify = Callable[[Sequence[Part]], AbstractContextManager[Iterator[tuple[str, Classification]]]]


def open_parts(
    model: AnyChannelModel, inputs: Sequence[Path], asked: Prediction, *, without: Iterable[str] = ()
) -> list[Part]:
    """Find the images of all inputs, in their order, and see that the model can take their channels.

    Args:
        model: in eval mode.
        inputs: image files, folders, zips and `.npz` files, stored as for training; folders inside them, and labels,
            mean nothing.
        asked: the options.
        without: channels to leave out, as if the images did not have them.

    Raises:
        ConfigError: for a batch size that cannot be, or channels that are named twice over.
        DataError: for an input without any image.
        ChannelError: when nobody says which channels there are, or the model does not know them.
    """
    known, spec, grey = model.channels, asked.channels, model.contract.grey
    off, parts = tuple(without), []

    def add(reader: SampleReader, path: Path, prefix: Path | None) -> None:
        parts.append(Part(SampleClassifier(model, without_channels(reader, off), path, asked), prefix))

    for (single, folder), group in groupby(inputs, key=lambda path: (_is_single(path), path.parent)):
        paths = list(group)
        if single:
            for reader in open_files(paths, known, spec=spec, grey=grey):
                add(reader, folder, folder)
        else:
            for path in paths:
                add(open_samples(path, known, spec=spec, grey=grey), path, path if len(inputs) > 1 else None)
    return parts


def _is_single(path: Path) -> bool:
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder")
    return path.is_file() and path.suffix.lower() not in (".npz", ".zip")


def classify_here(parts: Sequence[Part]) -> AbstractContextManager[Iterator[tuple[str, Classification]]]:
    """Classify in this process."""

    def each() -> Generator[tuple[str, Classification]]:
        for part in parts:
            yield from part

    return closing(each())


def predict_samples(
    model: AnyChannelModel,
    inputs: Sequence[Path],
    out: Path | None,
    asked: Prediction,
    *,
    classify: Classify = classify_here,
) -> None:
    """Write a line for each image: its name, its class and the softmax of that class, and its channels.

    An image more than half of whose pixels hold no data gets a line without a class. Channels that are unlike the
    training's are warned of on standard error.

    Args:
        model: in eval mode.
        inputs: as for `open_parts`.
        out: the table; `None` for standard output, where notes go to standard error.
        asked: the options.
        classify: where the work is done; default: in this process.

    Raises:
        ConfigError: for an option that cannot be.
        DataError: for an image that cannot be read, or an input without any.
        ChannelError: when nobody says which channels there are, or the model does not know them.
        ContractError: for pixels whose raw values mean something else than in training.
        RunError: when the table cannot be written.
    """
    if not 1 <= asked.top_k <= len(model.contract.classes):
        raise ConfigError(f"--top-k is {asked.top_k}, but the model has {len(model.contract.classes)} classes")
    parts = open_parts(model, inputs, asked)
    count = sum(len(part.images) for part in parts)
    with _opened(out) as file, classify(parts) as each, _progress() as shown:
        table, task = open_table(file, out, model.contract, asked), shown.add_task("predicting", total=count)
        for name, found in each:
            table.add(name, found)
            shown.advance(task)
    for part in parts:
        print_warnings(part.images.warnings())
    notes = dict.fromkeys(note for part in parts for note in part.images.notes())
    for note in notes:
        print(note, file=sys.stderr if out is None else None)
    if out is not None:
        print(f"{count} images; table: {out}")


@contextmanager
def _opened(out: Path | None) -> Iterator[TextIO]:
    """The table's file, whole or absent; or standard output."""
    if out is None:
        yield sys.stdout
        return
    try:
        with replacing(out) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            yield file
    except OSError as error:
        raise RunError(f"{out}: the table cannot be written ({error.strerror})") from None


def _progress() -> Progress:
    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not console.is_terminal)
