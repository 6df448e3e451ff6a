"""The rows of `bands.py`: methods, their recipes, and the jobs of each data set."""

from __future__ import annotations

from dataclasses import dataclass

from anychan.recipe import DataConfig, ModelConfig, Recipe, TrainConfig

__all__ = ["FROZEN_FILLS", "METHODS", "PLAIN", "RIVALS", "SCALES", "TWO_SOURCES", "Job", "Method", "Scale", "recipe_of"]

PLAIN = "plain"
RIVALS = (PLAIN, "plain_long")  # trained on all channels alone
FROZEN_FILLS = ("zero", "mean", "present_mean", "completion")  # of the plain network, in place of its own


@dataclass(frozen=True)
class Method:
    """One way to train a network.

    Args:
        title: for tables.
        stem: what stands in for absent channels.
        sampling: which channels a step sees.
        model: name in the catalogue.
        sandwich: subsets a step beside all channels.
        distill: see `TrainConfig`.
        lr: peak learning rate.
        budget: how many times the training images of the others it sees.
        start: the method whose network it goes on from, trained before with the same number of images.
    """

    title: str
    stem: str
    sampling: str = "uniform"
    model: str = "resnet8"
    sandwich: int = 0
    distill: float = 0.0
    lr: float = 2e-3
    budget: float = 1
    start: str | None = None


METHODS = {
    PLAIN: Method("plain network, all channels", "mean", "none"),
    "zero": Method("raw zero", "zero"),
    "mean": Method("mean fill", "mean"),
    "present_mean": Method("mean of the present", "present_mean"),
    "completion": Method("completion", "completion"),
    "sandwich": Method("full set and one subset a step", "completion", sandwich=1, distill=0.5),
    "sizes": Method("completion, uniform over sizes", "completion", "uniform_size"),
    "wavelength": Method("wavelength stem", "wavelength"),
    "tuned": Method(
        "the plain network, then full set and one subset a step",
        "completion",
        sandwich=1,
        distill=0.5,
        lr=1e-3,
        start=PLAIN,
    ),
    "tuned_long": Method(
        "the plain network, then the same for as many steps",
        "completion",
        sandwich=1,
        distill=0.5,
        lr=1e-3,
        budget=2,
        start=PLAIN,
    ),
    "plain_long": Method("plain network, trained twice as long", "mean", "none", budget=2),
    "completion_long": Method("completion, trained twice as long", "completion", budget=2),
    "sandwich_long": Method(
        "completion, full set and one subset a step, as many steps", "completion", sandwich=1, distill=0.5, budget=2
    ),
    # an image costs it some fifty times the multiplications of the others
    "channel_vit": Method(
        "ChannelViT, tiny, a quarter of the training",
        "tokens",
        "uniform_size",
        "channel_vit_tiny",
        lr=5e-4,
        budget=0.25,
    ),
}
# what the two sources are trained by: stem and sampling; both with and without source A
TWO_SOURCES = {
    "completion": Method("completion, wavelength prior", "completion"),
    "mean, no sampling": Method("mean fill, all of a source's bands", "mean", "none"),
}


@dataclass(frozen=True)
class Scale:
    """What a scale trains.

    Args:
        eurosat_size: pixels.
        eurosat_folds: folds of a repeat; a repeat has a seed.
        passes: training images that a run sees, forward and backward.
        seeds: repeats.
    """

    eurosat_size: int
    eurosat_folds: int
    passes: int
    seeds: int


SCALES = {"cpu": Scale(32, 5, 21_000, 3), "gpu": Scale(64, 5, 84_000, 3)}


@dataclass(frozen=True)
class Job:
    """One training run.

    Args:
        data: name of the data set, or `"two sources"`.
        method: of `METHODS`; for two sources `"A+B: …"` or `"B: …"` and a name of `TWO_SOURCES`.
        seed: of the partition and the run.
        fold: which part is tested.
    """

    data: str
    method: str
    seed: int
    fold: int = 0

    @property
    def key(self) -> dict[str, str | int]:
        """What finds the job's rows again."""
        return {"data": self.data, "method": self.method, "seed": self.seed, "fold": self.fold}


def recipe_of(method: Method, *, images: int, passes: int, batch_size: int = 32, seed: int = 0) -> Recipe:
    """The one recipe of all methods.

    Args:
        method: what differs.
        images: number of training images.
        passes: how many images the run sees; a sandwich's step counts each of its passes.
        batch_size: images a step.
        seed: of the run.
    """
    epochs = max(1, round(method.budget * passes / (images * (1 + method.sandwich))))
    train = TrainConfig(
        epochs=epochs,
        batch_size=batch_size,
        optimizer="adamw",
        lr=method.lr,
        weight_decay=0.05,
        warmup_epochs=epochs / 30,
        label_smoothing=0.1,
        channel_sampling=method.sampling,  # type: ignore[arg-type]
        sandwich=method.sandwich,
        distill=method.distill,
        crop_padding=4,
        flip=True,
        monitor="last",
    )
    return Recipe(DataConfig(), ModelConfig(method.model, method.stem), train, seed)
