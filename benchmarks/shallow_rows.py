"""The rows of `shallow.py`: recipes, and the trainings of each scale."""

from __future__ import annotations

import dataclasses
from argparse import ArgumentTypeError
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shallow_systems import ABLATIONS, FAMILIES, LADDER, SYSTEMS

from anychan.recipe import DataConfig, ModelConfig, Recipe

__all__ = [
    "RECIPES",
    "SCALES",
    "STRONG",
    "Job",
    "Scale",
    "Setting",
    "epochs_of",
    "first_jobs",
    "later_jobs",
    "recipe_of",
    "start_of",
    "teachers_of",
]

ROOT = Path(__file__).parent.parent


STRONG = "strong/resnet34"
# recipe → the file below recipes/ that says how to train
RECIPES = {
    "report1": "report1/resnet34",
    "report2": "report2/resnet34",
    "strong": STRONG,
    "resized_crops": STRONG,  # in place of padded ones
    "whitened": STRONG,  # with a first layer that begins with whitened patches
    "longer": STRONG,  # going on with the weights of a strong training
    "distilled": STRONG,  # with teachers
    "patient": STRONG,  # with teachers, for several times as long
}
TAUGHT = ("distilled", "patient")
SHARES = (0.625, 0.75, 1.0, 1.0)  # of the images' size, in equal shares of the strong recipe's epochs


@dataclass(frozen=True)
class Setting:
    """Images and length of some trainings.

    Args:
        classes: the first so many.
        size: pixels.
        epochs: recipe, or system and recipe as in `"rival-strong"`, which comes first → epochs at most.
    """

    classes: int
    size: int
    epochs: dict[str, int]


@dataclass(frozen=True)
class Scale:
    """What a scale trains.

    Args:
        settings: by name; `"main"` is what the claims are about.
        changes: recipe → what hardware and number of images change of it.
        grid: system → recipes that it is trained by; a family stands for the width that was chosen.
        widths: widths that are compared.
        teachers: networks whose mean says the soft labels, to ResNet34 too.
        repeated: recipes that the networks compared with the rival are trained by once for each seed.
        seeds: how often that is; of the extra pair too.
        ladder_seeds: of each step of the ladder, and of the ablations.
    """

    settings: dict[str, Setting]
    changes: dict[str, dict[str, Any]]
    grid: dict[str, tuple[str, ...]]
    widths: tuple[str, ...]
    teachers: tuple[str, ...]
    repeated: tuple[str, ...]
    seeds: int = 3
    ladder_seeds: int = 0


_VARIED = ("strong", "resized_crops", "whitened")  # as long as each other
# On CPU, where what is compared still gained at the end of 40 epochs
_COMPARED = ("rival", *(width for widths in FAMILIES.values() for width in widths))
_LONG = {"strong": 100, "distilled": 120}
_LONGER = {f"{system}-{recipe}": epochs for system in _COMPARED for recipe, epochs in _LONG.items()}
_LONGER["rival-longer"] = 34  # more than those of rival-strong: the last quarter of all
# On a GPU. Students of soft labels take longer, as those of Beyer et al. 2022 (arXiv 2106.05237) do
_PATIENT = {"distilled": 90, "rival-distilled": 60, "patient": 240}
_UNTAUGHT = ("strong", "report2", "report1")
_ALL = (*_UNTAUGHT, "distilled")
SCALES = {
    "cpu": Scale(
        settings={
            "main": Setting(10, 32, {"report1": 15, "report2": 15, "strong": 40, "distilled": 40, **_LONGER}),
            "short": Setting(10, 32, {"strong": 40}),
            "pair": Setting(10, 64, {"report2": 15}),
            "classes20": Setting(20, 32, {"strong": 20, "distilled": 20}),  # as many steps
            "ablations": Setting(20, 32, {"strong": 40, "resized_crops": 40, "whitened": 40}),
        },
        changes={recipe: {"batch_size": 64, "lr": 0.05} for recipe in (*_VARIED, "longer", "distilled")},
        grid={
            "rival": ("strong", "longer", "report2", "distilled"),
            "resnet34_7x7": _ALL,
            "resnet34_3x3s2": ("strong", "report2"),
            "shallow4": _ALL,
            "shallow2": _ALL,
            **dict.fromkeys(("wide_cnn4", "simple_2layer_cnn", "simple_4layer_cnn", "se_2layer_cnn"), _UNTAUGHT),
        },
        widths=(*FAMILIES["shallow4"], *FAMILIES["shallow2"]),
        teachers=("rival",),
        repeated=("distilled", "strong"),
        ladder_seeds=2,
    ),
    "gpu": Scale(
        settings={"main": Setting(50, 64, {"report2": 60, "strong": 60, "longer": 20, **_PATIENT})},
        changes={"report2": {"batch_size": 256, "lr": 0.2}},
        grid={
            "rival": ("strong", "longer", "distilled"),
            "resnet34_7x7": ("report2", "strong"),
            "shallow4": ("strong", "report2", *TAUGHT),
            "shallow2": ("strong", *TAUGHT),
            "wide_cnn4": ("strong",),
        },
        widths=("shallow4_l", "shallow2_l"),
        teachers=("rival",),
        repeated=("distilled",),
    ),
}


