"""The tables of docs/speed.md and the README, from `speed-cpu.json`, `growth-cpu.json` and `dynamic_conv-cpu.json`."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from typing import Any

from growth import AXES, slope
from results_file import RESULTS, select
from speed_claims import loop_shares, memory_growth, pair_ratios, predict_shares
from speed_conv import BATCH, KERNELS, PEERS, ratios
from speed_roofline import limit_ms

from anychan.report.tables import markdown_table

__all__ = ["SPEED_TABLES"]

PEER_TITLES = {"each": "K convolutions", "condconv": "timm's CondConv2d", "grouped": "a group an image"}
PAIR_TITLES = {
    "dynamic_resnet12": "DynamicResNet12, training step, over its K-convolution form",
    "any_channel": "`resnet18` for any channels, training step, over the plain one",
    "one_band_stem": "stem forward, one of 13 bands over all",
    "channel_vit": "`resnet18` for any channels, training step, over ChannelViT of as many MACs",
}
FRONT = {
    "dynamic_conv_over_static": "dynamic convolution over a static one, forward and backward, seven shapes",
    "dynamic_conv_over_best_peer": "the same over the fastest of three other ways at each shape",
    "dynamic_resnet12_speedup": "DynamicResNet12's training speed over its K-convolution form's, float32",
    "dynamic_resnet12_bf16": "the same in bf16",
    "any_channel_over_plain": "`resnet18` for any channels over the plain one, training step",
    "one_band_stem_over_full": "stem on one of 13 bands over all",
    "loop_share_resnet34_64": "bare steps' time over the training loop's, `resnet34`",
    "predict_share": "`anychan predict`, of the speed that decoding and computing in turn allow",
}
Rows = list[dict[str, Any]]


def _load(name: str = "speed-cpu") -> dict[str, Any]:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {"rows": [], "claims": [], "hardware": ""}


def _spread(values: list[float], digits: int = 2) -> str:
    """Median and quartiles."""
    if len(values) < 2:
        return "".join(f"{value:.{digits}f}" for value in values)
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _cells(claim: dict[str, Any]) -> list[str]:
    """What is asked for, and what was found."""
    asked = f"{claim['op'].replace('>=', '≥').replace('<=', '≤')} {claim['bound']:g}" if "bound" in claim else ""
    spread = " ({:.3f} to {:.3f})".format(*claim["quartiles"]) if "quartiles" in claim else ""
    return [asked, f"{claim['value']:.3f}{spread}"]


def promises() -> str:
    """Each claim, and whether it holds."""
    lines = [[f"`{claim['id']}`", *_cells(claim), "yes" if claim["holds"] else "no"] for claim in _load()["claims"]]
    return markdown_table(["claim", "asked for", "found (quartiles)", "holds"], lines)


def front() -> str:
    """The README's claims, in words."""
    found = _load()
    claims = {claim["id"]: claim for claim in found["claims"]}
    in_bf16 = [1 / ratio for ratio in pair_ratios(found["rows"], "dynamic_resnet12", "bf16")]
    if in_bf16:
        quartiles = statistics.quantiles(in_bf16, n=4)[::2] if len(in_bf16) > 1 else in_bf16 * 2
        claims["dynamic_resnet12_bf16"] = {"value": statistics.median(in_bf16), "quartiles": quartiles}
    lines = [[title, *_cells(claims[name])] for name, title in FRONT.items() if name in claims]
    table = markdown_table(["what", "asked for", "found (quartiles)"], lines)
    return f"{table}\n\nMedians of interleaved runs in one process; {found['hardware']}."


def convolutions() -> str:
    """Each shape: static, ours and peers, and the limit."""
    rows = _load()["rows"]
    lines = []
    for shape in ratios(rows):
        over = shape["over"]
        limit = limit_ms(shape, rows, images=BATCH, kernels=KERNELS)
        ours_ms = over["static"] * shape["static_ms"]
        name = f"{shape['in']} → {shape['out']}, {shape['side']}×{shape['side']}"
        name += f", stride {shape['stride']}" if shape["stride"] > 1 else ""
        low, high = shape["quartiles"]["static"]
        lines.append(
            [
                name,
                f"{shape['static_ms']:.1f}",
                f"{over['static']:.2f} ({low:.2f} to {high:.2f})",
                *(f"{over['static'] / over[peer]:.2f}" for peer in PEERS),
                "" if limit is None else f"{100 * limit / ours_ms:.0f} %",
            ]
        )
    titles = ["maps, pixels", "static, ms", "ours over static", *(f"{PEER_TITLES[peer]} over static" for peer in PEERS)]
    return markdown_table([*titles, "of the limit"], lines)


def networks() -> str:
    """Pairs of networks."""
    rows = _load()["rows"]
    lines = []
    for pair, title in PAIR_TITLES.items():
        for row in select(rows, kind="pair", pair=pair):
            found = [statistics.median(row[f"{who}_ms"]) for who in ("ours", "theirs")]
            spread = _spread(pair_ratios(rows, pair, row["precision"]), 3)
            lines.append([title, row["precision"], *(f"{value:.1f}" for value in found), spread])
    return markdown_table(["what over what", "precision", "ms", "over ms", "ratio (quartiles)"], lines)


