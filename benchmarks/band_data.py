"""The data sets of `bands.py`: whole, cut into folds, and the channel subsets that every method is tested on."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from anychan.channels import Channel, ChannelSet
from anychan.contract import ResizeRule
from anychan.data.channels_file import sidecar
from anychan.data.dataset import ImageData, Split, load_data
from anychan.encoding import Encoding
from anychan.presets import RGB, SENTINEL2
from anychan.recipe import DataConfig

__all__ = [
    "SOURCE_A",
    "SOURCE_B",
    "Whole",
    "draws",
    "folds",
    "load_cells",
    "load_eurosat",
    "load_samson",
    "subset_groups",
    "two_sources",
]

Array = npt.NDArray[Any]
EUROSAT_ORDER = [band for band in SENTINEL2.identities if band != "sentinel2:B8A"] + ["sentinel2:B8A"]
SOURCE_A = ("B02", "B03", "B04", "B08", "B11", "B12")
SOURCE_B = ("B03", "B04", "B05", "B06", "B07", "B8A")
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Whole:
    """A data set before any split.

    Args:
        name: of the data set.
        images: (N, H, W, C), raw.
        labels: (N,) from 0.
        channels: the C channels.
        classes: names by label.
        few: the subset that stands for an ordinary camera or one stain.
        place: split → rows, where the data set brings its own.
        ids: (N,) what tells an image from the others in every repeat; default: its row.
    """

    name: str
    images: Array
    labels: npt.NDArray[np.int64]
    channels: ChannelSet
    classes: tuple[str, ...]
    few: tuple[str, ...]
    place: dict[str, list[int]] | None = None
    ids: tuple[int, ...] = ()

    def part(self, rows: Sequence[int], names: Sequence[str] | None = None) -> Split:
        """Some images, with all channels or some."""
        chosen, index = self.images[list(rows)], None
        if names is not None:
            chosen = np.ascontiguousarray(chosen[..., list(self.channels.indices(names))])
        labels = torch.from_numpy(self.labels[list(rows)])
        return Split(chosen, labels, tuple(map(str, rows)), index)

    def named(self, place: dict[str, list[int]]) -> dict[str, str]:
        """The ids of validation and test images, with spaces between."""
        ids = self.ids or range(len(self.labels))
        return {split: " ".join(str(ids[row]) for row in place[split]) for split in ("val", "test")}

    def data(self, splits: dict[str, list[int]]) -> ImageData:
        """The images of one fold."""
        return ImageData(
            {self.name: {split: self.part(rows) for split, rows in splits.items()}},
            self.channels,
            (Encoding(),) * len(self.channels),
            self.classes,
            ResizeRule(self.images.shape[1]),
            "refuse",
        )


def load_eurosat(path: str | Path, size: int) -> Whole:
    """All 200 tiles, 13 bands, resized."""
    config = DataConfig(path=str(path), channels=EUROSAT_ORDER, size=size)
    data = load_data(config, seed=0)
    parts = [data.splits[split] for split in SPLITS]
    names = [name for part in parts for name in part.names]
    order = sorted(range(len(names)), key=lambda row: names[row])
    images = np.concatenate([part.images for part in parts])[order]
    labels = torch.cat([part.labels for part in parts]).numpy()[order]
    return Whole("eurosat", images, labels, data.channels, data.classes, ("B04", "B03", "B02"))


def load_cells(path: str | Path, *, background: bool) -> Whole:
    """The four large classes of the cell cycle; `background` False subtracts each cell's own, a stain each.

    The background is the median of the outermost two pixels; what lies below it becomes 0.
    """
    found = np.load(path)
    keep = np.isin(found["y"], range(4))
    images = np.ascontiguousarray(np.moveaxis(found["x"][keep], 1, -1))
    if not background:
        border = np.ones(images.shape[1:3], bool)
        border[2:-2, 2:-2] = False
        level = np.median(images[:, border], axis=1)[:, None, None, :]
        images = np.maximum(images - level, 0).astype(np.uint16)
    channels = ChannelSet(Channel(str(name), "imaging-flow-cytometer") for name in found["channels"])
    labels = found["y"][keep].astype(np.int64)
    name = "cells" if background else "cells, background removed"
    return Whole(name, images, labels, channels, tuple(map(str, found["classes"][:4])), ("Ch4",))


def load_samson(path: str | Path, seed: int) -> Whole:
    """Patches of 9×9 pixels of the scene, 156 bands; no two splits share a pixel.

    RGB are the bands nearest to the wavelengths of anychan's R, G and B.
    """
    with tempfile.TemporaryDirectory() as folder:  # the channels file lies beside the scene, whose folder is not ours
        scene = Path(folder) / "samson.mat"
        scene.symlink_to(Path(path).absolute())
        sidecar(scene).write_text("channels: {sensor: samson, count: 156, wavelengths_nm: [401, 889]}\n")
        shares = {"val_fraction": 0.2, "test_fraction": 0.3}
        config = DataConfig(path=str(scene), cube="Y", labels="A", patch=9, patch_stride=3, size=9, **shares)  # type: ignore[arg-type]
        data = load_data(config, seed=seed)
    parts = [data.splits[split] for split in SPLITS]
    ends = np.cumsum([0, *map(len, parts)])
    place = {split: list(range(ends[i], ends[i + 1])) for i, split in enumerate(SPLITS)}
    centres = np.array([channel.wavelength_nm for channel in data.channels], float)
    nearest = [data.channels[int(np.abs(centres - colour.wavelength_nm).argmin())].name for colour in RGB]
    images = np.concatenate([part.images for part in parts])
    labels = torch.cat([part.labels for part in parts]).numpy()
    corners = [map(int, name.split(",")) for part in parts for name in part.names]
    ids = tuple(1000 * top + left for top, left in corners)  # the draw of the splits differs from seed to seed
    return Whole("samson", images, labels, data.channels, data.classes, tuple(nearest), place, ids)


def folds(labels: Array, *, count: int, seed: int, val_share: float) -> list[dict[str, list[int]]]:
    """Stratified cross-validation: each image is tested in one of `count` folds.

    Args:
        labels: (N,).
        count: number of folds.
        seed: for the partition.
        val_share: of a fold's size, taken from the training images of each class.
    """
    generator = np.random.default_rng(seed)
    blocks: list[list[int]] = [[] for _ in range(count)]
    held: list[list[int]] = [[] for _ in range(count)]
    for label in np.unique(labels):
        rows = generator.permutation(np.flatnonzero(labels == label)).tolist()
        cuts = [rows[place::count] for place in range(count)]
        for fold, cut in enumerate(cuts):
            blocks[fold] += cut
            following = cuts[(fold + 1) % count]
            held[fold] += following[: max(1, round(val_share * len(following)))]
    found = []
    for test, val in zip(blocks, held, strict=True):
        train = sorted(set(range(len(labels))) - set(test) - set(val))
        found.append({"train": train, "val": sorted(val), "test": sorted(test)})
    return found


def draws(channels: ChannelSet, size: int, count: int) -> list[tuple[str, ...]]:
    """The same seeded random subsets of one size for every method, none twice."""
    generator = np.random.default_rng(5)
    found: list[tuple[str, ...]] = []
    while len(found) < count:
        drawn = tuple(channels.names[i] for i in sorted(generator.permutation(len(channels))[:size]))
        found += [drawn] * (drawn not in found)
    return found


def subset_groups(whole: Whole) -> dict[str, list[tuple[str, ...]]]:
    """The subsets that a method is tested on; of many channels, a few of each kind."""
    names, count = whole.channels.names, len(whole.channels)
    some = names if count <= 16 else tuple(names[i] for i in np.linspace(0, count - 1, 12).round().astype(int))
    groups: dict[str, list[tuple[str, ...]]] = {
        "all": [names],
        "few": [whole.few],
        "leave_one_out": [tuple(name for name in names if name != left) for left in some],
        "single": [(name,) for name in some],
    }
    if count > 3:
        groups["half"] = draws(whole.channels, count // 2, 20)
    else:
        groups["half"] = list(combinations(names, 2))
    return groups


def two_sources(whole: Whole, splits: dict[str, list[int]], seed: int, *, both: bool) -> ImageData:
    """Half of the training tiles as source A sees them, a quarter of the other half as B does; tested as B does.

    Args:
        whole: EuroSAT.
        splits: one fold's.
        seed: for who goes where.
        both: with source A, or B alone.
    """
    generator = np.random.default_rng(seed)
    first, labelled = [], []
    for label in np.unique(whole.labels):
        rows = generator.permutation([row for row in splits["train"] if whole.labels[row] == label]).tolist()
        first += rows[: len(rows) // 2]
        second = rows[len(rows) // 2 :]
        labelled += second[: max(1, len(second) // 4)]
    names = {"a": SOURCE_A, "b": SOURCE_B}
    wanted = [name for name in whole.channels.names if name in SOURCE_B or (both and name in SOURCE_A)]
    channels = whole.channels.select(wanted)
    rows_of = {
        "a": {"train": sorted(first), "val": [], "test": []},
        "b": {"train": sorted(labelled), "val": splits["val"], "test": splits["test"]},
    }
    sources = {
        source: {
            split: replace(whole.part(rows, names[source]), index=channels.indices(names[source]))
            for split, rows in rows_of[source].items()
        }
        for source in ("a", "b")[0 if both else 1 :]
    }
    rule = ResizeRule(whole.images.shape[1])
    return ImageData(sources, channels, (Encoding(),) * len(channels), whole.classes, rule, "refuse", "wavelength")
