"""Sentinel-2: look at the bands, train for any of them, see what fewer bands cost, and map a scene.

python examples/satellite.py                                      200 EuroSAT tiles that travel with the package
python examples/satellite.py --data path/to/eurosat-ms-mini.zip   other EuroSAT tiles: 13 bands, one folder a class
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin
from steps import FEW_EPOCHS, anychan, parse_options

import anychan as package
from anychan.evaluation.run import load_run

HERE = Path(__file__).parent
INSIDE = Path(package.__file__).parent / "demo_data" / "eurosat-s2-32.zip"
BANDS = [*(f"sentinel2:B{number:02}" for number in range(1, 13)), "sentinel2:B8A"]  # EuroSAT's order: B8A is last
TEN_METRES = ["B02", "B03", "B04", "B08"]


def run_example() -> None:
    """The commands one after the other; see docs/satellite.md."""
    asked = parse_options(__doc__, data="a zip of EuroSAT tiles; default: those inside the package")
    out, tiles, run = asked.out, asked.out / "tiles.zip", asked.out / "run"
    shutil.copy(asked.data or INSIDE, tiles)  # channels.yaml is to lie beside it

    # 1. What do the files hold? EuroSAT's TIFFs do not name their bands, so we do. Writes tiles.channels.yaml.
    anychan("data", "describe", tiles, "--channels", ",".join(BANDS), "--picture", out / "channels.png", "--force")

    # 2. One model for any subset of the bands.
    epochs = FEW_EPOCHS if asked.quick else []
    anychan("train", "--config", HERE / "satellite.yaml", "--data.path", tiles, "--out", run, *epochs)

    # 3. What do fewer bands cost, what is each band worth, and which is the smallest sensor that does?
    anychan("evaluate", run, "--shapley", 50, *(["--shapley", 2, "--sample", 2] if asked.quick else []))

    # 4. A scene's map: from all bands, and from the four that have pixels of 10 metres.
    for name, bands in (("scene", None), ("scene-10m", TEN_METRES)):
        write_scene(run, out / f"{name}.tif", bands)
        windows = ["--window", 32, "--stride", 16]
        anychan("predict", run, out / f"{name}.tif", "--out", out / f"{name}-map.tif", *windows)


def write_scene(run: Path, path: Path, bands: list[str] | None) -> None:
    """A GeoTIFF like a real scene's, of the run's test tiles side by side: a row of tiles for each class."""
    _, data = load_run(run)
    test = data.splits["test"]
    chosen = data.channels.select(bands or data.channels)
    labels = np.array(test.labels)
    count = int(np.bincount(labels).min())
    rows = [np.concatenate(test.images[labels == label][:count], axis=1) for label in range(len(data.classes))]
    pixels = np.concatenate(rows, axis=0)[:, :, list(data.channels.indices(chosen))]  # (H, W, C)
    height, width, channels = pixels.shape
    profile = {"driver": "GTiff", "height": height, "width": width, "count": channels, "dtype": pixels.dtype}
    place = {"crs": "EPSG:32632", "transform": from_origin(600_000, 5_400_000, 10, 10)}  # 10 metres a pixel, anywhere
    with rasterio.open(path, "w", **profile, **place) as scene:
        scene.write(np.moveaxis(pixels, -1, 0))
        scene.descriptions = chosen.names


if __name__ == "__main__":
    run_example()
