"""What each network of `shallow.py` costs: depth, parameters, MACs, and the latency of one image."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from typing import Any

import torch
from results_file import claim
from shallow_systems import SYSTEMS
from torch import nn

from anychan.models.base import AnyChannelModel
from anychan.models.catalog import create_model
from anychan.profiling.depth import effective_depth
from anychan.profiling.latency import Latency, latency_ratios, measure_latency
from anychan.profiling.macs import profile

__all__ = ["cost_row", "fastest_row", "latencies", "latency_claim", "latency_rows"]

Rows = list[dict[str, Any]]
ROUNDS = 200


def _network(system: str, classes: int) -> AnyChannelModel:
    chosen = SYSTEMS[system]
    torch.manual_seed(0)
    return create_model(chosen.model, num_classes=classes, options=chosen.options).eval()


def cost_row(system: str, *, size: int, classes: int) -> dict[str, Any]:
    """A network's counts for one image."""
    model, shape = _network(system, classes), (1, 3, size, size)
    counts, depth = profile(model, shape), effective_depth(model, shape)
    found = {"kind": "cost", "system": system, "size": size, "classes": classes}
    found |= {"params": counts.params, "macs": counts.macs, "features": depth.features}
    return {
        **found,
        "features_with_gates": depth.features_with_gates,
        "classifier": depth.classifier,
        "weighted_modules": depth.weighted_modules,
    }


def latency_rows(systems: Sequence[str], *, size: int, classes: int, **options: Any) -> Rows:
    """One row for each network, engine and number of threads.

    Weights are fresh, but for one scale of each batch norm, which is negative, as training makes some: where there is
    one, batch norm is not folded past max pooling.

    Args:
        systems: of `SYSTEMS`, all timed in turns.
        size: pixels, but for those that need more.
        classes: outputs.
        options: of `measure_latency`.
    """
    sizes = {system: max(size, SYSTEMS[system].least) for system in systems}
    models = {name: _with_negative_scales(_network(name, classes)).for_channels(["R", "G", "B"]) for name in systems}
    shapes = {name: (1, 3, sizes[name], sizes[name]) for name in systems}
    found = measure_latency(models, shapes, **{"rounds": ROUNDS, **options})
    return [
        {
            "kind": "latency",
            "system": row.model,
            "size": sizes[row.model],
            "processor": f"{platform.machine()}, {os.cpu_count()} cores",
            **{key: value for key, value in row.to_dict().items() if key != "model"},
            "times_ms": [round(value, 4) for value in row.times_ms],
        }
        for row in found
    ]


@torch.no_grad()
def _with_negative_scales(model: AnyChannelModel) -> AnyChannelModel:
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.weight[0] = -1
    return model


def latencies(rows: Rows) -> list[Latency]:
    """As `measure_latency` gave them."""
    names = ("engine", "threads", "cold_start_ms", "warm_up", "images_per_s")
    return [
        Latency(model=row["system"], times_ms=tuple(row["times_ms"]), **{name: row[name] for name in names})
        for row in rows
        if row["kind"] == "latency"
    ]


def fastest_row(rows: Rows, system: str, *, threads: int) -> dict[str, Any] | None:
    """A network's row of the fastest engine; `None` where it was not timed."""
    found = [row for row in rows if (row["kind"], row["system"], row.get("threads")) == ("latency", system, threads)]
    return min(found, key=lambda row: row["p50_ms"], default=None)


def latency_claim(rows: Rows, ours: str, theirs: str) -> list[dict[str, Any]]:
    """Our time for one image over theirs, each on its fastest engine, at the worse number of threads."""
    timed, imagenet = latencies(rows), "resnet34_7x7"
    if not {ours, theirs, imagenet} <= {row.model for row in timed}:
        return []
    ratios = latency_ratios(timed, ours, theirs)
    worst = max(ratios, key=lambda found: found.median)
    beside = max(found.median for found in latency_ratios(timed, ours, imagenet))
    return [
        {
            **claim("shallow4_latency_over_resnet34", worst.median, "<=", 0.334),
            "ours": ours,
            "theirs": theirs,
            "threads": worst.threads,
            "engines": list(worst.engines),
            "quartiles": list(worst.quartiles),
            "by_threads": {str(found.threads): found.median for found in ratios},
            "over_imagenet_stem": beside,
        }
    ]
