"""`anychan predict`: a scene's class map, or a table of many images' classes."""

from __future__ import annotations

from pathlib import Path

import torch

from anychan.data.tiff import TIFF_SUFFIXES
from anychan.deploy.classifier import Prediction
from anychan.deploy.predict_samples import predict_samples
from anychan.deploy.predict_scene import predict_scene
from anychan.deploy.scene import SCENE_SUFFIXES
from anychan.errors import ConfigError, DataError, RunError
from anychan.models.pretrained import load

__all__ = ["predict"]


def predict(run: Path, given: Path, out: Path, asked: Prediction) -> None:
    """Predict by a saved model, write the files and print what is in them.

    Args:
        run: a run's or a saved model's folder.
        given: a scene, if `out` is a TIFF; a folder or zip of images, if `out` is a CSV file.
        out: the file to write; a scene's map comes with two more beside it.
        asked: the options.

    Raises:
        ConfigError: for an option that cannot be, or an `out` that is neither.
        DataError: for input that cannot be used.
        ChannelError: when nobody says which channels there are, or the model does not know them.
        ContractError: for a model that cannot be read, or whose raw values mean something else.
        RunError: when `out` cannot be written.
    """
    suffix = out.suffix.lower()
    if suffix not in (*TIFF_SUFFIXES, ".csv"):
        raise ConfigError(f"--out is {out}, but it must end in .tif, for a scene's map, or .csv, for a table of images")
    if not given.exists():
        raise DataError(f"{given}: there is no such file or folder")
    scene_file = given.is_file() and given.suffix.lower() in SCENE_SUFFIXES
    if suffix == ".csv" and scene_file:
        raise ConfigError(f"{given} is a scene, whose map is a GeoTIFF; give an --out that ends in .tif, not {out}")
    if suffix != ".csv" and given.is_file() and not scene_file:
        raise ConfigError(
            f"{given} is no scene ({', '.join(SCENE_SUFFIXES)}, or a folder of one TIFF a channel); for a table of a "
            "zip's images give an --out that ends in .csv"
        )
    if not out.parent.is_dir():
        raise RunError(f"{out}: there is no folder {out.parent}; make it first")
    model = load(run).to("cuda" if torch.cuda.is_available() else "cpu")
    if suffix == ".csv":
        predict_samples(model, given, out, asked)
    else:
        predict_scene(model, given, out, asked)
