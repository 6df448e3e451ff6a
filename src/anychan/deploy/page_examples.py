"""Images to try the web page with: the package's own satellite tiles, or a folder's."""

from __future__ import annotations

import warnings
import zipfile
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy.typing as npt
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from anychan.contract import Contract
from anychan.data.readers import image_suffixes
from anychan.deploy.sample_readers import open_samples
from anychan.deploy.scene_channels import scene_channels_file
from anychan.errors import DataError

__all__ = ["demo_tiles", "folder_images"]

_SHOWN, _DTYPE = 6, "uint16"


def folder_images(folder: Path) -> list[Path]:
    """The first images of a folder, by name.

    Raises:
        DataError: for a folder without any, or whose images do not say their channels themselves.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder")
    found = sorted(path for path in folder.iterdir() if path.name.lower().endswith(image_suffixes()))
    if any(scene_channels_file(path) is not None for path in found[:_SHOWN]):
        raise DataError(
            f"{folder}: its channels.yaml cannot travel with an example; give TIFF files that name their bands"
        )
    if not found:
        raise DataError(f"{folder}: there is no image ({', '.join(image_suffixes())}) here")
    return found[:_SHOWN]


def demo_tiles(contract: Contract, folder: Path) -> list[Path]:
    """Test tiles of the package's demo data, as TIFF files that name their bands.

    Args:
        contract: the model's.
        folder: where the files are written.

    Returns:
        One tile of each of the first classes, with the bands that the model was trained on; none where it was trained
        on none of them, or on other numbers.
    """
    never = {*contract.untrained, *contract.interpolated}
    known = set(contract.channels.identities) - never if contract.dtype in (None, _DTYPE) else set()
    with as_file(files("anychan.demo_data") / "eurosat-s2-32.zip") as tiles:
        reader = open_samples(tiles, contract.channels, spec=None, grey="refuse")
        bands = [at for at, band in enumerate(reader.held) if band.identity in known]
        with zipfile.ZipFile(tiles) as archive:
            tested = [line.split()[0] for line in archive.read("test.txt").decode().splitlines()]
        first = {Path(name).parent: name for name in reversed(tested)}
        names = sorted(first.values())[:_SHOWN] if bands else []
        for name in names:
            image, _ = reader.read(name)
            _write(folder / Path(name).name, image[..., bands], [reader.held.names[at] for at in bands])
    return [folder / Path(name).name for name in names]


def _write(path: Path, image: npt.NDArray[Any], bands: list[str]) -> None:
    height, width, count = image.shape
    shape = {"height": height, "width": width, "count": count, "dtype": image.dtype}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # the tiles' places are not known
        with rasterio.open(path, "w", driver="GTiff", compress="deflate", **shape) as file:
            file.write(image.transpose(2, 0, 1))
            file.descriptions = bands
