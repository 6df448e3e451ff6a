"""`anychan evaluate`: a finished run's subset report, its smallest sensor, and the files that hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anychan.channels import ChannelSet
from anychan.data.batches import Augment
from anychan.data.dataset import ImageData
from anychan.errors import ChannelError, ConfigError, RunError
from anychan.evaluation.choice import all_subsets, default_subsets
from anychan.evaluation.run import evaluate_run_splits, load_run, untrained_modules
from anychan.evaluation.smallest import SmallestSensor, check_costs
from anychan.evaluation.subsets import SubsetReport
from anychan.files import write_json
from anychan.models.base import AnyChannelModel
from anychan.models.catalog import with_changes
from anychan.report.plots import plot_subsets
from anychan.report.subset_plots import plot_front, plot_sizes
from anychan.report.tables import write_subset_csv
from anychan.training.run_folder import RunFolder

__all__ = ["MANY_SUBSETS", "Evaluation", "RunReport", "report_run", "write_run_report"]

_SAMPLE = 64
MANY_SUBSETS = 127  # more than these, all of 7 channels, are summed up by the number of channels


@dataclass(frozen=True)
class Evaluation:
    """What is asked of `anychan evaluate`.

    Args:
        split: the images to test on, `"test"` or `"val"`.
        channels: subsets by name; `None` is the default ones.
        all_subsets: take all.
        sample: add so many subsets drawn at random; `None`: 64 where not all of more than 7 channels are evaluated.
        batch_norm: `"saved"`, `"shared"` or `"own"`, as `evaluate_run_splits` takes it.
        channel_drop: report 1's test.
        stem: another way to cope with absent channels.
        options: changes to the network's own.
        data_path: where the data lies now.
        within: accuracy that the smallest sensor may lose, 0 to 1.
        costs: channel → cost for the smallest sensor; `None` counts channels.

    Raises:
        ConfigError: for a number out of its range, or choices of subsets that exclude each other.
    """

    split: str = "test"
    channels: Sequence[str] | None = None
    all_subsets: bool = False
    sample: int | None = None
    batch_norm: str = "saved"
    channel_drop: float = 0.0
    stem: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    data_path: str | None = None
    within: float = 0.02
    costs: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        for name, value in (("channel-drop", self.channel_drop), ("within", self.within)):
            if not 0 <= value <= 1:
                raise ConfigError(f"--{name} is {value}, but it must be between 0 and 1")
        if self.sample is not None and self.sample < 0:
            raise ConfigError(f"--sample is {self.sample}, but it must be 0 or more subsets")
        if self.sample and (self.channels or self.all_subsets):
            other = "--channels" if self.channels else "--all-subsets"
            raise ConfigError(f"--sample and {other} were given; give one of them")

    def subsets(self, known: ChannelSet) -> list[ChannelSet]:
        """The subsets that are not drawn at random.

        Raises:
            ChannelError: for a channel that the model does not know.
            ConfigError: for a sample where all subsets are evaluated anyway, or too many channels for all.
        """
        if self.channels:
            return [known.select(names) for names in self.channels]
        if self.all_subsets:
            return all_subsets(known)
        if self.channel_drop:
            return [known]
        chosen = default_subsets(known)
        if self.sample and len(chosen) == 2 ** len(known) - 1:
            raise ConfigError(f"--sample: all {len(chosen)} subsets are evaluated anyway; leave it out")
        return chosen

    def drawn(self, known: ChannelSet) -> int:
        """How many subsets are drawn at random."""
        if self.sample is not None:
            return self.sample
        named = self.channels or self.all_subsets or self.channel_drop
        return 0 if named or len(default_subsets(known)) == 2 ** len(known) - 1 else _SAMPLE

    def no_smallest_sensor(self, subsets: Sequence[ChannelSet], known: ChannelSet, data: ImageData) -> str | None:
        """Why no smallest sensor can be chosen, if so."""
        if self.split != "test":
            return "it is chosen on validation images and tested on test images, but only the former were asked for"
        if self.channel_drop:
            return "the images were changed by --channel-drop"
        if len(data.splits["val"]) == 0:
            return "there are no validation images to choose it on"
        if len(known) not in map(len, subsets):
            return "the full set of channels was not evaluated, so there is nothing to compare subsets with"
        return None


@dataclass(frozen=True, eq=False)
class RunReport:
    """All that `anychan evaluate` found.

    Args:
        head: `run`, `model`, `stem`, `split`, `channel_drop`, `changed` and `untrained`, which the JSON begins with.
        report: the subset report.
        smallest: the smallest sensor.
        no_smallest: why there is none.
    """

    head: Mapping[str, Any]
    report: SubsetReport
    smallest: SmallestSensor | None
    no_smallest: str | None

    @property
    def name(self) -> str:
        """What its files are called."""
        return _name(self.head)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        sensor = None if self.smallest is None else self.smallest.to_dict()
        more = {"smallest_sensor": sensor, "smallest_sensor_reason": self.no_smallest}
        return {**self.head, **self.report.to_dict(), **more}


def report_run(run: str, asked: Evaluation) -> RunReport:
    """Evaluate a finished run, and write JSON, CSV and pictures into its folder unless single subsets were named.

    Results are kept in the folder as they are done, so that a stopped evaluation goes on by the same command.

    Raises:
        RunError: when this is no finished run, or its folder cannot be written to.
        ConfigError: for an option that does not fit the model.
        ChannelError: for an unknown channel.
        ContractError: when model and data do not fit each other.
        DataError: when the data cannot be used.
    """
    model, data = load_run(run, data_path=asked.data_path)
    recipe = RunFolder(run).load_recipe()
    untrained = untrained_modules(model, data, recipe)
    if asked.stem or asked.options:
        model = with_changes(model, stem=asked.stem, options=asked.options)
    changed = [asked.stem] if asked.stem else []
    changed += [f"{key}-{value}" for key, value in asked.options.items()]
    head: dict[str, Any] = {"run": run, "model": model.name, "stem": model.contract.stem, "split": asked.split}
    changed += [] if asked.batch_norm == "saved" else [asked.batch_norm]
    head |= {"channel_drop": asked.channel_drop, "changed": "-".join(changed), "untrained": untrained}
    subsets, costs = asked.subsets(model.channels), _costs(asked.costs, model.channels)
    reason = asked.no_smallest_sensor(subsets, model.channels, data)
    partial = Path(run) / f"{_name(head)}.partial.npz"
    reports = evaluate_run_splits(
        model,
        data,
        splits=(asked.split,) if reason else (asked.split, "val"),
        subsets=subsets,
        sample=asked.drawn(model.channels),
        batch_norm=asked.batch_norm,
        augment=Augment(recipe.train.crop_padding, recipe.train.flip),
        channel_drop=asked.channel_drop,
        partial=None if asked.channels else partial,
    )
    report = reports[asked.split]
    smallest = None if reason else report.smallest_sensor(reports["val"], within=asked.within, costs=costs)
    found = RunReport(head, report, smallest, reason)
    if not asked.channels:
        write_run_report(found, Path(run), model, chance=1 / len(data.classes))
        partial.unlink(missing_ok=True)
    return found


def _costs(costs: Mapping[str, float] | None, known: ChannelSet) -> dict[str, float]:
    """By the channels' labels, whatever they were called."""
    if costs is None:
        return check_costs(None, known.labels)
    found: dict[str, float] = {}
    for query, cost in costs.items():
        label = known.labels[known.index(query)]
        if label in found:
            raise ChannelError(f"--costs: channel {label!r} is there twice; give one cost for each channel")
        found[label] = cost
    return check_costs(found, known.labels)