@dataclass(frozen=True)
class Job:
    """One training.

    Args:
        system: of `SYSTEMS`.
        recipe: of `RECIPES`.
        seed: of the run.
        setting: of the scale's.
    """

    system: str
    recipe: str
    seed: int = 0
    setting: str = "main"

    @classmethod
    def parse(cls, label: str) -> Job:
        """The inverse of `label`.

        Raises:
            ArgumentTypeError: for what is no label.
        """
        system, recipe, setting, seed = [*label.split("-"), "", "", ""][:4]
        if not seed:
            setting, seed = "main", setting
        settings = {name for scale in SCALES.values() for name in scale.settings}
        known = system in SYSTEMS and recipe in RECIPES and setting in settings and seed.isdecimal()
        if not known or label.count("-") > 3:
            raise ArgumentTypeError(f"there is no training {label!r}; one is called shallow4_l-strong-0, for example")
        return cls(system, recipe, int(seed), setting)

    @property
    def row(self) -> str:
        """Such as `rival-strong` or `shallow4_m-report2-pair`."""
        return f"{self.system}-{self.recipe}" + ("" if self.setting == "main" else f"-{self.setting}")

    @property
    def label(self) -> str:
        """The row and the seed; names the run folder."""
        return f"{self.row}-{self.seed}"

    @property
    def key(self) -> dict[str, str | int]:
        """What finds the job's row again."""
        return {"kind": "trained", "row": self.row, "seed": self.seed}


def teachers_of(job: Job, scale: Scale) -> list[Job]:
    """The trainings whose soft labels a job learns."""
    teachers = scale.teachers if job.recipe in TAUGHT else ()
    return [Job(system, "strong", 0, job.setting) for system in teachers]


def start_of(job: Job) -> Job | None:
    """The training whose weights a job goes on with, if it does not begin anew."""
    return dataclasses.replace(job, recipe="strong") if job.recipe == "longer" else None


def first_jobs(scale: Scale) -> list[Job]:
    """Trainings that nothing is to be known for, the rival first."""
    jobs = [Job("rival", "strong"), *(Job(width, "strong") for width in scale.widths)]
    for system, recipes in scale.grid.items():
        if system not in FAMILIES:
            jobs += [Job(system, recipe) for recipe in recipes if recipe not in TAUGHT]
    return list(dict.fromkeys(jobs))


def later_jobs(scale: Scale, chosen: dict[str, str], best: dict[str, str]) -> list[Job]:
    """Trainings that need teachers, or to know which widths and recipes are best on validation images.

    Args:
        scale: the scale.
        chosen: family → its best width; families that lack rows still are left out.
        best: system → its best recipe, for those that are trained on more classes too.
    """
    grid = {chosen.get(system, system): recipes for system, recipes in scale.grid.items()}
    jobs = [Job(system, recipe) for system in chosen.values() for recipe in scale.repeated]
    jobs += [Job(system, recipe) for system, recipes in grid.items() for recipe in recipes if system in SYSTEMS]
    steps = [(chosen.get(step.system, step.system), step.recipe, step.setting) for step in (*LADDER, *ABLATIONS)]
    for seed in range(scale.seeds):
        for system in (*chosen.values(), "wide_cnn4"):
            jobs += [Job(system, recipe, seed) for recipe in scale.repeated if recipe in grid.get(system, ())]
        if "pair" in scale.settings:
            pair = [name for name in ("resnet34_7x7", chosen.get("shallow4")) if name]
            jobs += [Job(name, "report2", seed, "pair") for name in pair]
        if seed < scale.ladder_seeds:
            jobs += [Job(system, recipe, seed, setting) for system, recipe, setting in steps if system in SYSTEMS]
        if seed == 0 and "classes20" in scale.settings:
            taught = [Job(*key, 0, "classes20") for key in best.items()]
            jobs += [*(teacher for job in taught for teacher in teachers_of(job, scale)), *taught]
    return [job for job in dict.fromkeys(jobs) if job not in first_jobs(scale)]


def epochs_of(job: Job, setting: Setting) -> int:
    """How long a job trains at most."""
    return setting.epochs.get(f"{job.system}-{job.recipe}", setting.epochs.get(job.recipe, 0))


def recipe_of(
    job: Job, scale: Scale, *, data_path: str, teachers: Sequence[Path] = (), start: Path | None = None
) -> Recipe:
    """A job's whole recipe.

    Args:
        job: the job.
        scale: the scale.
        data_path: where the images are.
        teachers: run folders of `teachers_of`.
        start: run folder of `start_of`.
    """
    system, setting = SYSTEMS[job.system], scale.settings[job.setting]
    size = max(setting.size, system.least)
    train = Recipe.load(ROOT / "recipes" / f"{RECIPES[job.recipe]}.yaml").train
    changes = {**scale.changes.get(job.recipe, {}), "epochs": epochs_of(job, setting), "precision": "auto"}
    if RECIPES[job.recipe] == STRONG:
        sizes = [max(round(share * setting.size), system.least) for share in SHARES]
        changes["progressive_sizes"] = sizes if min(sizes) < size else None
    if job.system == "rival" and job.recipe == "distilled":  # would still more epochs gain?
        changes |= {"min_lr": changes.get("lr", train.lr) / 100, "cooldown_epochs": changes["epochs"] // 4}
    if job.recipe == "resized_crops":
        changes |= {"crop_padding": 0, "crop_scale": 0.35}
    if job.recipe == "longer":  # a second cosine, from a rate at which the first one still gained
        changes |= {"lr": changes.get("lr", train.lr) / 10, "warmup_epochs": 0, "progressive_sizes": None}
    if teachers:
        changes["teacher"] = [str(teacher) for teacher in teachers]
    train = dataclasses.replace(train, **changes)
    data = DataConfig(path=data_path, num_classes=setting.classes, size=size, grey="repeat")
    model = ModelConfig(
        system.model,
        options=dict(system.options),
        init_from=None if start is None else str(start),
        whiten_stem=job.recipe == "whitened",
    )
    return Recipe(data, model, train, job.seed)
