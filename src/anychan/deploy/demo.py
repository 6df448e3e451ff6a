"""`anychan demo`: one model for any bands, beside a plain network, on the satellite tiles inside the package."""

from __future__ import annotations

import dataclasses
import shutil
from importlib.resources import as_file, files
from pathlib import Path

from anychan.channels import ChannelSet
from anychan.evaluation.run import evaluate_run, load_run
from anychan.evaluation.subsets import SubsetReport
from anychan.files import replacing, write_json
from anychan.models.catalog import with_changes
from anychan.presets import SENTINEL2
from anychan.recipe import Recipe
from anychan.report.finish import finish_run
from anychan.report.plots import plot_subsets
from anychan.report.tables import print_table, subset_table
from anychan.training.fit import fit
from anychan.training.run_folder import RunFolder

__all__ = ["DEMO_SUBSETS", "run_demo"]

DEMO_SUBSETS = {
    "all 13 bands": SENTINEL2.names,
    "red, green, blue": ("B04", "B03", "B02"),
    "RGB + near infrared": ("B04", "B03", "B02", "B08"),
    "red edge": ("B05", "B06", "B07", "B8A"),
    "short-wave infrared": ("B11", "B12"),
    "near infrared alone": ("B08",),
}
_PLAIN_FILLS = {
    "zero": "plain, zero fill",
    "mean": "plain, mean fill",
    "present_mean": "plain, mean of present",
}


def run_demo(out: Path) -> None:
    """Train both networks into `out`, print the table, and write demo.json, demo.png and the tiles, tiles.zip.

    Args:
        out: the folder to make; runs that are already in it are used as they are.

    Raises:
        RunError: when the folder cannot be written to.
    """
    package = files("anychan.demo_data")
    with as_file(package / "eurosat-s2-32.zip") as tiles, as_file(package / "demo.yaml") as recipe_file:
        any_recipe = Recipe.load(recipe_file)
        any_recipe.data.path = str(tiles)
        plain_recipe = dataclasses.replace(
            any_recipe,
            model=dataclasses.replace(any_recipe.model, stem="mean"),
            train=dataclasses.replace(any_recipe.train, channel_sampling="none"),
        )
        for name, recipe in (("any-channel", any_recipe), ("plain", plain_recipe)):
            _train(recipe, out / name)
        reports = _evaluate(out)
        with replacing(out / "tiles.zip") as partial:
            shutil.copyfile(tiles, partial)
    names = list(DEMO_SUBSETS)
    print_table(subset_table(reports, names=names))
    write_json(out / "demo.json", {title: report.to_dict() for title, report in reports.items()})
    title = "Sentinel-2 tiles (EuroSAT), 10 classes: one model for any bands"
    plot_subsets(reports, SENTINEL2, out / "demo.png", title=title, chance=0.1, names=names)
    print("60 test tiles: the intervals are wide, and nearby rows may well be equal in truth.")
    print(f"picture: {out / 'demo.png'}; runs: {out / 'any-channel'}, {out / 'plain'}; tiles: {out / 'tiles.zip'}")


def _train(recipe: Recipe, folder: Path) -> None:
    run = RunFolder(folder)
    if run.result.exists():
        print(f"{folder}: already trained")
        return
    fit(recipe, folder, log_every=20, finish=finish_run)


def _evaluate(out: Path) -> dict[str, SubsetReport]:
    model, data = load_run(out / "any-channel")
    subsets: list[ChannelSet] = [data.channels.select(names) for names in DEMO_SUBSETS.values()]
    reports = {"one anychan model": evaluate_run(model, data, subsets=subsets)}
    plain, data = load_run(out / "plain")
    for fill, title in _PLAIN_FILLS.items():
        reports[title] = evaluate_run(with_changes(plain, stem=fill), data, subsets=subsets)
    return reports
