"""What is told and kept of each source of a run: its channels, its statistics, and how it differs from the others."""

from __future__ import annotations

from typing import Any

from anychan.contract import Contract
from anychan.data.dataset import ImageData
from anychan.data.drift import input_warnings

__all__ = ["source_facts", "source_warnings"]


def source_facts(data: ImageData) -> dict[str, Any]:
    """Of several sources `{"sources": …}`: training images, and mean and standard deviation of each channel, raw."""
    if len(data.sources) == 1:
        return {}
    facts = {}
    for name, (channels, statistics) in data.source_statistics.items():
        rows = zip(channels.labels, statistics.mean.tolist(), statistics.std.tolist(), strict=True)
        own = {label: {"mean": mean, "std": std} for label, mean, std in rows}
        facts[name] = {"images": len(data.sources[name]["train"]), "channels": own}
    return {"sources": facts}


def source_warnings(contract: Contract, data: ImageData) -> list[str]:
    """A sentence for each channel of a source that is unlike the same channel of all sources together."""
    if len(data.sources) == 1:
        return []
    found = []
    for name, (channels, statistics) in data.source_statistics.items():
        found += [f"{name}: {text}" for text in input_warnings(contract, statistics, channels=channels)]
    return found
