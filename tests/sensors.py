"""Small data sets of one sensor: real TIFFs of two classes, with channels.yaml beside them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tests.runs import tiff, write_tree

__all__ = ["write_sensor"]


def write_sensor(
    folder: Path, channels: Sequence[str], *, wavelengths: Mapping[str, float] | None = None, offset: int = 0
) -> Path:
    """Eight images of 8×8 pixels and 16 bits a class; a channel is brighter by its number in its name, light ones too.

    Args:
        folder: to make.
        channels: names that end in a number, of sensor "drone".
        wavelengths: channel → nm.
        offset: added to every pixel.
    """
    known = wavelengths or {}
    lines = [
        f"- {{name: {name}, sensor: drone" + (f", wavelength_nm: {known[name]}" if name in known else "") + "}"
        for name in channels
    ]
    files: dict[str, bytes | str] = {"channels.yaml": "channels:\n" + "\n".join(lines) + "\n"}
    level = np.array([100 * int("".join(filter(str.isdigit, name)) or 0) for name in channels])
    for label in ("dark", "light"):
        for number in range(8):
            rng = np.random.default_rng([number, len(label)])
            noise = rng.integers(0, 400, (8, 8, 1)) + rng.integers(0, 60, (8, 8, len(channels)))
            pixels = 1000 + level + noise + 500 * (label == "light") + offset
            files[f"{label}/{number}.tif"] = tiff(pixels.astype(np.uint16), planarconfig="contig")
    return write_tree(folder, files)