def _name(head: Mapping[str, Any]) -> str:
    name = "channel-drop" if head["channel_drop"] else "subsets"
    name += f"-{head['changed']}" if head["changed"] else ""
    return name + ("-val" if head["split"] == "val" else "")


def write_run_report(found: RunReport, folder: Path, model: AnyChannelModel, *, chance: float) -> None:
    """Write JSON, CSV and pictures into a run folder, under a name that says what was evaluated.

    Args:
        found: the report.
        folder: the run's.
        model: the run's.
        chance: accuracy of guessing.

    Raises:
        RunError: when the files cannot be written.
    """
    name, report, head = found.name, found.report, found.head
    title = f"{head['model']}, stem {head['stem']}, {head['split']} images"
    statistics = f"{report.batch_norm} batch-norm statistics"
    picture = folder / f"{name}.png"
    try:
        write_json(folder / f"{name}.json", found.to_dict())
        write_subset_csv(report, folder / f"{name}.csv")
        if len(report.rows) > MANY_SUBSETS:
            plot_sizes(report, picture, title=f"{title}, {statistics}", chance=chance)
        else:
            plot_subsets({statistics: report}, model.channels, picture, title=title, chance=chance)
        if found.smallest is not None and len(report.rows) > 1:
            plot_front(found.smallest, report, folder / f"{name}-front.png", title=f"{title}, {statistics}")
    except OSError as error:
        raise RunError(f"{folder}: {name}.json, .csv and .png cannot be written there ({error.strerror})") from None
