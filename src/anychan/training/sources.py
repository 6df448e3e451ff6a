"""What is told and kept of each source of a run: its channels, its statistics, and how it differs from the others."""

from __future__ import annotations

from typing import Any

from anychan.contract import Contract
from anychan.data.dataset import ImageData
from anychan.data.drift import input_warnings

__all__ = ["source_facts", "source_warnings"]


def source_facts(data: ImageData) -> dict[str, dict[str, Any]]:
    """Number of training images, and mean and standard deviation of each channel, by source, in raw values."""
    facts = {}
    for name in data.sources:
        own = data.source(name)
        channels = {
            label: {"mean": float(mean), "std": float(std)}
            for label, mean, std in zip(own.channels.labels, own.statistics.mean, own.statistics.std, strict=True)
        }
        facts[name] = {"images": own.count("train"), "channels": channels}
    return facts


def source_warnings(contract: Contract, data: ImageData) -> list[str]:
    """A sentence for each channel of a source that is unlike the same channel of all sources together."""
    if len(data.sources) == 1:
        return []
    found = []
    for name in data.sources:
        own = data.source(name)
        found += [f"{name}: {text}" for text in input_warnings(contract, own.statistics, channels=own.channels)]
    return found
