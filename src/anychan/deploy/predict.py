"""`anychan predict`: a scene's class map, or a table of many images' classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from anychan.data.tiff import TIFF_SUFFIXES
from anychan.deploy.classifier import Prediction
from anychan.deploy.predict_samples import predict_samples
from anychan.deploy.predict_scene import predict_scene
from anychan.deploy.scene import SCENE_SUFFIXES
from anychan.errors import ConfigError, DataError, RunError
from anychan.models.pretrained import load
from anychan.training.run_folder import RunFolder

__all__ = ["predict"]


def predict(run: Path, given: Path, out: Path, asked: Prediction) -> None:
    """Predict by a saved model, write the files and print what is in them.

    Args:
        run: a run's or a saved model's folder.
        given: a scene, if `out` is a TIFF; a folder, zip or `.npz` of images, if `out` is a CSV file.
        out: the file to write; a scene's map comes with two more beside it.
        asked: the options. A `.mat` file's scene has the key of the run's recipe, if it has one and none is asked for.

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
            "zip's or .npz's images give an --out that ends in .csv"
        )
    is_mat = given.is_file() and given.suffix.lower() == ".mat"
    if asked.cube is not None and not is_mat:
        raise ConfigError(f"--cube is {asked.cube!r}, but {given} is no .mat file, whose arrays alone have keys")
    if not out.parent.is_dir():
        raise RunError(f"{out}: there is no folder {out.parent}; make it first")
    if is_mat and asked.cube is None:
        asked = replace(asked, cube=_trained_cube(run))
    model = load(run).to("cuda" if torch.cuda.is_available() else "cpu")
    if suffix == ".csv":
        predict_samples(model, given, out, asked)
    else:
        predict_scene(model, given, out, asked)


def _trained_cube(run: Path) -> str | None:
    """The key of the scene that a run was trained on; a saved model's folder has no recipe."""
    folder = RunFolder(run)
    return folder.load_recipe().data.cube if folder.recipe.is_file() else None
