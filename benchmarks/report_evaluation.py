"""What is measured on each trained row of `reports.py`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Any

import torch

from anychan.channels import ChannelSet
from anychan.data.batches import EvalBatches
from anychan.data.dataset import ImageData
from anychan.evaluation.accuracy import pack_bits
from anychan.evaluation.run import evaluate_run, untrained_modules
from anychan.evaluation.subsets import SubsetRow
from anychan.models.base import AnyChannelModel
from anychan.models.catalog import create_model, with_changes
from anychan.models.prune import prune_kernels
from anychan.nn.dynamic_conv import DynamicConv2d
from anychan.profiling.macs import profile
from anychan.recipe import Recipe

__all__ = ["evaluate_row"]

Found = dict[str, Any]


def evaluate_row(row: str, table: str, model: AnyChannelModel, data: ImageData, recipe: Recipe) -> Iterator[Found]:
    """The row's own figures first, then rows that need no training of their own."""
    trained_on = data.channels.select(recipe.train.channels or data.channels)
    subsets: list[ChannelSet] | None = None if table in ("1A", "count") or row.endswith("_rgb") else [trained_on]
    report = evaluate_run(model, data, subsets=subsets)
    found: Found = {"subsets": [_subset(entry) for entry in report.rows]}
    found["test"] = _subset(report.row(trained_on.names))
    if table == "count":
        found["subsets_own"] = [_subset(entry) for entry in evaluate_run(model, data, batch_norm="own").rows]
    if recipe.train.channel_drop:
        dropped = evaluate_run(model, data, subsets=[data.channels], channel_drop=recipe.train.channel_drop)
        found["test_dropped"] = _subset(dropped.rows[0])
    if table in ("wide", "dynamic"):
        found |= {"val": _accuracy(model, data, "val"), **_cost(model, _base(model, recipe), recipe.data.size)}
    yield found
    if row.startswith("report1/dynamic_cnn"):
        yield _generators(row, model, data, recipe)
    if row == "suggestions/dynamic_resnet12":
        yield from _selections(row, model, data, recipe)
    if row == "suggestions/dynamic_resnet12_top2":
        yield _pruned(row, model, data, recipe)


def _subset(entry: SubsetRow) -> Found:
    return {**entry.to_dict(), "correct": pack_bits(entry.correct)}


def _accuracy(model: AnyChannelModel, data: ImageData, split: str) -> Found:
    return _subset(evaluate_run(model, data, split=split, subsets=[data.channels]).rows[0])


def _generators(row: str, model: AnyChannelModel, data: ImageData, recipe: Recipe) -> Found:
    """Report 1's generators fed as many channels as each is for, and which of them still are as they were drawn."""
    stem = with_changes(model, stem="generator_per_count")
    modules = untrained_modules(model, data, recipe)
    counts = range(1, len(data.channels) + 1)
    untrained = [count for count in counts if f"stem.conv.generators.{count - 1}" in modules]
    report = evaluate_run(stem, data, subsets=sorted(data.channels.subsets(), key=len))
    entries = [{**_subset(entry), "untrained": len(entry.channels) in untrained} for entry in report.rows]
    return {"row": f"{row}/generators", "kind": "generators", "subsets": entries, "untrained_counts": untrained}


def _selections(row: str, model: AnyChannelModel, data: ImageData, recipe: Recipe) -> Iterator[Found]:
    """Kernel selection switched on after training."""
    for top_k in (3, 2, 1):
        selected = with_changes(model, options={"top_k": top_k})
        yield _variant(f"{row}/top{top_k}", f"{top_k} of 4 kernels, chosen after training", selected, data, recipe, row)


def _pruned(row: str, model: AnyChannelModel, data: ImageData, recipe: Recipe) -> Found:
    """Kernels that no training image chooses are taken out."""
    device = next(model.parameters()).device
    images = [batch.images.to(device) for batch in EvalBatches(data.splits["train"])]
    smaller = prune_kernels(model, images)
    found = _variant(f"{row}/pruned", "the same, kernels never chosen taken out", smaller, data, recipe, row)
    left = smaller.contract.options["num_kernels"]
    never = sum(module.kernel_shape[0] for module in model.modules() if isinstance(module, DynamicConv2d)) - sum(left)
    return {**found, "kernels_left": left, "kernels_never_chosen": never}


def _variant(name: str, title: str, model: AnyChannelModel, data: ImageData, recipe: Recipe, base: str) -> Found:
    found: Found = {"row": name, "kind": "variant", "title": title, "base": base, "val": _accuracy(model, data, "val")}
    found["test"] = _accuracy(model, data, "test")
    found["subsets"] = [found["test"]]
    return {**found, **_cost(model, _base(model, recipe), recipe.data.size)}


def _base(model: AnyChannelModel, recipe: Recipe) -> AnyChannelModel:
    """The report's own network, whose time is the measure."""
    return create_model(recipe.model.name, num_classes=model.contract.outputs).eval()


@torch.no_grad()
def _cost(model: AnyChannelModel, base: AnyChannelModel, size: int) -> Found:
    """Parameters, MACs of one image, and its time over the base's: the median of 15 interleaved pairs, quartiles."""
    device = next(model.parameters()).device
    base = base.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    image = torch.randint(0, 255, (1, 3, size, size), dtype=torch.uint8, device=device)

    def seconds(network: AnyChannelModel) -> float:
        started = time.perf_counter()
        for _ in range(10):
            network(image)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    seconds(base), seconds(model)
    ratios = sorted(1 / seconds(base) * seconds(model) for _ in range(15))
    found = profile(model, (1, 3, size, size))
    cost = {"params": found.params, "macs": found.macs}
    return {**cost, "time_ratio": statistics.median(ratios), "time_quartiles": [ratios[3], ratios[11]]}
