"""A run's folder: what is in it, what state it is in, and how its small files are written whole or not at all.

recipe.yaml         the recipe, from which the run can be repeated
start.json          what the weights of `model.init_from` became, if there were any
metrics.csv         one row an epoch
checkpoints/        last.ckpt and previous.ckpt, to go on from; best.ckpt, the best epoch's
model.safetensors   the best epoch's weights, with contract.json
run.json            versions, seed, times, and the test result; written last: its presence means "finished"
"""

from __future__ import annotations

import csv
import platform
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from anychan.errors import ConfigError, RunError
from anychan.files import read_json, replacing
from anychan.recipe import Recipe
from anychan.recipe_checks import check_values
from anychan.training.checkpoint_io import read_checkpoint

__all__ = ["RunFolder", "versions"]


def versions() -> dict[str, str]:
    """What a result depends on: the versions of anychan, Python, PyTorch, Lightning and NumPy."""
    found = {name: metadata.version(name) for name in ("anychan", "torch", "pytorch-lightning", "numpy")}
    return {"python": platform.python_version(), **found}


class RunFolder:
    """Paths and state of a run.

    Args:
        path: the folder, which need not exist yet.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.recipe = self.path / "recipe.yaml"
        self.start = self.path / "start.json"
        self.metrics = self.path / "metrics.csv"
        self.checkpoints = self.path / "checkpoints"
        self.last = self.checkpoints / "last.ckpt"
        self.previous = self.checkpoints / "previous.ckpt"
        self.best = self.checkpoints / "best.ckpt"
        self.result = self.path / "run.json"

    def open(self, recipe: Recipe) -> bool:
        """Make the folder for a recipe, or find that an unfinished run of the same recipe can go on.

        Returns:
            True when there is a checkpoint to go on from.

        Raises:
            RunError: when the folder holds a finished run, another recipe's, or something else; or cannot be made.
        """
        if self.result.exists():
            raise RunError(f"{self.path}: a finished run is here; give another folder with --out, or delete this one")
        if self.recipe.exists():
            difference = _first_difference(self.load_recipe().to_dict(), recipe.to_dict())
            if difference:
                raise RunError(
                    f"{self.path}: an unfinished run of another recipe is here ({difference}); give another folder "
                    "with --out, or delete this one"
                )
            return self.last.exists() or self.previous.exists()
        if self.path.exists() and (not self.path.is_dir() or any(map(self._is_foreign, self.path.iterdir()))):
            raise RunError(f"{self.path}: this is not empty and no run; give another folder with --out")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            recipe.save(self.recipe)
        except OSError as error:
            raise RunError(f"{self.path}: the run folder cannot be made ({error.strerror})") from None
        return False

    def _is_foreign(self, path: Path) -> bool:
        """All but a recipe that was being written when its process was killed; it is written anew."""
        return path.name != f"{self.recipe.name}.partial"

    def remove_partial(self) -> None:
        """Delete what was half written when a process was killed or the folder copied, and may not be written anew."""
        for path in (self.recipe, self.last, self.best):
            with suppress(OSError):  # none there, or a disk that refuses: told by what is to be written to it
                path.with_name(f"{path.name}.partial").unlink()

    def load_recipe(self) -> Recipe:
        """The run's recipe.

        Raises:
            RunError: when this is no run folder, or the recipe is not one that a run can have.
        """
        if not self.recipe.is_file():
            raise RunError(f"{self.path}: this is no run folder, there is no recipe.yaml; make one by `anychan train`")
        try:
            recipe = Recipe.load(self.recipe)
        except ConfigError as error:
            raise RunError(str(error)) from None
        try:
            check_values(recipe)
        except ConfigError as error:
            raise RunError(f"{self.recipe}: {error}") from None
        return recipe

    def read_best(self, epoch: int) -> dict[str, Any]:
        """The checkpoint of the best epoch.

        Args:
            epoch: the best so far, 0 for the first. A later one is not refused: its row may not have been written yet.

        Raises:
            RunError: when it is absent, damaged or an earlier epoch's.
        """
        with suppress(RunError):
            found = read_checkpoint(self.best)
            if int(found["epoch"]) >= epoch:
                return found
        raise RunError(
            f"{self.best}: the checkpoint of the best epoch is absent, damaged or an earlier epoch's; put "
            f"it back, or delete {self.checkpoints} to start anew"
        )

    def load_start(self) -> dict[str, Any]:
        """What start.json holds; nothing where there is none that can be read."""
        try:
            found = read_json(self.start)
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def load_metrics(self) -> list[dict[str, float]]:
        """The rows of metrics.csv; none before the first epoch's end.

        Raises:
            RunError: when the file is damaged.
        """
        if not self.metrics.exists():
            return []
        try:
            with self.metrics.open(newline="", encoding="utf-8") as file:
                return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
        except (OSError, ValueError, TypeError, csv.Error):
            raise RunError(
                f"{self.metrics}: the file is damaged; the same `anychan train` command writes it anew, of a finished "
                "run once run.json is deleted"
            ) from None

    def save_metrics(self, rows: list[dict[str, float]]) -> None:
        """Write all rows, whole or not at all.

        Raises:
            StorageError: when the disk does not take them, or the folder is no longer there.
        """
        with replacing(self.metrics) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


def _first_difference(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> str:
    for key, value in now.items():
        old = before.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            if deeper := _first_difference(old, value, f"{prefix}{key}."):
                return deeper
        elif old != value:
            return f"{prefix}{key} is {old!r} there and {value!r} now"
    return ""
