"""`anychan predict`: a scene's class map, or a table of many images' classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from anychan.data.tiff import TIFF_SUFFIXES
from anychan.deploy.classifier import Prediction, best_device
from anychan.deploy.predict_samples import predict_samples
from anychan.deploy.predict_scene import predict_scene
from anychan.deploy.prediction_table import TABLE_SUFFIXES
from anychan.deploy.ray_cluster import check_ray
from anychan.deploy.ray_samples import RaySamples
from anychan.deploy.ray_scene import RayScene
from anychan.deploy.scene import SCENE_SUFFIXES
from anychan.errors import ConfigError, DataError, RunError
from anychan.models.base import AnyChannelModel
from anychan.models.pretrained import load
from anychan.training.run_folder import RunFolder

__all__ = ["predict"]


def predict(
    run: Path,
    inputs: Sequence[Path],
    out: Path | None,
    asked: Prediction,
    *,
    engine: str = "local",
    address: str | None = None,
) -> None:
    """Predict by a saved model, write the files and print what is in them.

    Args:
        run: a run's or a saved model's folder.
        inputs: one scene, if `out` is a TIFF; else image files, and folders, zips or `.npz` files of images.
        out: the file to write; a scene's map comes with two more beside it. `None`: a table on standard output.
        asked: the options. A `.mat` file's scene has the key of the run's recipe, if it has one and none is asked for.
        engine: `"local"`, or `"ray"` for the workers of a Ray cluster.
        address: of the cluster's head; see `open_cluster`.

    Raises:
        ConfigError: for an option that cannot be, or an `out` that is neither.
        DataError: for input that cannot be used.
        ChannelError: when nobody says which channels there are, or the model does not know them.
        ContractError: for a model that cannot be read, or whose raw values mean something else.
        RunError: when `out` cannot be written.
    """
    if engine == "ray":
        check_ray()
    elif address is not None:
        raise ConfigError(f"--address is {address}, which is for --engine ray; give both or none")
    suffix = "" if out is None else out.suffix.lower()
    if suffix not in ("", *TIFF_SUFFIXES, *TABLE_SUFFIXES):
        raise ConfigError(
            f"--out is {out}, but it must end in .tif, for a scene's map, or .csv or .jsonl, for a table of images"
        )
    for given in inputs:
        if not given.exists():
            raise DataError(f"{given}: there is no such file or folder")
    if out is not None and not out.parent.is_dir():
        raise RunError(f"{out}: there is no folder {out.parent}; make it first")
    if out is not None and suffix in TIFF_SUFFIXES:
        asked = _check_scene(inputs, out, run, asked)
        scene = {"classify": RayScene(run, asked, address)} if engine == "ray" else {}
        predict_scene(_loaded(run, engine), inputs[0], out, asked, **scene)
        return
    for given in inputs:
        if given.suffix.lower() == ".mat":
            raise ConfigError(f"{given} is a scene, whose map is a GeoTIFF; give an --out that ends in .tif")
    _check_cube(inputs[0], asked)
    samples = {"classify": RaySamples(run, asked, address)} if engine == "ray" else {}
    predict_samples(_loaded(run, engine), inputs, out, asked, **samples)


def _loaded(run: Path, engine: str) -> AnyChannelModel:
    """The model, where it computes."""
    return load(run) if engine == "ray" else load(run).to(best_device())


def _check_scene(inputs: Sequence[Path], out: Path, run: Path, asked: Prediction) -> Prediction:
    """See that there is one scene; the options, with the key of a `.mat` file's where it is known."""
    if len(inputs) > 1:
        raise ConfigError(
            f"--out is {out}, a map of one scene, but there are {len(inputs)} inputs; for a table of images give an "
            "--out that ends in .csv or .jsonl"
        )
    given = inputs[0]
    if given.is_file() and given.suffix.lower() not in SCENE_SUFFIXES:
        raise ConfigError(
            f"{given} is no scene ({', '.join(SCENE_SUFFIXES)}, or a folder of one TIFF a channel); for a table of "
            "images give an --out that ends in .csv or .jsonl"
        )
    _check_cube(given, asked)
    return replace(asked, cube=_trained_cube(run)) if _is_mat(given) and asked.cube is None else asked


def _is_mat(given: Path) -> bool:
    return given.is_file() and given.suffix.lower() == ".mat"


def _check_cube(given: Path, asked: Prediction) -> None:
    if asked.cube is not None and not _is_mat(given):
        raise ConfigError(f"--cube is {asked.cube!r}, but {given} is no .mat file, whose arrays alone have keys")


def _trained_cube(run: Path) -> str | None:
    """The key of the scene that a run was trained on; a saved model's folder has no recipe."""
    folder = RunFolder(run)
    return folder.load_recipe().data.cube if folder.recipe.is_file() else None
