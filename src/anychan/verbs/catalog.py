"""`anychan models` and `profile`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from anychan.errors import ConfigError
from anychan.verbs.verb import Verb

__all__ = ["VERBS"]


def _profile_options(parser: ArgumentParser) -> None:
    parser.add_argument("model", type=str, help="a name of `anychan models`, a saved model's folder, or `demo`")
    parser.add_argument("--size", type=str, default=None, help="pixels, such as 84 or 64x96; default: the source's")
    parser.add_argument("--channels", type=str, default=None, help="a sensor or channels; for a saved model, a subset")
    parser.add_argument("--num-classes", type=int, default=None, help="default: the source's")
    parser.add_argument("--options", type=dict[str, Any], default={}, help='the network\'s own, as {"entry": "3x3"}')
    latency = "also time one image: eager, compiled and on ONNX Runtime, by 1 and 2 threads (minutes)"
    parser.add_argument("--latency", action="store_true", help=latency)
    parser.add_argument("--picture", type=str, default=None, help="a PNG to draw the longest path to")
    parser.add_argument("--no-depth", action="store_true", help="leave out the effective depth, which takes longest")
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of the tables")


def _profile(options: Namespace) -> None:
    from anychan.channels import parse_channels
    from anychan.models.catalog import create_model, find_spec
    from anychan.models.pretrained import load, model_folder
    from anychan.presets import PRESETS, RGB
    from anychan.profiling.macs import profile
    from anychan.report.depth_plot import plot_depths
    from anychan.report.tables import latency_table, print_table, profile_table

    picture = _picture(options)
    if model_folder(options.model).is_dir():
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
    found = profile(model, (1, len(channels), height, width), channels=channels, depth=not options.no_depth)
    if picture is not None and found.depth is not None:
        plot_depths({model.name: found.depth}, picture)
    values = {"name": model.name, "channels": list(channels.names), **found.to_dict()}
    if options.latency:
        from anychan.profiling.latency import measure_latency

        rows = measure_latency({model.name: model.for_channels(channels)}, found.input_shape)
        values["latency"] = [row.to_dict() for row in rows]
    if options.json:
        print(json.dumps({**values, "written": {"picture": options.picture}}))
        return
    print_table(profile_table(model.name, values))
    if options.latency:
        print_table(latency_table(values["latency"]))
    if picture is not None:
        print(f"written: {picture}")


def _picture(options: Namespace) -> Path | None:
    """Where to draw the path, checked before anything is measured."""
    if options.picture is None:
        return None
    picture = Path(options.picture)
    if options.no_depth:
        raise ConfigError("--picture draws the depth that --no-depth leaves out; give one of the two")
    if picture.suffix.lower() != ".png":
        raise ConfigError(f"--picture is {picture}, but it must end in .png")
    if not picture.parent.is_dir():
        raise ConfigError(
            f"--picture is {picture}, but there is no folder {picture.parent}; make it, or write elsewhere"
        )
    return picture


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


VERBS = {
    "profile": Verb(_profile, "Parameters, MACs, effective depth and latency of a model.", _profile_options),
    "models": Verb(_models, "List the catalogue.", _models_options),
}
