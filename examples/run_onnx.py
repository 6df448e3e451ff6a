"""Classify one image by a file that `anychan export` wrote: with ONNX Runtime, NumPy and Pillow, and nothing else.

python examples/run_onnx.py model.onnx photo.jpg
python examples/run_onnx.py model.onnx tile.npy --channels B02,B03,B04    # (H, W, C), and what its channels are

All that it must know stands in the file's metadata. Resizing is Pillow's, written out; pixels without data are known to
the network itself, but not to the resizing here.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import onnxruntime
from PIL import Image, ImageOps

Array = npt.NDArray[Any]
PHOTOGRAPHS = ("PNG", "JPEG", "GIF", "WEBP", "BMP")  # of a TIFF, Pillow cuts 16 bits to 8 and leaves bands out
FILTERS: dict[str, tuple[float, Callable[[Array], Array]]] = {  # name → how far it reaches, and its weights
    "bilinear": (1.0, lambda x: np.maximum(1 - abs(x), 0)),
    "bicubic": (
        2.0,
        lambda x: np.where(
            abs(x) < 1,
            1.5 * abs(x) ** 3 - 2.5 * x**2 + 1,
            np.where(abs(x) < 2, -0.5 * abs(x) ** 3 + 2.5 * x**2 - 4 * abs(x) + 2, 0),
        ),
    ),
    "lanczos": (3.0, lambda x: np.where(abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)),
}


def refuse(text: str) -> NoReturn:
    """Tell why there is no answer."""
    print(text, file=sys.stderr)
    sys.exit(2)


@contextmanager
def told(what: str) -> Iterator[None]:
    """Damaged files make libraries raise anything at all: it becomes one sentence."""
    try:
        yield
    except Exception as error:
        text = f"it lacks {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        refuse(f"{what} ({text.strip().splitlines()[0]})")


def read_image(path: Path, grey: str) -> Array:
    """(H, W, C) of an array file, or of a photograph that is turned upright."""
    if path.suffix == ".npy":
        array: Array = np.load(path, mmap_mode="r")  # never a pickle, nor more than the file holds
        return array if array.ndim == 3 else array[:, :, None]
    image = ImageOps.exif_transpose(Image.open(path, formats=PHOTOGRAPHS))
    repeated = ("1", "L", "LA") if grey == "repeat" else ()  # grey as red, green and blue
    if image.mode not in ("CMYK", "P", "RGB", "RGBA", "YCbCr", *repeated):
        refuse(f"{path}: the image is grey or of more than 8 bits (Pillow's mode {image.mode})")
    if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema()[0] != 255:
        refuse(f"{path}: the image is partly transparent")
    return np.asarray(image.convert("RGB"))


def position(name: str, channels: list[dict[str, Any]]) -> int:
    """Which of the channels answers to a name: identity first, then name, alias and common name."""
    asked = name.strip().casefold()
    for kind in (
        lambda c: [f"{c['sensor']}:{c['name']}"],
        lambda c: [c["name"]],
        lambda c: c.get("aliases", []),
        lambda c: [c.get("common_name") or ""],
    ):
        found = [place for place, c in enumerate(channels) if asked in [text.casefold() for text in kind(c)]]
        if len(found) == 1:
            return found[0]
    refuse(f"channel {name!r} is not one of {', '.join(c['name'] for c in channels)}")


def weights(before: int, after: int, method: str) -> Array:
    """(after, before) what each new row of pixels takes from the old ones."""
    scale = before / after
    centres = (np.arange(after) + 0.5) * scale
    if method == "nearest":
        return np.eye(before)[centres.astype(int)]
    _, weigh = FILTERS[method]
    stretch = max(scale, 1.0)  # no pixel is left out where an image shrinks
    found = weigh((np.arange(before) + 0.5 - centres[:, None]) / stretch)
    return found / found.sum(1, keepdims=True)


def scale(image: Array, height: int, width: int, method: str) -> Array:
    """(H, W, C) → (height, width, C), first along rows, then along columns; bytes are rounded after either."""

    def rounded(values: Array) -> Array:
        if image.dtype.kind != "u":
            return values
        return np.clip(np.floor(values + 0.5), 0, np.iinfo(image.dtype).max)

    rows = np.einsum("wx,yxc->ywc", weights(image.shape[1], width, method), image.astype(float))
    rows = rounded(rows) if image.dtype == np.uint8 else rows
    return rounded(np.einsum("hy,ywc->hwc", weights(image.shape[0], height, method), rows))


def resize(image: Array, rule: dict[str, Any] | None) -> Array:
    """By the contract's rule, if it has one: to a square, or its shorter side, of which the centre is kept."""
    if rule is None:
        return image
    size, (height, width) = rule["size"], image.shape[:2]
    if not 1 <= size <= 16_384:
        raise ValueError(f"it is for images of {size:,} pixels")
    if rule["fit"] == "squash":
        return scale(image, size, size, rule["filter"])
    factor = size / min(height, width)
    image = scale(image, max(size, round(height * factor)), max(size, round(width * factor)), rule["filter"])
    top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
    return image[top : top + size, left : left + size]


