"""What the web page shows of one image: prediction, what each channel changes, and pictures of what mattered."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from anychan.channels import ChannelSet
from anychan.data.readers import PHOTOGRAPH_FORMATS, PHOTOGRAPH_SUFFIXES, image_suffixes, own_reader
from anychan.data.tiff import is_tiff, tiff_facts
from anychan.deploy.classification import Classification, Explanation
from anychan.deploy.predictor import Predictor
from anychan.errors import DataError
from anychan.report.pictures import grey_planes, picture_channels

__all__ = ["MOST_VALUES", "ChannelRow", "View", "check_upload", "view"]

MOST_VALUES = 2**24  # of an upload: pixels times channels
_MOST_ASPECT = 32  # longer side over the shorter: cropping first enlarges the shorter one to the model's size
_MOST_ROWS = 16
_SIDE = 192  # pixels of a picture, at least
_FOR, _AGAINST = (64, 132, 255), (255, 140, 0)  # blue and orange, which colour-blind readers tell apart
Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ChannelRow:
    """One channel that is on.

    Args:
        channel: its name.
        share: its part of what speaks for or against the class, 0 to 1.
        without: the class's probability if the channel were off too; NaN for the only one.
    """

    channel: str
    share: float
    without: float


@dataclass(frozen=True)
class View:
    """What is shown.

    Args:
        found: with the channels that are on.
        every: with all channels of the image.
        rows: channels that are on, those that matter most first; of many, the first 16.
        pictures: with titles: the image, then each of the rows' channels, blue where it speaks for the class, orange
            where against it.
    """

    found: Classification
    every: Classification
    rows: tuple[ChannelRow, ...]
    pictures: tuple[tuple[Picture, str], ...]


def check_upload(path: Path) -> None:
    """See that a file is an image of a size that the page takes, without decoding it.

    Raises:
        DataError: for another kind of file, one that is damaged, or one that is too large.
    """
    if not path.name.lower().endswith(image_suffixes()):
        raise DataError(f"{path.name}: it is no image ({', '.join(image_suffixes())})")
    try:
        height, width, channels = _shape(path.read_bytes(), path.name)
    except DataError:
        raise
    except UnidentifiedImageError:  # its own text tells an address in memory
        raise DataError(f"{path.name}: the file is no image that Pillow knows") from None
    except Exception as error:  # decoders raise many kinds on damaged files
        raise DataError(f"{path.name}: it cannot be read ({error})") from None
    if 0 in (height, width, channels) or max(height, width) > _MOST_ASPECT * min(height, width):
        raise DataError(f"{path.name}: it is {width}x{height} pixels, which is no image or too narrow for this page")
    if (values := height * width * channels) > MOST_VALUES:
        raise DataError(
            f"{path.name}: it has {values:,} values (pixels times channels), and this page takes {MOST_VALUES:,}; "
            "cut it, or classify it by `anychan predict`"
        )


def _shape(data: bytes, name: str) -> tuple[int, int, int]:
    """Height, width and channels, by the file's head alone."""
    if (own := own_reader(name)) is not None:
        height, width, channels = own[0](data, name).shape
        return height, width, channels
    if is_tiff(name):
        return tiff_facts(data, name).shape
    if name.lower().endswith(PHOTOGRAPH_SUFFIXES):
        with Image.open(io.BytesIO(data), formats=PHOTOGRAPH_FORMATS) as picture:
            return picture.height, picture.width, len(picture.getbands())
    height, width, *channels = np.load(io.BytesIO(data), allow_pickle=False).shape  # .npy is not compressed
    return height, width, math.prod(channels)


def view(predictor: Predictor, path: Path, *, named: str | None, on: Sequence[str] | None) -> View:
    """Classify an image with some of its channels, and say what mattered.

    Args:
        predictor: the model.
        path: the image file.
        named: its channels in order, or a sensor's name, where the file does not say them.
        on: names of the channels that are on; default: all.

    Raises:
        AnychanError: as for a `Predictor`.
    """
    every = predictor(path, channels=named)
    off = [] if on is None else [name for name in every.channels if name not in on]
    found = predictor(path, channels=named, without=off) if off else every
    if found.label is None:  # more than half holds no data
        return View(found, every, (), ())
    explained = predictor.explain(path, channels=named, without=off)
    shares = explained.shares
    order = sorted(shares, key=lambda name: -shares[name])[:_MOST_ROWS]

    def without(name: str) -> float:
        if len(shares) == 1:
            return math.nan
        return _probability(predictor(path, channels=named, without=[*off, name]), explained.label)

    rows = tuple(ChannelRow(name, shares[name], without(name)) for name in order)
    held = predictor.channels.select(found.channels)
    return View(found, every, rows, tuple(_pictures(explained, held, order)))


def _probability(found: Classification, label: str) -> float:
    return math.nan if found.probabilities is None else float(found.probabilities[found.classes.index(label)])


def _pictures(explained: Explanation, held: ChannelSet, order: Sequence[str]) -> list[tuple[Picture, str]]:
    grey = grey_planes(explained.image, held, np.zeros(explained.image.shape, bool))
    shown = list(picture_channels(held))
    composite = grey[..., shown] if len(shown) == 3 else grey[..., shown[:1]].repeat(3, -1)
    largest = np.percentile(np.abs(explained.values), 99.5) or 1
    names = explained.found.channels
    pictures = [(_enlarged(composite), " ".join(names[i] for i in shown))]
    for name in order:
        at = names.index(name)
        strength = np.clip(np.abs(explained.values[..., at, None]) / largest, 0, 1) * 0.85
        colour = np.where(explained.values[..., at, None] > 0, _FOR, _AGAINST)
        mixed = grey[..., at, None] * (1 - strength) + colour * strength
        pictures.append((_enlarged(mixed.astype(np.uint8)), f"{name}: {explained.shares[name]:.0%}"))
    return pictures


def _enlarged(picture: Picture) -> Picture:
    """By whole pixels, so that none is smeared."""
    times = math.ceil(_SIDE / max(picture.shape[:2]))
    return picture.repeat(times, 0).repeat(times, 1)
