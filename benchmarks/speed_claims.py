"""What `speed.py` promises, computed from its rows."""

from __future__ import annotations

import math
import statistics
from typing import Any

from results_file import claim, select
from speed_conv import LAYERS, PEERS, ratios

__all__ = ["claims", "loop_shares", "memory_growth", "pair_ratios", "predict_shares"]

Rows = list[dict[str, Any]]
Claims = list[dict[str, Any]]
LOOP_BOUNDS = {("resnet34", 64): 0.95, ("wide_cnn4", 64): 0.95, ("baseline_cnn", 32): 0.8}


def claims(rows: Rows) -> Claims:
    """The promises; one whose rows are not there yet is left out."""
    return [*_conv_claims(rows), *_pair_claims(rows), *_loop_claims(rows), *_predict_claims(rows)]


def _median_claim(name: str, values: list[float], op: str, bound: float) -> dict[str, Any]:
    quartiles = statistics.quantiles(values, n=4)[::2] if len(values) > 1 else values * 2
    return {**claim(name, statistics.median(values), op, bound), "quartiles": quartiles, "pairs": len(values)}


def _conv_claims(rows: Rows) -> Claims:
    found = ratios(rows)
    if len(found) < len(LAYERS):
        return []
    over_static = statistics.geometric_mean(shape["over"]["static"] for shape in found)
    # the fastest peer has the largest ratio of ours to it
    over_peer = [max(shape["over"][peer] for peer in PEERS) for shape in found]
    return [
        claim("dynamic_conv_over_static", over_static, "<=", 2.0),
        claim("dynamic_conv_over_best_peer", statistics.geometric_mean(over_peer), "<=", 1.0),
        claim("dynamic_conv_over_best_peer_worst_shape", max(over_peer), "<=", 1.03),
    ]


def pair_ratios(rows: Rows, pair: str, precision: str) -> list[float]:
    """Our time over theirs, round by round."""
    found = select(rows, kind="pair", pair=pair, precision=precision)
    return [ours / theirs for row in found for ours, theirs in zip(row["ours_ms"], row["theirs_ms"], strict=True)]


def _pair_claims(rows: Rows) -> Claims:
    """Of the precisions that a promise is about, the one in which ours does worse.

    Two promises are about float32 alone: DynamicResNet12's, because single layers are timed in it, and the stem's,
    because predictions run in it.
    """
    found = []
    for pair, name, op, bound, about in (
        ("dynamic_resnet12", "dynamic_resnet12_speedup", ">=", 2.0, {"float32"}),
        ("any_channel", "any_channel_over_plain", "<=", 1.03, {"float32", "bf16"}),
        ("one_band_stem", "one_band_stem_over_full", "<=", 0.25, {"float32"}),
    ):
        counted = about & {row["precision"] for row in select(rows, kind="pair", pair=pair)}
        by_precision = [pair_ratios(rows, pair, precision) for precision in sorted(counted)]
        if by_precision:
            worst = max(by_precision, key=statistics.median)
            values = [1 / value for value in worst] if op == ">=" else worst
            found.append(_median_claim(name, values, op, bound))
    return found


def loop_shares(rows: Rows, model: str, size: int, batch_size: int, loop: str = "loop") -> list[float]:
    """Bare time over a loop's, pair by pair; `loop` is `"loop"`, ours, or `"plain"`."""
    found = select(rows, kind="loop", model=model, size=size, batch_size=batch_size)
    return [row["bare_seconds"] / row[f"{loop}_seconds"] for row in found if f"{loop}_seconds" in row]


def _loop_claims(rows: Rows) -> Claims:
    found = []
    for (model, size), bound in LOOP_BOUNDS.items():
        shares = loop_shares(rows, model, size, 128)
        if shares:
            found.append(_median_claim(f"loop_share_{model}_{size}", shares, ">=", bound))
    return found


def predict_shares(rows: Rows) -> list[float]:
    """The command's throughput over 1 / (1/decode-only + 1/compute-only), round by round."""
    return [
        (row["decode_seconds"] + row["compute_seconds"]) / row["predict_seconds"]
        for row in select(rows, kind="predict")
    ]


def memory_growth(rows: Rows) -> float:
    """Peak memory on the larger folder over that on the smaller one; NaN without rows."""
    peaks = [row["peak_mib"] for row in sorted(select(rows, kind="predict_memory"), key=lambda row: row["files"])]
    return peaks[-1] / peaks[0] if len(peaks) > 1 else math.nan


def _predict_claims(rows: Rows) -> Claims:
    found, shares, growth = [], predict_shares(rows), memory_growth(rows)
    if shares:
        found.append(_median_claim("predict_share", shares, ">=", 0.85))
    if not math.isnan(growth):
        found.append(claim("predict_memory_growth", growth, "<=", 1.05))
    return found