def inputs(image: Array, names: list[str], about: dict[str, Any]) -> dict[str, Array]:
    """What the network takes: the image's channels in the file's order, and which of them there are."""
    contract = about["contract"]
    known = {f"{c['sensor']}:{c['name']}": c for c in contract["channels"]}
    channels = [known[identity] for identity in about["channels"]]
    if len(names) != image.shape[2]:
        refuse(f"the image has {image.shape[2]} channels, but {len(names)} are named: {', '.join(names)}")
    if contract["dtype"] not in (None, str(image.dtype)) and image.dtype.kind == "u":
        refuse(f"the image is {image.dtype}, but the model was trained on {contract['dtype']}")
    places = [position(name, channels) for name in names]
    for name, place in zip(names, places, strict=True):
        if about["channels"][place] in contract["untrained"]:
            refuse(f"channel {name!r} was never trained; leave it out")
    resized = resize(image, contract["resize"])
    x = np.full((1, len(channels), *resized.shape[:2]), np.nan, np.float32)  # absent channels may be anything
    x[0, places] = np.moveaxis(resized, -1, 0)
    present = np.zeros((1, len(channels)), bool)
    present[0, places] = True
    if about["form"] == "any_subset":
        return {"images": x, "present": present}
    if not present.all():
        absent = ", ".join(c["name"] for c, there in zip(channels, present[0], strict=True) if not there)
        refuse(f"the file takes no image without {absent}; export the model for these channels, or for all")
    return {"images": x}


def main() -> None:
    """Print the most likely classes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("image", type=Path)
    parser.add_argument("--channels", default="rgb:R,rgb:G,rgb:B", help="of the image, in its order")
    parser.add_argument("--top", type=int, default=5, help="classes to print")
    asked = parser.parse_args()
    onnxruntime.set_default_logger_severity(4)  # what it logs of an error is told below
    with told(f"{asked.model}: the file is damaged, or none that `anychan export` wrote"):
        session = onnxruntime.InferenceSession(asked.model, providers=["CPUExecutionProvider"])
        about = json.loads(session.get_modelmeta().custom_metadata_map["anychan"])
        grey, classes = about["contract"]["grey"], about["contract"]["classes"]
    with told(f"{asked.image}: the image cannot be read; give {', '.join(PHOTOGRAPHS)} or .npy"):
        image = read_image(asked.image, grey)
    with told(f"{asked.model} cannot classify {asked.image}"):
        logits = session.run(None, inputs(image, asked.channels.split(","), about))[0][0, : len(classes)]
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    for label in np.argsort(-shares)[: asked.top]:
        print(f"{shares[label]:.4f}  {classes[label]}")


if __name__ == "__main__":
    main()
