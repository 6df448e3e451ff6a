"""One image of any channels as small pictures for a page: a composite, and a grey tile for each channel."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from anychan.channels import ChannelSet
from anychan.encoding import Encoding

__all__ = ["Pictures", "draw_image", "grey_planes", "is_photograph", "picture_channels"]

_RGB = ("red", "green", "blue")
_STRETCH = (2, 98)  # percentiles that become black and white
_COMPOSITE, _TILE = 128, 56  # pixels of the longer side, at most
_MOST_TILES = 16
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Pictures:
    """PNG files as data URIs.

    Args:
        composite: three channels as red, green and blue, or one in grey.
        shown: the composite's channels.
        tiles: channel → its picture in grey; of many channels, evenly spaced ones.
    """

    composite: str
    shown: tuple[str, ...]
    tiles: dict[str, str]


def picture_channels(channels: ChannelSet) -> tuple[int, ...]:
    """Positions of red, green and blue by their common names; or of the first three channels; or of the first."""
    common = [channel.common_name for channel in channels]
    if set(_RGB) <= set(common):
        return tuple(common.index(name) for name in _RGB)
    return (0, 1, 2) if len(channels) >= 3 else (0,)


def is_photograph(channels: ChannelSet, dtype: np.dtype[Any]) -> bool:
    """Whether the numbers are colours already: 8 bits of red, green and blue."""
    return dtype == np.uint8 and {channel.common_name for channel in channels} <= set(_RGB)


def draw_image(image: Array, channels: ChannelSet, encodings: Sequence[Encoding]) -> Pictures:
    """An image's pictures: a photograph as it is, else each channel from its 2nd to its 98th percentile.

    Args:
        image: (H, W, C) raw values.
        channels: the C channels.
        encodings: what means no data in each; such pixels are clear, as are those that are not finite.
    """
    missing = np.stack([code.missing(image[..., i]) for i, code in enumerate(encodings)], -1) | ~np.isfinite(image)
    grey = grey_planes(image, channels, missing)
    shown = list(picture_channels(channels))
    planes = grey[..., shown] if len(shown) == 3 else grey[..., shown[0]]
    composite = _data_uri(planes, np.any(missing[..., shown], -1), _COMPOSITE)
    picked = np.linspace(0, len(channels) - 1, min(len(channels), _MOST_TILES)).round().astype(int).tolist()
    labels = channels.labels
    tiles = {labels[i]: _data_uri(grey[..., i], missing[..., i], _TILE) for i in picked}
    return Pictures(composite, tuple(labels[i] for i in shown), tiles)


def grey_planes(image: Array, channels: ChannelSet, missing: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """(H, W, C) 8-bit grey of each channel: a photograph as it is, else from its 2nd to its 98th percentile."""
    if is_photograph(channels, image.dtype):
        return image
    return np.stack([_stretched(image[..., i], ~missing[..., i]) for i in range(image.shape[-1])], -1)


def _stretched(plane: Array, there: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    found = np.zeros(plane.shape, np.uint8)
    if there.any():
        values = plane[there].astype(np.float64)
        low, high = np.percentile(values, _STRETCH)
        found[there] = np.rint(255 * np.clip((values - low) / max(high - low, 1e-12), 0, 1))
    return found


def _data_uri(pixels: npt.NDArray[np.uint8], missing: npt.NDArray[np.bool_], side: int) -> str:
    """Pixels (H, W) or (H, W, 3) as a PNG, at most `side` high and wide."""
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    if missing.any():
        picture.putalpha(Image.fromarray(np.where(missing, 0, 255).astype(np.uint8)))
    picture.thumbnail((side, side))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
