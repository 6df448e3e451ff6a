"""The rows of `channels.py`: seven specialists, and one model for every subset by five methods and three budgets.

A budget of 1 is what one specialist gets: `Scale.epochs` passes of the training images, forward and backward. Every
pass counts, so an epoch of the sandwich step, which sees each image with all channels and with one subset, costs two.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from anychan.presets import RGB
from anychan.recipe import Recipe

__all__ = ["METHODS", "SCALES", "SUBSETS", "TRIALS", "TRIED_ON", "TUNED", "Job", "Method", "Scale", "recipe_of"]

RECIPE = Path(__file__).parent.parent / "recipes" / "specialist.yaml"
SUBSETS = ["+".join(subset.names) for subset in sorted(RGB.subsets(), key=len, reverse=True)]


@dataclass(frozen=True)
class Scale:
    """What a scale trains.

    Args:
        model: name in the catalogue.
        classes: how many of the 50.
        size: pixels.
        epochs: of one specialist.
        seeds: how often every row is trained.
    """

    model: str
    classes: int
    size: int
    epochs: int
    seeds: int


SCALES = {
    "cpu": Scale("resnet8", classes=20, size=32, epochs=20, seeds=3),
    "gpu": Scale("resnet18", classes=50, size=64, epochs=20, seeds=1),
}


@dataclass(frozen=True)
class Method:
    """One way to train one model for every subset; each changes one thing of the one before.

    Args:
        title: for tables.
        stem: what stands in for absent channels.
        sandwich: random subsets a step beside the full set; 0: one random subset a step, nothing else.
        distill: share of the full set's own predictions in the subsets' targets.
    """

    title: str
    stem: str
    sandwich: int = 0
    distill: float = 0.0

    @property
    def passes(self) -> int:
        """Forward and backward passes of an image in one epoch."""
        return 1 + self.sandwich


METHODS = {
    "zero": Method("uniform subsets, zero fill", "zero"),
    "completion": Method("uniform subsets, completion", "completion"),
    "sandwich": Method("full set and one subset a step, completion, distilled", "completion", 1, 0.5),
}

# the rival tuned: other recipes for specialists, one seed, on two of the subsets
TRIALS: dict[str, dict[str, float]] = {
    "batches of 64": {"batch_size": 64},
    "batches of 32, lr 0.05": {"batch_size": 32, "lr": 0.05},
    "lr 0.05": {"lr": 0.05},
    "lr 0.2": {"lr": 0.2},
    "crops after padding by 2": {"crop_padding": 2},
    "no crops": {"crop_padding": 0},
    "no label smoothing": {"label_smoothing": 0.0},
}
TRIED_ON = ("R+G+B", "G")
TUNED = "batches of 64"  # of these the best on validation; all specialists are trained by it too, and one model


@dataclass(frozen=True)
class Job:
    """One training run.

    Args:
        kind: `"specialist"`, `"one"`; `"trial"`: a specialist by another recipe; `"tuned"`: one model by that recipe.
        name: a specialist's subset, a method, or a trial's subset and change, as `"G: lr 0.2"`.
        seed: of the run.
        budget: in units of one specialist's.
    """

    kind: str
    name: str
    seed: int
    budget: int = 1

    @property
    def key(self) -> dict[str, str | int]:
        """What finds the job's row again."""
        return {"kind": self.kind, "name": self.name, "seed": self.seed, "budget": self.budget}

    @property
    def label(self) -> str:
        """A file name."""
        return f"{self.kind}-{self.name}-{self.budget}x-{self.seed}".replace(": ", "-").replace(" ", "_")

    @property
    def subset(self) -> str:
        """The only subset that a specialist or a trial sees."""
        return self.name.partition(": ")[0]


def recipe_of(job: Job, scale: Scale) -> Recipe:
    """The recipe of a job: the specialists' own, changed in channels, stem and length alone, or as a trial says.

    Raises:
        ValueError: for a budget that is no whole number of epochs.
    """
    recipe = Recipe.load(RECIPE)
    recipe.model.name, recipe.seed = scale.model, job.seed
    recipe.data.num_classes, recipe.data.size = scale.classes, scale.size
    if job.kind == "tuned":
        recipe.train = dataclasses.replace(recipe.train, **TRIALS[TUNED])  # type: ignore[arg-type]
    if job.kind in ("specialist", "trial"):
        recipe.train.epochs = scale.epochs * job.budget
        recipe.train.channels = job.subset.split("+")
        changes = TRIALS[job.name.partition(": ")[2]] if job.kind == "trial" else {}
        recipe.train = dataclasses.replace(recipe.train, **changes)  # type: ignore[arg-type]
        return recipe
    method = METHODS[job.name]
    recipe.train.epochs, rest = divmod(scale.epochs * job.budget, method.passes)
    if rest:
        raise ValueError(f"{job.label}: {scale.epochs * job.budget} passes are no whole epochs of {method.passes}")
    recipe.model.stem, recipe.train.channel_sampling = method.stem, "uniform"
    if method.sandwich:
        recipe.train.sandwich, recipe.train.distill = method.sandwich, method.distill
    return recipe
