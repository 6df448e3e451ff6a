"""All that a page shows of one run: what its folder holds, and what its model says of the test images."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import yaml

from anychan.errors import AnychanError, RunError
from anychan.evaluation.predictions import predict_split
from anychan.evaluation.run import load_run
from anychan.evaluation.text import names_text
from anychan.files import read_json
from anychan.models.pretrained import WEIGHTS_FILE, load
from anychan.recipe import Recipe
from anychan.report.finish import images_fingerprint
from anychan.report.page.chart import Absent, Bar, Chart, bar_scale
from anychan.report.page.confusion import Confusion, confusion
from anychan.report.page.cost import Cost, model_cost
from anychan.report.page.curves import run_curves
from anychan.report.page.evaluated import Evaluated, read_evaluations
from anychan.report.page.mistakes import Mistakes, worst_mistakes
from anychan.report.tables import share_text, subset_text
from anychan.training.run_folder import RunFolder

__all__ = ["Outcome", "RunPage", "read_run"]

_SPLITS = {"train": "training", "val": "validation", "test": "test"}
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """The run's test result.

    Args:
        accuracy: such as `"73.3 %"`.
        interval: such as `"61.0 to 82.9 %"`.
        n: test images.
        bar: of it.
        channels: that were shown, in words.
        sources: source → accuracy with interval and n, where there are several.
    """

    accuracy: str
    interval: str
    n: int
    bar: Bar
    channels: str
    sources: dict[str, str]


@dataclass(frozen=True)
class RunPage:
    """One run.

    Args:
        name: of the folder.
        path: of the folder.
        facts: name → value, for the page's head.
        test: the test result.
        curves: loss and accuracy by epoch.
        evaluations: what `anychan evaluate` wrote.
        confusion: the confusion matrix.
        mistakes: the worst mistakes.
        cost: the profile.
        changed: recipe key → value, those that are not the defaults.
        recipe: the YAML.
        origin: versions, seed and what else a result depends on.
    """

    name: str
    path: str
    facts: dict[str, str]
    test: Outcome | Absent
    curves: tuple[Chart, ...] | Absent
    evaluations: tuple[Evaluated, ...]
    confusion: Confusion | Absent
    mistakes: Mistakes | Absent
    cost: Cost | Absent
    changed: dict[str, str]
    recipe: str
    origin: dict[str, str] | Absent


def read_run(name: str, folder: RunFolder, *, data_path: str | None = None, tell: Tell = lambda text: None) -> RunPage:
    """Read a run's folder, and classify its test images; what is not there is told in its place.

    Args:
        name: what to call the run.
        folder: its folder.
        data_path: where the data lies now, if it moved.
        tell: called with what is done next.

    Raises:
        RunError: when this is no run folder.
    """
    recipe = folder.load_recipe()
    tell(f"{name}: profiling the model")
    result = _result(folder)
    facts, cost = _model(folder, recipe, result)
    tell(f"{name}: classifying the test images")
    found = _classified(folder, recipe, result, data_path)
    return RunPage(
        name=name,
        path=str(folder.path),
        facts=facts,
        test=_tested(result),
        curves=_curves(folder, result),
        evaluations=read_evaluations(folder.path, _evaluate(folder, result)),
        confusion=found if isinstance(found, Absent) else found[0],
        mistakes=found if isinstance(found, Absent) else found[1],
        cost=cost,
        changed=_changed(recipe),
        recipe=yaml.safe_dump(recipe.to_dict(), sort_keys=False, allow_unicode=True),
        origin=_origin(result),
    )


def _evaluate(folder: RunFolder, result: dict[str, Any] | Absent) -> str:
    """The command, which of several sources needs one."""
    sources = [] if isinstance(result, Absent) else list(result.get("test_of_sources", {}))
    of_one = f" --source {shlex.quote(sources[0])}" if sources else ""
    return f"anychan evaluate {shlex.quote(str(folder.path))}{of_one}"


def _result(folder: RunFolder) -> dict[str, Any] | Absent:
    """What run.json holds."""
    if not folder.result.exists():
        return Absent("The run is not finished; the command that began it goes on with it.", _train(folder))
    try:
        found = read_json(folder.result)
        return {**found, "versions": dict(found["versions"]), "images": dict(found["images"])}
    except (OSError, ValueError, TypeError, KeyError):
        return Absent("run.json is damaged, or of another anychan; train the run anew.")


def _train(folder: RunFolder) -> str:
    return f"anychan train --config {shlex.quote(str(folder.recipe))} --out {shlex.quote(str(folder.path))}"


def _tested(result: dict[str, Any] | Absent) -> Outcome | Absent:
    if isinstance(result, Absent):
        return result
    try:
        found, sources = result["test"], result.get("test_of_sources", {})
        ends = found["accuracy"], found["low"], found["high"]
        return Outcome(
            accuracy=f"{100 * ends[0]:.1f} %",
            interval=f"{100 * ends[1]:.1f} to {100 * ends[2]:.1f} %",
            n=found["n"],
            bar=bar_scale(0, 1)(*ends, share_text(*ends)),
            channels=subset_text(found["channels"], ()),
            sources={name: f"{_share(row)}, n = {row['n']}" for name, row in sources.items()},
        )
    except (KeyError, TypeError):
        return Absent("The run was never tested, or by an older anychan; train it anew.")


def _share(row: dict[str, Any]) -> str:
    return share_text(row["accuracy"], row["low"], row["high"])


def _curves(folder: RunFolder, result: dict[str, Any] | Absent) -> tuple[Chart, ...] | Absent:
    try:
        rows = folder.load_metrics()
        best = None if isinstance(result, Absent) else int(result["best_epoch"])
        return run_curves(rows, best) if rows else Absent("There is no epoch in metrics.csv yet.", _train(folder))
    except (RunError, OSError, ValueError, TypeError, KeyError):
        return Absent("metrics.csv is damaged, so there are no curves; train the run anew.")


def _model(folder: RunFolder, recipe: Recipe, result: dict[str, Any] | Absent) -> tuple[dict[str, str], Cost | Absent]:
    """The facts for the page's head, and what the model costs."""
    facts = {"model": recipe.model.name}
    if not (folder.path / WEIGHTS_FILE).exists():
        return facts, Absent("There is no trained model yet.", _train(folder))
    try:
        model = load(folder.path)
        shown = model.channels.select(recipe.train.channels or model.channels)
        cost = model_cost(model, shown, recipe.data.size)
    except AnychanError as error:
        return facts, Absent(f"The model cannot be used: {error}.")
    names = names_text(model.channels.labels)
    facts |= {"stem": model.contract.stem, "channels": f"{len(model.channels)}: {names}"}
    facts["classes"] = f"{len(model.contract.classes)}: {names_text(model.contract.classes)}"
    if not isinstance(result, Absent):
        counts = result["images"]
        facts["images"] = ", ".join(f"{counts[split]:,} {word}" for split, word in _SPLITS.items() if split in counts)
    return facts, cost


