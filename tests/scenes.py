"""What tests of scene prediction use: scenes as real files, and models that tell apart what they hold."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import torch
from rasterio import Affine

from anychan.channels import ChannelSet
from anychan.contract import ResizeRule
from anychan.models.base import AnyChannelModel
from anychan.models.catalog import create_model
from anychan.presets import SENTINEL2

Array = npt.NDArray[Any]
BANDS = SENTINEL2.select(["B02", "B03", "B04", "B08"])


def ground(metres: float, height: float | None = None) -> Affine:
    """The place of scenes with pixels of this size."""
    return Affine(metres, 0, 500_000, 0, -(height or metres), 5_000_000)


PLACE = {"crs": "EPSG:32633", "transform": ground(10)}


def noise(height: int, width: int, bands: int = 4, seed: int = 0) -> Array:
    """(H, W, C) uint16: blocks of 8×8 pixels of one value, so that windows differ."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(1, 4000, (-(-height // 8), -(-width // 8), bands), dtype=np.uint16)
    return blocks.repeat(8, 0).repeat(8, 1)[:height, :width]


def write_scene(path: Path, array: Array, names: tuple[str, ...] = (), **options: Any) -> Path:
    """Write (H, W, C) as a TIFF; options are rasterio's."""
    height, width, bands = array.shape
    sizes = {"height": height, "width": width, "count": bands, "dtype": array.dtype}
    with rasterio.open(path, "w", driver="GTiff", **{**sizes, **PLACE, **options}) as file:
        file.write(np.moveaxis(array, -1, 0))
        for number, name in enumerate(names, 1):
            file.set_band_description(number, name)
    return path


def scene_model(
    channels: ChannelSet = BANDS, *, classes: int = 3, size: int | None = 16, **contract: Any
) -> AnyChannelModel:
    """A network with random weights whose classes differ from window to window."""
    torch.manual_seed(1)
    model = create_model(
        "baseline_cnn",
        channels=channels,
        num_classes=classes,
        offset=(2000.0,) * len(channels),
        scale=(1000.0,) * len(channels),
    )
    rule = None if size is None else ResizeRule(size)
    model.contract = type(model.contract)(**{**vars(model.contract), "resize": rule, **contract})
    *_, last = (module for module in model.head.modules() if isinstance(module, torch.nn.Linear))
    last.weight.data *= 20
    examples = noise(64, 512, len(channels), seed=9).astype(np.float32).reshape(4, 16, 32, 16, -1)
    x = torch.from_numpy(examples).permute(0, 2, 4, 1, 3).flatten(0, 1)  # (128, C, 16, 16)
    with torch.no_grad():
        last.bias.sub_(model.eval()(x).mean(0))  # no class wins everywhere
    return model
