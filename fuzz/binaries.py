"""Readers of files of numbers, `.npz`, `.mat`, checkpoints and models, with valid ones to begin from."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from scratch import BETWEEN, FOLDER, written, zipped

from anychan.data.array_file import class_names, image_arrays, load_arrays
from anychan.data.cube import find_cube, read_mat

__all__ = [
    "checkpoint",
    "checkpoint_seeds",
    "mat",
    "mat_seeds",
    "model",
    "model_seeds",
    "npz",
    "npz_seeds",
    "scene",
    "scene_seeds",
    "weights",
]


def scene(data: bytes) -> Any:
    """All rows of a TIFF, by GDAL."""
    from anychan.deploy.scene import open_scene

    with open_scene(written(data, "scene.tif")) as opened:
        return opened.read(0, min(opened.height, 64), range(min(len(opened.names), 16))).values


def scene_seeds() -> list[bytes]:
    """As GDAL writes them: with names, no data, a mask, and a place."""
    import rasterio

    import anychan.deploy.scene  # noqa: F401

    found, array = [], np.random.default_rng(0).integers(0, 255, (2, 16, 16))
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 500_000, 0, -10, 5_000_000)}
    for dtype, options in (
        ("uint8", {}),
        ("uint16", {"compress": "deflate", "predictor": 2, "interleave": "band", "nodata": 0}),
        ("float32", {"compress": "lzw", "tiled": True, "blockxsize": 16, "blockysize": 16, "nodata": float("nan")}),
        ("int16", {"compress": "zstd", "BIGTIFF": "YES"}),
        ("uint8", {"compress": "jpeg"}),
    ):
        shape = {"height": 16, "width": 16, "count": 2, "dtype": dtype}
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.MemoryFile() as file:
            with file.open(driver="GTiff", **shape, **place, **options) as opened:
                opened.write(array.astype(dtype))
                opened.set_band_description(1, "B02")
                opened.write_mask(array[0] > 9)
            found.append(bytes(file.getbuffer()))
    return found


def npz(data: bytes) -> Any:
    """Arrays, as images and labels."""
    if data[:2] != b"PK":  # arrays, without the zip's checksums around them
        names = ("x.npy", "y.npy", "classes.npy", "channels.npy")
        data = zipped(dict(zip(names, data.split(BETWEEN), strict=False)), zipfile.ZIP_STORED)
    path = written(data, "a.npz")
    values = load_arrays(path)
    images = image_arrays(values, path)
    return images, class_names(
        [values[key] for key in ("y", "labels") if key in values], values.get("classes"), "a.npz"
    )


def npz_seeds() -> list[bytes]:
    """With and without compression, and arrays alone."""
    images, labels = np.zeros((4, 3, 2, 2), np.uint8), np.arange(4) % 2
    stored, packed, parts = io.BytesIO(), io.BytesIO(), []
    np.savez(stored, x=images, y=labels, classes=np.array(["a", "b"]))
    np.savez_compressed(packed, images=images, labels=labels.astype(np.float32))
    for array in (images, labels, np.array(["a", "b"]), np.array(["r", "s", "t"])):
        file = io.BytesIO()
        np.save(file, array)
        parts.append(file.getvalue())
    return [stored.getvalue(), packed.getvalue(), BETWEEN.join(parts)]


def mat(data: bytes) -> Any:
    """A scene."""
    path = written(data, "a.mat")
    return find_cube(read_mat(path), path, None, 3)


def mat_seeds() -> list[bytes]:
    """Of version 4, and of version 5 with and without compression."""
    found = []
    for options in ({"format": "4"}, {}, {"do_compression": True}):
        cube = np.ones((4, 12)) if options == {"format": "4"} else np.ones((4, 5, 3), np.uint8)
        file = io.BytesIO()
        scipy.io.savemat(file, {"V": cube, "nRow": 4.0, "nCol": 3.0, "names": "abc"}, **options)
        found.append(file.getvalue())
    return found


def checkpoint(data: bytes) -> Any:
    """A checkpoint; bytes that begin as JSON are its header alone, with the right checksum."""
    from anychan.training.checkpoint_io import checksum, read_checkpoint

    if data[:1] in (b"{", b"["):
        header = data.decode("latin-1")
        facts = {"anychan_checkpoint": header, "crc32": checksum(header, {})}
        head = json.dumps({"__metadata__": facts}).encode()
        data = len(head).to_bytes(8, "little") + head
    return read_checkpoint(written(data, "last.ckpt"))


def checkpoint_seeds() -> list[bytes]:
    """A whole one, and a header."""
    import torch

    from anychan.training.checkpoint_io import write_checkpoint

    values = {"epoch": 3, "state": {"w": torch.ones(2), 1: (None, [True, "x"])}, "path": Path("a")}
    write_checkpoint(values, FOLDER / "seed.ckpt")
    head = b'{"__dict__": [["epoch", 3], ["a", {"__tuple__": [{"__path__": "b"}, [1.5, null]]}]]}'
    return [(FOLDER / "seed.ckpt").read_bytes(), head]


def _model_folder() -> Path:
    """The smallest network that there is."""
    import torch

    from anychan.models.catalog import create_model
    from anychan.models.pretrained import save

    folder = FOLDER / "model"
    if not folder.is_dir():
        torch.manual_seed(0)  # what is fuzzed is the same at every call
        save(create_model("shallow2_s", num_classes=2, options={"widths": [16, 16], "kernels": [1, 1]}), folder)
    return folder


def model(data: bytes) -> Any:
    """The weights of a model whose contract is right."""
    from anychan.models.pretrained import load

    (_model_folder() / "model.safetensors").write_bytes(data)
    return load(_model_folder())


def model_seeds() -> list[bytes]:
    """The model's own."""
    return [(_model_folder() / "model.safetensors").read_bytes()]


def weights(model: Any) -> bool:
    """Whether a weight is one that no seed has."""
    return any(bool(value.abs().max() > 1e3) for value in model.parameters())
