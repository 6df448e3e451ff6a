"""The tables of docs/shallow.md, from `shallow-cpu.json`, and from `shallow-gpu.json` where there is one."""

from __future__ import annotations

import json
from collections.abc import Callable
from statistics import fmean

from results_file import RESULTS, percent, select
from shallow_claims import (
    FLIPPED,
    Rows,
    accuracy,
    best,
    chosen_widths,
    figure,
    last_gain,
    longest,
    main_rows,
    ratio,
)
from shallow_costs import fastest_row
from shallow_rows import RECIPES, SCALES
from shallow_systems import FAMILIES, RESNETS, SYSTEMS

from anychan.profiling.engines import ENGINES
from anychan.report.tables import markdown_table

__all__ = ["SHALLOW_TABLES", "accuracy_cell", "depth_cell", "load_rows", "ratio_cell", "time_cell"]

RECIPE_TITLES = {
    "report1": "report 1's",
    "report2": "report 2's",
    "strong": "strong",
    "resized_crops": "strong, resized crops",
    "whitened": "strong, whitened first layer",
    "longer": "strong, longer",
    "distilled": "strong, distilled",
    "patient": "strong, distilled for longer",
}


def load_rows(scale: str = "cpu") -> Rows:
    """A scale's rows; none where it has not run."""
    path = RESULTS / f"shallow-{scale}.json"
    return json.loads(path.read_text())["rows"] if path.exists() else []


def accuracy_cell(rows: Rows) -> str:
    """Accuracy in % with its interval: Wilson's of one run, else the bootstrap's of the mean over seeds."""
    if not rows:
        return ""
    if len(rows) == 1:
        return percent(figure(rows[0]))
    found = accuracy(rows)
    return percent({"accuracy": found.value, "low": found.low, "high": found.high})


def ratio_cell(ours: Rows, theirs: Rows) -> str:
    """A ratio of accuracies with its interval."""
    if not ours or not theirs:
        return ""
    if ours == theirs:
        return "1"
    return "{:.3f} ({:.3f} to {:.3f})".format(*ratio(ours, theirs))


def depth_cell(rows: Rows, system: str) -> str:
    """`4 (12 with gates) + 1`: layers of features and of the classifier."""
    found = select(rows, kind="cost", system=system)
    if not found:
        return ""
    cost = found[0]
    gates = f" ({cost['features_with_gates']} with gates)" if cost["features_with_gates"] > cost["features"] else ""
    return f"{cost['features']}{gates} + {cost['classifier']}"


def time_cell(rows: Rows, system: str, *, threads: int) -> str:
    """Median and 99th percentile of one image in ms, on the fastest engine."""
    found = fastest_row(rows, system, threads=threads)
    return f"{found['p50_ms']:.2f} / {found['p99_ms']:.2f} {found['engine']}" if found else ""


def _names(rows: Rows, scale: str) -> list[str]:
    """Networks in the grid's order, each family's widths in its place."""
    found = [FAMILIES.get(name, (name,)) for name in SCALES[scale].grid]
    there = {row["system"] for row in select(rows, kind="trained", setting="main")}
    return [name for group in found for name in group if name in there]


def _title(rows: Rows, system: str) -> str:
    title = SYSTEMS[system].title
    title = f"`{title}`" if title == system else title
    return f"**{title}**" if system in chosen_widths(rows).values() else title


def systems(scale: str) -> str:
    """Every network by every recipe."""
    rows = load_rows(scale)
    rival = best(rows, RESNETS)
    lines = []
    for system in _names(rows, scale):
        for recipe in RECIPES:
            found = main_rows(rows, system, recipe)
            if not found:
                continue
            first = found[0]
            mark = "**" if found == rival else ""
            minutes = sum(row["train_seconds"] for row in found) / len(found) / 60
            lines.append(
                [
                    _title(rows, system),
                    f"{mark}{RECIPE_TITLES[recipe]}{mark}",
                    f"{first['size']}×{first['size']}",
                    str(first["epochs_trained"]),
                    str(len(found)),
                    f"{100 * accuracy(found, 'val').value:.1f}",
                    accuracy_cell(found),
                    f"{100 * fmean(row['test']['accuracy'] for row in found):.1f}",
                    ratio_cell(found, rival),
                    f"{minutes:.0f} min",
                ]
            )
    titles = ["network", "recipe", "pixels", "epochs", "runs", "validation", "test", "without flips"]
    note = (
        "Accuracy in %. The strong recipe tests each image together with its mirror image; beside it the same networks "
        "without. One run: Wilson's 95 % interval; several: the bootstrap's of their mean, as for ratios. Bold: the "
        "width and the rival that were chosen on validation images. Reports' recipes: how they train alone, for these "
        "epochs, on these images. Minutes: beside other work, so they tell little."
    )
    return f"{markdown_table([*titles, 'test over the rival', 'training'], lines)}\n\n{note}"


def networks(scale: str) -> str:
    """What each network costs."""
    rows = load_rows(scale)
    setting = SCALES[scale].settings["main"]
    lines = []
    for system in _names(rows, scale):
        size = max(setting.size, SYSTEMS[system].least)
        for cost in select(rows, kind="cost", system=system, size=size, classes=setting.classes):
            counts = [str(cost[key]) for key in ("features", "features_with_gates", "classifier", "weighted_modules")]
            times = [time_cell(rows, system, threads=threads) for threads in (1, 2)]
            best_rate = fastest_row(rows, system, threads=2)
            rate = f"{best_rate['images_per_s']:,.0f}" if best_rate else ""
            lines.append(
                [
                    _title(rows, system),
                    *counts,
                    f"{cost['params']:,}",
                    f"{cost['macs']:,}",
                    f"{size}×{size}",
                    *times,
                    rate,
                ]
            )
    depth = ["layers of features", "with gates", "of the classifier", "weights"]
    times = ["one image, 1 thread: p50 / p99 ms", "2 threads", "images/s at batches of 64, 2 threads"]
    return markdown_table(["network", *depth, "parameters", "MACs", "pixels", *times], lines)


