"""The table and the picture of docs/depth.md, measured on the networks themselves."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch

from anychan.models.catalog import CATALOG, create_model
from anychan.profiling.depth import Depth, effective_depth
from anychan.report.depth_plot import plot_depths
from anychan.report.tables import markdown_table

__all__ = ["DEPTH_PICTURES", "DEPTH_TABLES", "digest", "draw"]

DEPTH_PICTURES = {"depth": ("wide_cnn4", "resnet34")}


@cache
def _depth(name: str) -> Depth:
    """Of a network of the catalogue, at its source's size."""
    spec = CATALOG[name]
    with torch.device("meta"):
        model = create_model(name, num_classes=spec.num_classes)
    return effective_depth(model, (1, 3, spec.size, spec.size))


def depths() -> str:
    """The catalogue."""
    rows = []
    for name in CATALOG:
        depth = _depth(name)
        figures = (depth.features, depth.features_with_gates, depth.classifier, depth.weighted_modules)
        rows.append([f"`{name}`", *map(str, figures)])
    return markdown_table(["network", "feature layers", "with gates", "classifier", "weighted modules"], rows)


def digest(name: str) -> str:
    """Fingerprint of what a picture shows; the PNG carries it, so that a stale one is found."""
    shown = {network: _depth(network).to_dict() for network in DEPTH_PICTURES[name]}
    return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()


def draw(name: str, folder: Path) -> Path:
    """Draw one picture into a folder."""
    path = folder / f"{name}.png"
    shown = {network: _depth(network) for network in DEPTH_PICTURES[name]}
    plot_depths(shown, path, metadata={"Source": digest(name)})
    return path


DEPTH_TABLES: dict[str, Callable[[], str]] = {"depths": depths}