def memory() -> str:
    """Training steps that keep freed memory, and that return it."""
    keys = ("network", "precision", "images", "side")
    rows = select(_load()["rows"], kind="memory")
    lines = []
    for found in dict.fromkeys(tuple(row[key] for key in keys) for row in rows):
        of_network = select(rows, **dict(zip(keys, found, strict=True)))
        name, precision, images, side = found
        median = {
            column: statistics.median(row[column] for row in of_network)
            for column in ("returned_ms", "kept_ms", "returned_peak_mib", "kept_peak_mib")
        }
        ratio = statistics.median(row["kept_ms"] / row["returned_ms"] for row in of_network)
        figures = [f"{value:,.0f}" for value in median.values()]
        lines.append([f"`{name}`", precision, f"{images} of {side}×{side}", *figures[:2], f"{ratio:.3f}", *figures[2:]])
    titles = ["network", "precision", "images", "returned, ms", "kept, ms", "kept over returned"]
    return markdown_table([*titles, "peak returned, MiB", "peak kept, MiB"], lines)


def loops() -> str:
    """What loops around steps cost."""
    rows = _load()["rows"]
    keys = ("model", "size", "batch_size")
    lines = []
    for found in dict.fromkeys(tuple(row[key] for key in keys) for row in select(rows, kind="loop")):
        of_loop = select(rows, kind="loop", **dict(zip(keys, found, strict=True)))
        first = of_loop[0]
        rate = statistics.median(first["steps"] * first["batch_size"] / row["loop_seconds"] for row in of_loop)
        model, size, batch = found
        shares = [loop_shares(rows, model, size, batch, loop) for loop in ("loop", "plain")]
        lines.append([f"`{model}`", f"{size}×{size}", str(batch), f"{rate:,.0f}", *(_spread(each) for each in shares)])
    titles = ["network", "pixels", "batch", "images/s", "bare steps' time over our loop's"]
    return markdown_table([*titles, "over a plain DataLoader's"], lines)


def start() -> str:
    """The way to the first batch."""
    found = select(_load()["rows"], kind="start")
    if not found:
        return ""
    row = found[0]
    rate = row["images"] / (row["cold_seconds"] - row["warm_seconds"])
    return (
        f"To the first batch of {row['images']:,} images of 64×64 pixels: {row['import_seconds']:.1f} s to import what "
        f"trains; {row['warm_seconds']:.2f} s with a cache, {row['cold_seconds']:.1f} s without one, which is "
        f"{rate:,.0f} images a second decoded, counted and written. A process a core, to compare with, decodes "
        f"{row['processes_images_per_s']:,.0f} a second, and writes nothing."
    )


def prediction() -> str:
    """A folder of photographs."""
    rows = _load()["rows"]
    found = select(rows, kind="predict")
    if not found:
        return ""
    files = found[0]["files"]
    rates = [
        f"{statistics.median(files / row[f'{what}_seconds'] for row in found):,.0f}"
        for what in ("decode", "compute", "predict")
    ]
    peaks = {row["files"]: row["peak_mib"] for row in select(rows, kind="predict_memory")}
    memory = ", ".join(f"{peak:.0f} MiB on {count:,} files" for count, peak in sorted(peaks.items()))
    return (
        f"{files:,} JPEG files of 64×64 pixels, `resnet18`, images a second: decoding alone {rates[0]}, computing "
        f"alone {rates[1]}, `anychan predict` {rates[2]}, which is {_spread(predict_shares(rows))} of what the two "
        f"allow one after the other. Peak memory: {memory}, {memory_growth(rows):.3f} times as much."
    )


def growth() -> str:
    """Slopes of time."""
    rows = _load("growth-cpu")["rows"]
    lines = []
    for name, axis in AXES.items():
        of_axis = select(rows, axis=name, training=False)
        if not of_axis:
            continue
        points = ", ".join(f"{row['point']}: {row['ms']:.1f}" for row in of_axis)
        slopes = [f"{slope(rows, axis=name, training=training):.2f}" for training in (False, True)]
        lines.append([axis.title, points, *slopes])
    return markdown_table(["what grows", "forward, ms", "slope, forward", "slope, training"], lines)


def backends() -> str:
    """How often each backend is the fastest."""
    rows = _load("dynamic_conv-cpu")["rows"]
    lines = []
    for dtype in dict.fromkeys(row["dtype"] for row in rows):
        for training in (True, False):
            of_kind = [row for row in select(rows, dtype=dtype) if row["shape"]["training"] == training]
            found = [row["milliseconds"] for row in of_kind]
            names = list(found[0])
            fastest = [min(times, key=times.__getitem__) for times in found]
            slower = [statistics.geometric_mean(times[name] / min(times.values()) for times in found) for name in names]
            cells = [f"{fastest.count(name)}, {ratio:.2f}×" for name, ratio in zip(names, slower, strict=True)]
            lines.append([dtype, "forward and backward" if training else "forward", str(len(found)), *cells])
    titles = ["number type", "passes", "shapes"]
    names = list(rows[0]["milliseconds"]) if rows else []
    return markdown_table([*titles, *(f"`{name}`" for name in names)], lines)


SPEED_TABLES: dict[str, Callable[[], str]] = {
    "speed_front": front,
    "speed_claims": promises,
    "speed_conv": convolutions,
    "speed_memory": memory,
    "speed_networks": networks,
    "speed_loops": loops,
    "speed_start": start,
    "speed_predict": prediction,
    "speed_growth": growth,
    "speed_backends": backends,
}