def latency(scale: str) -> str:
    """All engines and numbers of threads."""
    rows = load_rows(scale)
    timed = select(rows, kind="latency")
    if not timed:
        return ""
    lines = []
    for threads in dict.fromkeys(row["threads"] for row in timed):
        for system in dict.fromkeys(row["system"] for row in timed):
            found = {row["engine"]: row for row in select(timed, threads=threads, system=system)}
            cells = [
                f"{row['p50_ms']:.2f} / {row['p99_ms']:.2f}, {row['cold_start_ms'] / 1000:.2f} s"
                for row in (found[engine] for engine in ENGINES if engine in found)
            ]
            lines.append([_title(rows, system), str(threads), *cells])
    titles = ["network", "threads", *(f"{engine}: p50 / p99 ms, cold start" for engine in ENGINES)]
    facts = timed[0]
    note = (
        "Fresh weights, some scales of batch norm negative, as training makes them, which keeps it from being folded "
        "past max pooling. One float32 image, all networks in turns, "
        f"{facts['rounds']} rounds after {facts['warm_up']} warm-up calls; "
        f"{facts['processor']}. p99: of so few calls the second longest. Cold start: compiling, or loading the "
        "exported file, and the first call."
    )
    return f"{markdown_table(titles, lines)}\n\n{note}"


def classes() -> str:
    """The networks that are compared, on twice as many classes."""
    rows = load_rows()
    titles = ["network", "recipe", "classes", "pixels", "epochs", "runs", "test", "ratio to the ResNet34"]
    trained = select(rows, kind="trained", setting="classes20")
    if not trained:
        return "Not trained yet. On a GPU, above, there are five times as many classes."
    keys = dict.fromkeys((row["system"], row["recipe"]) for row in trained)
    rival: Rows = []
    lines = []
    for system, recipe in sorted(keys, key=lambda key: key[0] not in RESNETS):
        found = main_rows(rows, system, recipe, "classes20")
        rival = found if system in RESNETS else rival
        facts = [str(found[0][key]) for key in ("classes", "size", "epochs_trained")] + [str(len(found))]
        cells = [accuracy_cell(found), ratio_cell(found, rival)]
        lines.append([_title(rows, system), RECIPE_TITLES[recipe], *facts, *cells])
    return markdown_table(titles, lines)


def promises() -> str:
    """Each claim of the result files, and whether it holds."""
    lines = []
    for scale in SCALES:
        path = RESULTS / f"shallow-{scale}.json"
        found = json.loads(path.read_text())["claims"] if path.exists() else []
        for claim in found:
            asked = f"{claim['op'].replace('>=', '≥').replace('<=', '≤')} {claim['bound']:g}"
            spread = claim.get("quartiles", [claim[end] for end in ("low", "high") if end in claim])
            value = f"{claim['value']:.3f}" + (" ({:.3f} to {:.3f})".format(*spread) if spread else "")
            who = f"`{claim['ours']}`" + (f" over `{claim['theirs']}`" if "theirs" in claim else "")
            if "over_imagenet_stem" in claim:
                who += f"; {claim['over_imagenet_stem']:.3f} over `resnet34_7x7`"
            lines.append([scale, f"`{claim['id']}`", asked, value, "yes" if claim["holds"] else "no", who])
    return markdown_table(["scale", "claim", "asked for", "found", "holds", "of what"], lines)


def rival() -> str:
    """Which ResNet34 counts, and whether it was trained to its end."""
    return "\n".join(text for scale in SCALES if (text := _rival(scale)))


def _rival(scale: str) -> str:
    rows = load_rows(scale)
    found = best(rows, RESNETS)
    if not found:
        return ""
    trained = select(rows, kind="trained", setting="main")
    tried = dict.fromkeys((row["system"], row["recipe"]) for row in trained if row["recipe"] in FLIPPED)
    groups = {"ResNet34": RESNETS, **FAMILIES}
    counts = ", ".join(f"{sum(key[0] in names for key in tried)} of {who}" for who, names in groups.items())
    ended, points = longest(rows), f"{last_gain(found):.1f} points on validation images"
    if ended != found:
        more = ended[0]["epochs_trained"] - found[0]["epochs_trained"]
        test = 100 * (accuracy(ended).value - accuracy(found).value)
        points += f"; {more} epochs more, at lower rates, gained {last_gain(ended):.1f}, and {test:+.1f} on test images"
    network, recipe = SYSTEMS[found[0]["system"]].title, RECIPE_TITLES[found[0]["recipe"]]
    validation = 100 * accuracy(found, "val").value
    return (
        f"- {scale.upper()} scale: {network}, recipe: {recipe}, the best on validation images ({validation:.1f} %). "
        f"Trials of the strong recipe: {counts}. The last quarter of its epochs gained {points}."
    )


def _by_scale(table: Callable[[str], str]) -> Callable[[], str]:
    def both() -> str:
        found = []
        for scale, protocol in SCALES.items():
            main = protocol.settings["main"]
            if load_rows(scale) and (text := table(scale)):
                found.append(f"{main.classes} classes, {main.size}×{main.size} pixels:\n\n{text}")
        return "\n\n".join(found)

    return both


SHALLOW_TABLES: dict[str, Callable[[], str]] = {
    "shallow_claims": promises,
    "shallow_rival": rival,
    "shallow_systems": _by_scale(systems),
    "shallow_networks": _by_scale(networks),
    "shallow_latency": _by_scale(latency),
    "shallow_classes": classes,
}
