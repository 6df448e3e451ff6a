"""Stained cells: look at the stains, train for any of them, see what fewer cost, and map a field of view.

python examples/microscopy.py                                 synthetic cells in three stains, drawn here
python examples/microscopy.py --data path/to/cell-cycle.npz   real ones, of imaging flow cytometry
python examples/microscopy.py --field path/to/field.zip       also look at a field of view, one TIFF a stain
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import tifffile
from cells import CLASSES, STAINS, draw_cells
from steps import FEW_EPOCHS, anychan, parse_options

from anychan.evaluation.run import load_run

HERE = Path(__file__).parent


def run_example() -> None:
    """The commands one after the other; see docs/microscopy.md."""
    given = {"data": "an .npz with x (N, C, H, W), y, classes and channels; default: synthetic cells"}
    asked = parse_options(__doc__, **given, field="a folder or zip of one TIFF a stain, to look at")
    out, cells, run, field = asked.out, asked.out / "cells.npz", asked.out / "run", asked.out / "field"
    if asked.data:
        shutil.copy(asked.data, cells)  # its channels.yaml is to lie beside it
    else:
        images, labels = draw_cells(30 if asked.quick else 150, seed=0)
        np.savez_compressed(cells, x=images, y=labels, classes=CLASSES, channels=STAINS)

    sensor = ["--sensor", "microscope"]  # whose stains they are: a bare name is nobody's

    # 1. What is in the files? Writes cells.channels.yaml.
    anychan("data", "describe", cells, *sensor, "--picture", out / "channels.png", "--force")

    # 2. One model for any subset of the stains. Of the cell-cycle data, the four classes of more than 100 cells.
    epochs = FEW_EPOCHS if asked.quick else []
    data = ["--data.path", cells, "--data.num_classes", 4]
    anychan("train", "--config", HERE / "microscopy.yaml", *data, "--out", run, *epochs)

    # 3. What does each stain bring, and which is the cheapest set of them that does?
    anychan("evaluate", run)

    # 4. A table of cells: file and number, class, confidence.
    anychan("predict", run, cells, "--out", out / "cells.csv")

    # 5. A field of view, in which each stain is a file of its own: look at it, and map it.
    write_field(run, field)
    anychan("data", "describe", field, *sensor, "--picture", out / "field-channels.png", "--force")
    anychan("predict", run, field, "--out", out / "field-map.tif", "--window", 40, "--stride", 20)
    if asked.field:
        described = ["--out", out / "your-field.yaml", "--picture", out / "your-field.png"]
        anychan("data", "describe", asked.field, *described, "--force")


def write_field(run: Path, folder: Path) -> None:
    """Field of view of the run's test cells, a row for each class; `field_<stain>.tif` for each stain."""
    _, data = load_run(run)
    test, labels = data.splits["test"], data.splits["test"].labels.numpy()
    rows = [np.concatenate(test.images[labels == label][:8], axis=1) for label in range(len(data.classes))]
    pixels = np.concatenate(rows, axis=0)  # (H, W, C)
    folder.mkdir(exist_ok=True)
    for position, channel in enumerate(data.channels):
        tifffile.imwrite(folder / f"field_{channel.name}.tif", pixels[:, :, position])


if __name__ == "__main__":
    run_example()
