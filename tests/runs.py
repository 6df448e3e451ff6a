"""What tests of data, runs and commands use: fixture files, recipes for them, and the command as its users call it."""

import csv
import io
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

from anychan.channels import Channel, ChannelSet
from anychan.recipe import DataConfig, ModelConfig, Recipe, TrainConfig

ROOT = Path(__file__).resolve().parents[1]
FIXTURES = ROOT / "tests" / "fixtures"
RGB_SPLIT, S2_TILES, ODD = FIXTURES / "rgb_split", FIXTURES / "s2_tiles", FIXTURES / "odd"
Array = npt.NDArray[Any]


def small_recipe(path: Path | str = RGB_SPLIT, *, stem: str | None = None, seed: int = 0, **train: Any) -> Recipe:
    """A run of a second: 16×16 pixels, the smallest network, full precision."""
    values = {"epochs": 3, "batch_size": 5, "lr": 0.01, "precision": "float32", **train}
    return Recipe(DataConfig(path=str(path), size=16), ModelConfig("baseline_cnn", stem), TrainConfig(**values), seed)


def copy_of(fixture: Path, folder: Path) -> Path:
    """A copy of fixture files, to damage."""
    return Path(shutil.copytree(fixture, folder / fixture.name))


def anonymous(count: int) -> ChannelSet:
    """So many channels without meaning."""
    return ChannelSet(Channel(f"c{number}", "test") for number in range(count))


def constant_channels(*values: float, height: int = 5, width: int = 7, dtype: Any = np.uint8) -> Array:
    """(H, W, C), each channel its own constant."""
    return np.broadcast_to(np.array(values, dtype), (height, width, len(values))).copy()


def png(array: Array) -> bytes:
    """An image (H, W) or (H, W, C) as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def pam(array: Array) -> bytes:
    """An image (H, W, C) of 8 or 16 bits as a Netpbm PAM file."""
    height, width, depth = array.shape
    most = np.iinfo(array.dtype).max
    header = f"P7\n# a comment\nWIDTH {width}\nHEIGHT {height}\nDEPTH {depth}\nMAXVAL {most}\nENDHDR\n"
    return header.encode() + array.astype(array.dtype.newbyteorder(">")).tobytes()


def tiff(array: Array, **options: Any) -> bytes:
    """An array as a TIFF file; options are tifffile's."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, photometric="minisblack", **options)
    return buffer.getvalue()


def write_tree(folder: Path, files: Mapping[str, bytes | str]) -> Path:
    """Write files by their path inside a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def read_metrics(run: Path) -> list[dict[str, float]]:
    """The rows of a run's metrics.csv."""
    with (run / "metrics.csv").open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def start_anychan(
    *arguments: object, environment: Mapping[str, str] | None = None, stderr: int = subprocess.PIPE
) -> subprocess.Popen[str]:
    """Start the installed command on one thread, as the tests themselves run."""
    command = [str(Path(sys.executable).with_name("anychan")), *map(str, arguments)]
    pipe, whole = subprocess.PIPE, {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
    return subprocess.Popen(command, stdout=pipe, stderr=stderr, text=True, env=whole, cwd=ROOT)


def run_anychan(*arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the installed command."""
    process = start_anychan(*arguments)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def options_of(recipe: Recipe) -> list[str]:
    """A recipe as options of `anychan train`."""
    values = recipe.to_dict()
    found = ["--seed", str(values.pop("seed"))]
    for section, entries in values.items():
        for key, value in entries.items():
            if value is not None and value != {}:
                found += [f"--{section}.{key}", str(value).lower() if isinstance(value, bool) else str(value)]
    return found
