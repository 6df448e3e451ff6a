"""`anychan train`, `evaluate`, `compare` and `report`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Literal

from jsonargparse import ActionConfigFile, ArgumentParser, Namespace  # type: ignore[attr-defined]

from anychan.allocator import keep_freed_memory
from anychan.recipe import DataConfig, ModelConfig, Recipe, TrainConfig, check_recipe_file
from anychan.verbs.verb import Verb

__all__ = ["VERBS"]


def _train_options(parser: ArgumentParser) -> None:
    parser.add_argument("--config", action=_RecipeFile, help="a recipe (YAML); options after it win over it")
    parser.add_argument("--out", type=str, required=True, help="the run folder to make, or to go on with")
    parser.add_argument("--data", type=DataConfig, default=DataConfig())
    parser.add_argument("--model", type=ModelConfig, default=ModelConfig())
    parser.add_argument("--train", type=TrainConfig, default=TrainConfig())
    parser.add_argument("--seed", type=int, default=0, help="every random number of the run derives from it")


class _RecipeFile(ActionConfigFile):
    """Checks a recipe's keys before jsonargparse reads it, so that a typo is told with its file."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        check_recipe_file(Path(str(values)))
        super().__call__(parser, namespace, values, option_string)  # type: ignore[no-untyped-call]


def _train(options: Namespace) -> None:
    from anychan.report.finish import finish_run
    from anychan.training.fit import fit
    from anychan.training.processes import is_first

    keep_freed_memory()
    recipe = Recipe.from_dict({key: options[key].as_dict() for key in ("data", "model", "train")})
    recipe.seed = options.seed
    fit(recipe, options.out, finish=finish_run)
    if is_first():
        print(f"the run is in {options.out}; next: anychan evaluate {options.out}")


def _evaluate_options(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=str, help="a finished run's folder")
    parser.add_argument("--split", type=Literal["test", "val"], default="test", help="the images to test on")
    parser.add_argument(
        "--channels",
        type=str,
        action="append",
        help="one subset, such as B04,B03; repeat for more; default: see README",
    )
    _evaluate_subsets(parser)
    parser.add_argument(
        "--batch-norm",
        type=Literal["saved", "shared", "own"],
        default="saved",
        help="statistics saved for each subset (or else the model's); all channels' for every subset; or measured now",
    )
    parser.add_argument(
        "--channel-drop",
        type=float,
        default=0.0,
        help="report 1's test: all channels, one random channel of an image set to 0 with this probability",
    )
    parser.add_argument(
        "--flip",
        action="store_true",
        help="average the probabilities of each image and of its mirror image, left to right; takes twice the time",
    )
    _evaluate_changes(parser)


def _evaluate_subsets(parser: ArgumentParser) -> None:
    parser.add_argument("--all-subsets", action="store_true", help="all subsets, of up to 20 channels")
    parser.add_argument(
        "--sample",
        type=int | None,
        default=None,
        help="so many more subsets, drawn at random from all; default: 64 where more than 7 channels are not all done",
    )
    parser.add_argument(
        "--search",
        type=Literal["sampled", "greedy"],
        default="sampled",
        help="of more than 7 channels, look for good subsets at random, or greedily on the validation images",
    )
    parser.add_argument(
        "--search-up-to", type=int | None, default=None, help="the most channels of a greedy search; default: 8"
    )
    parser.add_argument(
        "--shapley",
        type=int | None,
        default=None,
        help="estimate each channel's Shapley value from so many random orders; 50 or more for small errors",
    )


def _evaluate_changes(parser: ArgumentParser) -> None:
    parser.add_argument("--stem", type=str, default=None, help="cope with absent channels in another way than trained")
    parser.add_argument("--options", type=dict[str, Any], default={}, help='change the network\'s own, as {"top_k": 2}')
    parser.add_argument(
        "--within", type=float, default=0.02, help="accuracy that the smallest sensor may lose; 0.02 is two points"
    )
    parser.add_argument(
        "--costs",
        type=dict[str, float] | None,
        default=None,
        help='what each channel of the smallest sensor costs, as {"B02": 1, "B11": 2.5}; default: 1 each',
    )
    parser.add_argument(
        "--data.path", dest="data_path", type=str, default=None, help="where the data lies now, or other data"
    )
    parser.add_argument(
        "--data.channels", dest="data_channels", type=str, default=None, help="what channels that data has"
    )
    parser.add_argument(
        "--allow-unknown-channels",
        action="store_true",
        help="leave channels out that were never trained, and that the stem cannot interpolate",
    )
    parser.add_argument("--source", type=str, default=None, help="the source to test on, of a run that has several")
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of the table")


def _evaluate(options: Namespace) -> None:
    from anychan.report.asked import Evaluation
    from anychan.report.evaluate import report_run
    from anychan.report.summary import print_run_report

    asked = Evaluation(**{item.name: options[item.name] for item in dataclasses.fields(Evaluation)})
    found = report_run(options.run, asked)
    if options.json:
        print(json.dumps(found.to_dict()))
    else:
        print_run_report(found)


def _compare_options(parser: ArgumentParser) -> None:
    parser.add_argument("runs", type=str, nargs="+", help="finished runs' folders")
    parser.add_argument("--rival", type=str, default=None, help="divide accuracies by this run's; default: a resnet34")
    parser.add_argument("--out", type=str, default=None, help="a folder for compare.md, compare.csv and curves.png")
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of the table")


def _compare(options: Namespace) -> None:
    from anychan.report.compare import compare_runs, comparison_table, write_comparison
    from anychan.report.tables import print_table

    found = compare_runs(options.runs, rival=options.rival)
    if options.out:
        write_comparison(found, Path(options.out))
    if options.json:
        print(json.dumps({"rival": found.rival, "runs": found.rows, "notes": found.notes}))
    else:
        print_table(comparison_table(found))


def _report_options(parser: ArgumentParser) -> None:
    parser.add_argument("runs", type=str, nargs="+", help="runs' folders; several are compared, too")
    parser.add_argument(
        "--out",
        type=str,
        default=None,
        help="the HTML file to write; default: report.html, in the run's folder, or here for several runs",
    )
    parser.add_argument("--data.path", dest="data_path", type=str, default=None, help="where the data lies now")


def _report(options: Namespace) -> None:
    from anychan.report.page.write import write_page

    print(f"written: {write_page(options.runs, out=options.out, data_path=options.data_path)}")


VERBS = {
    "train": Verb(_train, "Train a classifier by a recipe, keep its best epoch, and test it.", _train_options),
    "evaluate": Verb(_evaluate, "Accuracy of a run's model on subsets of its channels.", _evaluate_options),
    "compare": Verb(_compare, "Finished runs side by side: accuracy, cost, and a rival.", _compare_options),
    "report": Verb(_report, "One HTML file of one or several runs, which needs no network.", _report_options),
}
