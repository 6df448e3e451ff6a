"""Many bands: cut a scene into patches, train for any bands, and look for the few that do.

python examples/hyperspectral.py                            a synthetic scene of 60 bands, drawn here
python examples/hyperspectral.py --data path/to/samson.mat  a real one of 156 bands, 401 to 889 nm
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import scipy.io
from scene_of_materials import MATERIALS, draw_scene
from steps import FEW_EPOCHS, anychan, parse_options

HERE = Path(__file__).parent


def run_example() -> None:
    """The commands one after the other; see docs/hyperspectral.md."""
    asked = parse_options(__doc__, data="samson.mat; default: a synthetic scene")
    out, scene, run = asked.out, asked.out / "scene.mat", asked.out / "run"
    if asked.data:
        shutil.copy(asked.data, scene)  # its channels.yaml is to lie beside it
        cube, labels, sensor = "Y", "A", ["--sensor", "samson", "--wavelengths", "401,889"]  # A: classes' abundances
    else:
        pixels, classes = draw_scene(seed=0)
        scipy.io.savemat(scene, {"cube": pixels, "labels": classes, "classes": np.array(MATERIALS, dtype=object)})
        cube, labels, sensor = "cube", "labels", ["--sensor", "synthetic", "--wavelengths", "400,900"]

    # 1. What is in the file? A .mat names no bands, so we do. Writes scene.channels.yaml.
    anychan("data", "describe", scene, "--cube", cube, *sensor, "--picture", out / "channels.png", "--force")

    # 2. One model for any subset of the bands. The scene is cut into patches and, for the splits, into disjoint blocks.
    keys = ["--data.cube", cube, "--data.labels", labels]
    epochs = FEW_EPOCHS if asked.quick else []
    anychan("train", "--config", HERE / "hyperspectral.yaml", "--data.path", scene, *keys, "--out", run, *epochs)

    # 3. So many subsets cannot all be tried: search greedily, and estimate what each band is worth.
    less = ["--search-up-to", 2, "--shapley", 2] if asked.quick else []
    anychan("evaluate", run, "--search", "greedy", "--search-up-to", 6, "--shapley", 10, *less)

    # 4. A map of the whole scene. Most of it was trained on, so it is a picture, not a test.
    coarser = ["--stride", 5] if asked.quick else []
    anychan("predict", run, scene, "--out", out / "map.tif", "--window", 7, "--stride", 1, *coarser)


if __name__ == "__main__":
    run_example()
