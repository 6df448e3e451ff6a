"""The web page of `anychan serve`: an image's channels are switched off and on; an HTTP interface beside it.

It needs gradio, which the extra `page` installs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio
from gradio.utils import get_upload_folder

from anychan.data.readers import image_suffixes
from anychan.deploy.classification import Classification
from anychan.deploy.page_view import View, check_upload, view
from anychan.deploy.predictor import Predictor
from anychan.errors import AnychanError, ConfigError, DataError

__all__ = ["build_page"]

_SWEEP_SECONDS, _KEPT_SECONDS = 600, 3600  # how often uploads are looked through, and how old they may be
_ONE_AT_A_TIME = {"concurrency_id": "model", "concurrency_limit": 1}
_MOST_WAITING = 64  # requests
_SHOWN_CLASSES = 5
_ROW_TITLES = ["channel", "part", "confidence without it", "points"]


def build_page(predictor: Predictor, examples: Sequence[Path]) -> gradio.Blocks:
    """The page of a model.

    Args:
        predictor: the model.
        examples: images to offer.
    """
    with gradio.Blocks(title=predictor.model.name, delete_cache=(_SWEEP_SECONDS, _KEPT_SECONDS)) as page:
        gradio.Markdown(_head(predictor))
        with gradio.Row():
            with gradio.Column():
                file = gradio.File(label="image", file_types=list(image_suffixes()), elem_id="image")
                named = gradio.Textbox(
                    label="its channels in order, or a sensor, where the file does not say them",
                    placeholder="B02,B03,B04 or sentinel2",
                    elem_id="named",
                )
                on = gradio.CheckboxGroup(label="channels that the model sees", elem_id="channels")
                if examples:
                    gradio.Examples([[str(path)] for path in examples], [file], label="examples")
            with gradio.Column():
                said = gradio.Label(label="prediction", num_top_classes=_SHOWN_CLASSES, elem_id="prediction")
                change = gradio.Markdown(elem_id="change")
                rows = gradio.Dataframe(
                    headers=_ROW_TITLES,
                    label="each channel's part in the prediction",
                    interactive=False,
                    elem_id="rows",
                )
        gradio.Markdown("What speaks for the class (blue) and against it (orange), pixel by pixel:")
        pictures = gradio.Gallery(show_label=False, columns=7, height="auto", elem_id="pictures")
        shown = [said, change, rows, pictures]
        private = {"api_visibility": "private", "show_progress": "minimal", **_ONE_AT_A_TIME}
        opened = [file.change, named.submit]
        gradio.on(opened, _answers(predictor, new=True), [file, named], [on, *shown], **private)
        switched = {"trigger_mode": "always_last", **private}  # the last of several clicks counts
        on.input(_answers(predictor, new=False), [file, named, on], shown, **switched)
        gradio.api(_endpoint(predictor), api_name="classify", **_ONE_AT_A_TIME)
    return page.queue(max_size=_MOST_WAITING)


@contextmanager
def _uploaded(path: object) -> Iterator[Path]:
    """An upload that was looked at; errors become one sentence, on the page and for clients."""
    try:
        place, folder = Path(str(path)).resolve(), Path(get_upload_folder()).resolve()
        if not isinstance(path, str) or not place.is_relative_to(folder) or not place.is_file():
            raise DataError("no image came; upload one first, and give the place that the upload answers")
        check_upload(place)
        yield place
    except AnychanError as error:
        told = str(error).replace(f"{path}", Path(str(path)).name).replace(f"{Path(str(path)).parent}", "the upload")
        raise gradio.Error(told.replace("--channels", "the channels"), print_exception=False) from None
    except Exception as error:
        raise gradio.Error(f"the image could not be classified ({type(error).__name__})") from error


def _answers(predictor: Predictor, *, new: bool) -> Callable[..., list[Any]]:
    """What the page does when an image comes (all channels on), or when a channel is switched."""

    def answer(path: str | None, named: str, on: Sequence[str] | None = None) -> list[Any]:
        boxes = [gradio.CheckboxGroup(choices=[], value=[])] if new else []
        if path is None:
            return [*boxes, None, "", None, None]
        with _uploaded(path) as place:
            seen = view(predictor, place, named=named.strip() or None, on=None if new else on)
        if new:
            boxes = [gradio.CheckboxGroup(choices=list(seen.every.channels), value=list(seen.every.channels))]
        return [*boxes, dict(seen.found.top(len(seen.found.classes))), _change(seen), _rows(seen), list(seen.pictures)]

    return answer


def _endpoint(predictor: Predictor) -> Callable[..., dict[str, Any]]:
    def classify(
        file: gradio.FileData, channels: str | None = None, without: list[str] | None = None
    ) -> dict[str, Any]:
        """Classify one image.

        Args:
            file: the image, which was uploaded.
            channels: its channels in order with commas between them, or a sensor, where the file does not say them.
            without: names of channels to switch off.

        Returns:
            label, confidence, probabilities by class, channels that the model saw, and those that were absent.
        """
        off = [without] if isinstance(without, str) else list(without or ())
        with _uploaded(file["path"] if file else None) as place:
            if not all(isinstance(word, str) for word in (channels or "", *off)):
                raise ConfigError("channels is a text, and without a list of channels' names")
            return _values(predictor(place, channels=channels or None, without=off))

    return classify


def _values(found: Classification) -> dict[str, Any]:
    return {
        "label": found.label,
        "confidence": found.confidence,
        "probabilities": dict(found.top(len(found.classes))),
        "channels": list(found.channels),
        "absent": list(found.absent),
    }


def _head(predictor: Predictor) -> str:
    labels = predictor.channels.labels
    named = ", ".join(labels) if len(labels) <= 16 else f"{', '.join(labels[:8])} … {labels[-1]}"
    return (
        f"# {predictor.model.name}\n{len(predictor.classes)} classes, from any of {len(labels)} channels: {named}. "
        "Give an image, then switch channels off and on."
    )


def _change(seen: View) -> str:
    """The prediction beside that from all channels of the image."""
    found, every = seen.found, seen.every
    if found.label is None or every.label is None:
        return "More than half of the pixels hold no data."
    absent = f" Absent for the model: {', '.join(found.absent)}." if found.absent else ""
    if found.channels == every.channels:
        return f"From all {len(every.channels)} channels of the image.{absent}"
    before = dict(every.top(len(every.classes)))[found.label]
    points = 100 * ((found.confidence or 0.0) - before)
    told = f"With all channels: **{every.label}** at {every.confidence:.1%}. "
    return f"{told}Now **{found.label}** at {found.confidence:.1%}, {points:+.1f} points for that class.{absent}"


def _rows(seen: View) -> list[list[str]]:
    now = seen.found.confidence or 0.0
    return [
        [row.channel, f"{row.share:.0%}", *(["", ""] if math.isnan(row.without) else _off(row.without, now))]
        for row in seen.rows
    ]


def _off(without: float, now: float) -> list[str]:
    return [f"{without:.1%}", f"{100 * (without - now):+.1f}"]
