"""The worst mistakes: test images that were classified wrong with the most confidence, as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from anychan.evaluation.predictions import Predicted
from anychan.report.pictures import Pictures, draw_image, is_photograph

__all__ = ["Mistake", "Mistakes", "worst_mistakes"]

_SHOWN = 6


@dataclass(frozen=True)
class Mistake:
    """One image.

    Args:
        name: its file.
        true: its class.
        predicted: the class that it was given.
        confidence: of that, in words.
        pictures: of what the model was shown.
        more: how many of its channels have no picture.
    """

    name: str
    true: str
    predicted: str
    confidence: str
    pictures: Pictures
    more: int


@dataclass(frozen=True)
class Mistakes:
    """The worst of them.

    Args:
        shown: the most confident first.
        wrong: how many images were classified wrong.
        n: of how many.
        stretched: whether the pictures' contrast was stretched.
    """

    shown: tuple[Mistake, ...]
    wrong: int
    n: int
    stretched: bool


def worst_mistakes(found: Sequence[Predicted], classes: Sequence[str]) -> Mistakes:
    """Pictures of at most six images.

    Args:
        found: from `predict_split`, all sources.
        classes: names by label.
    """
    wrong = [
        (float(confidence), part, number)
        for part in found
        for number, confidence in enumerate(part.confidence)
        if part.label[number] != part.split.labels[number]
    ]
    wrong.sort(key=lambda one: -one[0] if one[0] == one[0] else 0.0)  # what is no number comes last
    drawn = wrong[:_SHOWN]
    stretched = any(not is_photograph(part.channels, part.split.images.dtype) for _, part, _ in drawn)
    n = sum(len(part.split) for part in found)
    return Mistakes(tuple(_mistake(*one, classes) for one in drawn), len(wrong), n, stretched)


def _mistake(confidence: float, part: Predicted, number: int, classes: Sequence[str]) -> Mistake:
    label, image = int(part.label[number]), part.split.images[number][..., list(part.columns)]
    pictures = draw_image(image, part.channels, part.encodings)
    return Mistake(
        name=part.split.names[number],
        true=classes[int(part.split.labels[number])],
        predicted=classes[label] if label < len(classes) else "none of the classes",
        confidence=f"{100 * confidence:.1f} %",
        pictures=pictures,
        more=len(part.channels) - len(pictures.tiles),
    )
