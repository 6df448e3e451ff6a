"""GeoTIFFs as GDAL writes them."""

from pathlib import Path
from typing import Any

import rasterio

from tests.runs import Array


def geotiff(path: Path, bands: Array, *, names: tuple[str | None, ...] = (), **options: Any) -> bytes:
    """Bands (C, H, W) as GDAL writes them."""
    count, height, width = bands.shape
    options = {"crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 5e6), **options}
    with rasterio.open(
        path, "w", driver="GTiff", count=count, height=height, width=width, dtype=bands.dtype, **options
    ) as file:
        file.write(bands)
        for number, name in enumerate(names, 1):
            if name is not None:
                file.set_band_description(number, name)
    return path.read_bytes()
