"""`anychan evaluate`: a finished run's subset report, its smallest sensor, and the files that hold them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from anychan.channels import ChannelSet
from anychan.data.batches import Augment
from anychan.data.dataset import ImageData
from anychan.data.drift import input_warnings, print_warnings
from anychan.errors import ChannelError, RunError
from anychan.evaluation.greedy import GreedySearch
from anychan.evaluation.match import ChannelMatch, match_channels
from anychan.evaluation.run import evaluate_run_splits, load_run, search_run, untrained_modules
from anychan.evaluation.smallest import SmallestSensor, check_costs
from anychan.evaluation.subsets import SubsetReport
from anychan.files import write_json
from anychan.models.base import AnyChannelModel
from anychan.models.catalog import with_changes
from anychan.report.asked import Evaluation
from anychan.report.plots import plot_subsets
from anychan.report.subset_plots import plot_front, plot_sizes
from anychan.report.tables import write_subset_csv
from anychan.training.run_folder import RunFolder

__all__ = ["MANY_SUBSETS", "RunReport", "report_run", "write_run_report"]

MANY_SUBSETS = 127  # more than these, all of 7 channels, are summed up by the number of channels
_GRID = 64  # channels; a grid of more dots is too wide to look at


@dataclass(frozen=True, eq=False)
class RunReport:
    """All that `anychan evaluate` found.

    Args:
        head: `run`, `model`, `stem`, `split`, `channel_drop`, `changed` and `untrained`, which the JSON begins with.
        report: the subset report.
        smallest: the smallest sensor.
        no_smallest: why there is none.
        search: what a greedy search found, where one was asked for.
        match: what the model knows of the data's channels.
    """

    head: Mapping[str, Any]
    report: SubsetReport
    smallest: SmallestSensor | None
    no_smallest: str | None
    search: GreedySearch | None
    match: ChannelMatch

    @property
    def name(self) -> str:
        """What its files are called."""
        return _name(self.head)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        sensor = None if self.smallest is None else self.smallest.to_dict()
        more = {"smallest_sensor": sensor, "smallest_sensor_reason": self.no_smallest}
        more["search"] = None if self.search is None else self.search.to_dict()
        return {**self.head, **self.match.to_dict(), **self.report.to_dict(), **more}


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
    model, data = load_run(run, data_path=asked.data_path, data_channels=asked.data_channels)
    recipe, contract = RunFolder(run).load_recipe(), model.contract
    untrained = untrained_modules(model, data, recipe)
    data = data.only(asked.source)
    if asked.stem or asked.options:
        model = with_changes(model, stem=asked.stem, options=asked.options)
    # channels that are not asked for may be unknown
    allowed = asked.allow_unknown_channels or bool(asked.channels)
    model, match = match_channels(model, data, allow_unknown=allowed, normalize=recipe.data)
    plan = _Plan.of(asked, match.channels, data)
    print_warnings(input_warnings(contract, data.splits[asked.split].images, channels=data.channels))
    head: dict[str, Any] = {"run": run, "model": model.name, "stem": model.contract.stem, "split": asked.split}
    changed = "-".join(_changed(asked, match))
    head |= {"channel_drop": asked.channel_drop, "changed": changed, "untrained": untrained}
    ends = {} if asked.channels else {"all": "", "search": "-search"}
    kept = {part: Path(run) / f"{_name(head)}{end}.partial.npz" for part, end in ends.items()}
    how: dict[str, Any] = {"channels": match.channels, "batch_norm": asked.batch_norm, "flip": asked.flip}
    how["augment"] = Augment(recipe.train.crop_padding, recipe.train.flip, crop_scale=recipe.train.crop_scale)
    found = RunReport(head, *_evaluated(model, data, asked, plan, how, kept), match)
    if not asked.channels:
        write_run_report(found, Path(run), chance=1 / len(data.classes))
        for path in kept.values():
            path.unlink(missing_ok=True)
    return found


class _Plan(NamedTuple):
    """What follows from what is asked for: all that can be refused is, before anything is evaluated."""

    subsets: list[ChannelSet]
    costs: dict[str, float]
    no_smallest: str | None
    search_up_to: int

    @classmethod
    def of(cls, asked: Evaluation, known: ChannelSet, data: ImageData) -> _Plan:
        subsets = asked.subsets(known)
        reason = asked.no_smallest_sensor(subsets, known, data)
        return cls(subsets, _costs(asked.costs, known), reason, asked.searched(known, data))


def _evaluated(
    model: AnyChannelModel,
    data: ImageData,
    asked: Evaluation,
    plan: _Plan,
    how: dict[str, Any],
    kept: Mapping[str, Path],
) -> tuple[SubsetReport, SmallestSensor | None, str | None, GreedySearch | None]:
    """The search, if one is asked for, then all subsets; `kept` are the files of partial results of both."""
    search = None
    if plan.search_up_to:
        search = search_run(model, data, up_to=plan.search_up_to, partial=kept.get("search"), **how)
    reports = evaluate_run_splits(
        model,
        data,
        splits=(asked.split,) if plan.no_smallest else (asked.split, "val"),
        subsets=[*plan.subsets, *(search.path if search else ())],
        sample=asked.drawn(how["channels"]),
        orders=asked.shapley or 0,
        channel_drop=asked.channel_drop,
        partial=kept.get("all"),
        **how,
    )
    report, smallest = reports[asked.split], None
    if plan.no_smallest is None:
        smallest = report.smallest_sensor(reports["val"], within=asked.within, costs=plan.costs)
    return report, smallest, plan.no_smallest, search


def _changed(asked: Evaluation, match: ChannelMatch) -> list[str]:
    """What tells the files from those of the run as it is, on its own channels."""
    changed = [asked.stem] if asked.stem else []
    changed += [f"{key}-{value}" for key, value in asked.options.items()]
    changed += [] if asked.batch_norm == "saved" else [asked.batch_norm]
    changed += ["flip"] if asked.flip else []
    changed += [] if asked.source is None else [f"on-{asked.source}"]
    return changed + ([] if match.whole or asked.data_path is None else [f"on-{Path(asked.data_path).stem}"])


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


def write_run_report(found: RunReport, folder: Path, *, chance: float) -> None:
    """Write JSON, CSV and pictures into a run folder, under a name that says what was evaluated.

    Args:
        found: the report.
        folder: the run's.
        chance: accuracy of guessing.

    Raises:
        RunError: when the files cannot be written.
    """
    name, report, head = found.name, found.report, found.head
    title = f"{head['model']}, stem {head['stem']}, {head['split']} images"
    picture = folder / f"{name}.png"
    try:
        write_json(folder / f"{name}.json", found.to_dict())
        write_subset_csv(report, folder / f"{name}.csv")
        if len(report.rows) > MANY_SUBSETS or len(found.match.channels) > _GRID:
            plot_sizes(report, picture, title=f"{title}, {report.how}", chance=chance)
        else:
            plot_subsets({report.how: report}, found.match.channels, picture, title=title, chance=chance)
        if found.smallest is not None and len(report.rows) > 1:
            plot_front(found.smallest, report, folder / f"{name}-front.png", title=f"{title}, {report.how}")
    except OSError as error:
        raise RunError(f"{folder}: {name}.json, .csv and .png cannot be written there ({error.strerror})") from None
