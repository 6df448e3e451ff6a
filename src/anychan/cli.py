"""The command line: one function a verb, heavy imports inside, every user's error one sentence and exit code 2."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from jsonargparse import ActionConfigFile, ArgumentParser, Namespace  # type: ignore[attr-defined]

from anychan import __version__
from anychan.errors import AnychanError, ConfigError
from anychan.recipe import DataConfig, ModelConfig, Recipe, TrainConfig, check_recipe_file

__all__ = ["main"]


class _Parser(ArgumentParser):
    """Raises our error in place of printing a usage page and leaving."""

    def error(self, message: str, ex: Exception | None = None) -> Any:
        text = " ".join(message.split())
        text = re.sub(
            r'^Parser key "(.*?)": Expected an? (.*?)\.? Got value: (.*)$', r"\1 is \3, but it must be \2", text
        )
        union = r'^Parser key "(.*?)": .*Union subtypes Subtypes: \[(.*?)\] Errors:.*Given value: (.*)$'
        text = re.sub(union, r"\1 is \3, but it must be one of \2", text).replace("NoneType", "null")
        text = re.sub(r"typing\.Literal\[(.*?)\]", r"one of \1", re.sub(r"<class '(\w+)'>", r"\1", text))
        text = text.replace("one of one of", "one of")
        text = re.sub(r"^the following arguments are required: (train\.)?out$", "--out is required", text)
        text = re.sub(r"^the following arguments are required: \w+\.(\w+)$", r"\1: name one at least", text)
        verbs = f"say what to do: {', '.join(_VERBS)}; `anychan --help` tells what each is for"
        raise ConfigError(verbs if text.startswith('expected "subcommand"') else text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        0 when all went well, 2 for a user's error (told in one sentence), 130 when interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        parser = _build_parser()
        options = parser.parse_args(arguments)
        verb: Callable[[Namespace], None] = _VERBS[options.subcommand][0]
        verb(options[options.subcommand])
    except AnychanError as error:
        if debug:
            raise
        print(f"anychan: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("anychan: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe has gone, as `| head` does
        return 0
    return 0


def _build_parser() -> ArgumentParser:
    describe = "Image classifiers for any subset of named channels."
    parser = _Parser(prog="anychan", description=describe, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"anychan {__version__}")
    parser.add_argument("--debug", action="store_true", help="show a traceback with every error")
    verbs = parser.add_subcommands(required=True, dest="subcommand")
    for name, (_, purpose, add_options) in _VERBS.items():
        verb = _Parser(description=purpose, allow_abbrev=False)
        add_options(verb)
        verbs.add_subcommand(name, verb, help=purpose)
    return parser


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

    recipe = Recipe.from_dict({key: options[key].as_dict() for key in ("data", "model", "train")})
    recipe.seed = options.seed
    fit(recipe, options.out, finish=finish_run)
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
    parser.add_argument("--all-subsets", action="store_true", help="all subsets, of up to 20 channels")
    parser.add_argument(
        "--sample",
        type=int | None,
        default=None,
        help="so many more subsets, drawn at random from all; default: 64 where more than 7 channels are not all done",
    )
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
    _evaluate_changes(parser)


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
    parser.add_argument("--data.path", dest="data_path", type=str, default=None, help="where the data lies now")
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of the table")


def _evaluate(options: Namespace) -> None:
    from anychan.report.evaluate import Evaluation, report_run
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


def _profile_options(parser: ArgumentParser) -> None:
    parser.add_argument("model", type=str, help="a name of `anychan models`, or a saved model's folder")
    parser.add_argument("--size", type=str, default=None, help="pixels, such as 84 or 64x96; default: the source's")
    parser.add_argument("--channels", type=str, default=None, help="a sensor or channels; for a saved model, a subset")
    parser.add_argument("--num-classes", type=int, default=None, help="default: the source's")
    parser.add_argument("--options", type=dict[str, Any], default={}, help='the network\'s own, as {"entry": "3x3"}')
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of the table")


def _profile(options: Namespace) -> None:
    from anychan.channels import parse_channels
    from anychan.models.catalog import create_model, find_spec
    from anychan.models.pretrained import load
    from anychan.presets import PRESETS, RGB
    from anychan.profiling.macs import profile
    from anychan.report.tables import print_table, profile_table

    if Path(options.model).is_dir():
        model = load(options.model)
        channels = model.channels.select(options.channels or model.channels)
        size = model.contract.resize.size if model.contract.resize else 64
    else:
        spec = find_spec(options.model)
        channels = parse_channels(options.channels, PRESETS) if options.channels else RGB
        classes = spec.num_classes if options.num_classes is None else options.num_classes
        model = create_model(options.model, channels=channels, num_classes=classes, options=options.options)
        size = spec.size
    height, width = _height_width(options.size or str(size))
    found = profile(model, (1, len(channels), height, width), channels=channels).to_dict()
    found = {"name": model.name, "channels": list(channels.names), **found}
    if options.json:
        print(json.dumps(found))
    else:
        print_table(profile_table(model.name, found))


def _height_width(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if match is None or "0" in (match[1], match[2]):
        raise ConfigError(f"--size is {text}, but it must be 1 or more pixels, such as 84 or 64x96 (height x width)")
    return int(match[1]), int(match[2] or match[1])


def _models_options(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a JSON list in place of the table")


def _models(options: Namespace) -> None:
    from anychan.profiling.macs import catalog_profiles
    from anychan.report.tables import catalog_table, print_table

    rows = catalog_profiles()
    if options.json:
        print(json.dumps(rows))
    else:
        print_table(catalog_table(rows))


def _demo_options(parser: ArgumentParser) -> None:
    parser.add_argument("--out", type=str, default="demo-run", help="the folder to make")


def _demo(options: Namespace) -> None:
    from anychan.deploy.demo import run_demo

    run_demo(Path(options.out))


_VERBS: dict[str, tuple[Callable[[Namespace], None], str, Callable[[ArgumentParser], None]]] = {
    "train": (_train, "Train a classifier by a recipe, keep its best epoch, and test it.", _train_options),
    "evaluate": (_evaluate, "Accuracy of a run's model on subsets of its channels.", _evaluate_options),
    "compare": (_compare, "Finished runs side by side: accuracy, cost, and a rival.", _compare_options),
    "profile": (_profile, "Parameters and MACs of a model, and what was not counted.", _profile_options),
    "models": (_models, "List the catalogue.", _models_options),
    "demo": (_demo, "Train on the satellite tiles inside the package, and compare.", _demo_options),
}
