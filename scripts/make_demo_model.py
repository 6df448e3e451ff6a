"""Make the model inside the package: train recipes/demo_model.yaml on the demo data, on one thread.

Usage::

    python scripts/make_demo_model.py [--out FOLDER] [--epochs N]

Writes model.safetensors, contract.json, and README.md with the accuracy on the test tiles. The best epoch is chosen
on the validation tiles, and the test tiles are only looked at at the end. The same versions on the same kind of
processor give the same weights, bit for bit.
"""

import argparse
import json
import platform
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

import torch

from anychan.deploy.demo import DEMO_SUBSETS
from anychan.errors import AnychanError, RunError
from anychan.evaluation.run import evaluate_run, load_run
from anychan.evaluation.subsets import SubsetReport
from anychan.files import replacing
from anychan.models.base import AnyChannelModel
from anychan.models.pretrained import CONTRACT_FILE, WEIGHTS_FILE
from anychan.recipe import Recipe
from anychan.report.finish import finish_run
from anychan.report.tables import accuracy_text, markdown_table
from anychan.training.fit import fit
from anychan.training.run_folder import RunFolder

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "recipes/demo_model.yaml"
TILES = ROOT / "src/anychan/demo_data/eurosat-s2-32.zip"
DEFAULT_OUT = ROOT / "src/anychan/demo_model"
# The model travels inside the wheel, so its size is part of the contract.
MAX_BYTES = 1_000_000
WIDTH = 120  # of the README's lines

README = """# Demo model: `anychan predict demo tile.tif`, `anychan.Predictor("demo")`

{what}

To try things with, not to rely on: it was trained on {train} tiles. Accuracy on the {n} test tiles of
[the demo data](../demo_data/README.md), with Wilson's 95 % interval:

{table}

The epoch, {best} of {epochs}, and the recipe were chosen on {val} validation tiles, never on the test tiles.

## How it was made

    make demo-model

It trains [recipes/demo_model.yaml](../../../recipes/demo_model.yaml) on the package's own tiles, each step with a
random subset of the bands, on one thread, and writes this folder, this file too.
Made with {versions}.

## Licence

Apache-2.0, as the package. The tiles are from EuroSAT (MIT licence, see [the demo data](../demo_data/README.md)), which
contains modified Copernicus Sentinel data.
"""


def readme(run: RunFolder, model: AnyChannelModel, report: SubsetReport) -> str:
    """The text beside the weights: what the model is, how good, and how it was made."""
    facts = json.loads(run.result.read_text(encoding="utf-8"))
    titles = zip(DEMO_SUBSETS, report.rows, strict=True)
    versions = [f"{name} {facts['versions'][name]}" for name in ("anychan", "torch", "numpy")]
    layers, parameters = len(model.contract.options["widths"]), sum(p.numel() for p in model.parameters())
    what = (
        f"{model.name}, {layers} layers and {parameters:,} parameters, for any of Sentinel-2's 13 bands: raw numbers "
        "of Level-1C (uint16; reflectance is a number divided by 10,000), in tiles of 32×32 pixels of 10 m. "
        f"Classes: {', '.join(model.contract.classes)}."
    )
    return README.format(
        what=fill(what, WIDTH),
        table=markdown_table(
            ["bands", "which", "test accuracy"],
            [[title, "+".join(row.channels), accuracy_text(row)] for title, row in titles],
        ),
        epochs=facts["epochs"],
        best=facts["best_epoch"] + 1,
        versions=", ".join([*versions, platform.machine()]),
        n=report.rows[0].n,
        **{split: facts["images"][split] for split in ("train", "val")},
    )


def make(out: Path, scratch: Path, *, epochs: int | None = None) -> int:
    """Train in one folder, and write the model and its README into another.

    Args:
        out: where the model goes, whole or not at all.
        scratch: an empty folder.
        epochs: fewer than the recipe's, to rehearse.

    Returns:
        Bytes of the weights.

    Raises:
        AnychanError: one of its kinds, when a folder cannot be used, or the weights are too large to ship.
    """
    out.mkdir(parents=True, exist_ok=True)  # before any training
    recipe = Recipe.load(RECIPE)
    recipe.data.path = str(TILES)
    if epochs is not None:
        recipe.train.epochs, recipe.train.warmup_epochs = epochs, 0
    fit(recipe, scratch, log_every=20, finish=finish_run)
    model, data = load_run(scratch)
    report = evaluate_run(model, data, subsets=[data.channels.select(names) for names in DEMO_SUBSETS.values()])
    size = (scratch / WEIGHTS_FILE).stat().st_size
    if size > MAX_BYTES:
        raise RunError(f"{WEIGHTS_FILE} has {size:,} bytes, but at most {MAX_BYTES:,} are shipped")
    for name in (WEIGHTS_FILE, CONTRACT_FILE):
        with replacing(out / name) as partial:
            shutil.copyfile(scratch / name, partial)
    with replacing(out / "README.md") as partial:
        partial.write_text(readme(RunFolder(scratch), model, report), encoding="utf-8")
    return size


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code (2 after an error)."""
    parser = argparse.ArgumentParser(description="Train the model inside the package.")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="folder to write (default: the packaged one)")
    parser.add_argument("--epochs", type=int, default=None, help="fewer than the recipe's, to rehearse")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            size = make(options.out, Path(scratch), epochs=options.epochs)
    except (AnychanError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{options.out}: {size:,} bytes of weights")
    return 0


if __name__ == "__main__":
    sys.exit(main())