def _classified(
    folder: RunFolder, recipe: Recipe, result: dict[str, Any] | Absent, data_path: str | None
) -> tuple[Confusion, Mistakes] | Absent:
    """The confusion matrix and the worst mistakes, from the test images themselves."""
    if not (folder.path / WEIGHTS_FILE).exists():
        return Absent("There is no trained model yet.", _train(folder))
    try:
        model, data = load_run(folder.path, data_path=data_path)
        test = {} if isinstance(result, Absent) else result.get("test") or {}
        if test.get("images", "") not in ("", images_fingerprint(data.parts("test"))):
            return Absent("The data has other test images than those that the run was tested on.")
        found = predict_split(model, data, channels=recipe.train.channels)
    except AnychanError as error:
        where = f"anychan report {shlex.quote(str(folder.path))} --data.path PATH"
        return Absent(f"The test images cannot be classified: {error}. Where the data has moved:", where)
    true = torch.cat([part.split.labels for part in found]).numpy()
    predicted = torch.cat([part.label for part in found]).numpy()
    return confusion(true, predicted, data.classes), worst_mistakes(found, data.classes)


def _changed(recipe: Recipe) -> dict[str, str]:
    """Keys of a recipe that are not the defaults, such as `train.epochs`, with their values."""
    changes = recipe.changes()
    flat: dict[str, Any] = {}
    for name, value in changes.items():
        flat |= {f"{name}.{key}": each for key, each in value.items()} if isinstance(value, dict) else {name: value}
    return {key: _yaml_text(value) for key, value in flat.items()}


def _yaml_text(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("...\n").strip()


def _origin(result: dict[str, Any] | Absent) -> dict[str, str] | Absent:
    if isinstance(result, Absent):
        return result
    try:
        minutes = result["train_seconds"] / 60
        return {
            "seed": str(result["seed"]),
            **{name: str(version) for name, version in result["versions"].items()},
            "device": str(result["device"]),
            "threads": str(result["threads"]),
            "precision": str(result["precision"]),
            "kept epoch": f"{result['best_epoch'] + 1} of {result['epochs']}",
            "training": f"{minutes:.1f} min",
        }
    except (KeyError, TypeError):
        return Absent("run.json is damaged, or of another anychan; train the run anew.")
