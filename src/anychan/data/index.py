"""Which image belongs to which split and class: from split files, or from one folder a class."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from anychan.data.source import Source
from anychan.errors import DataError
from anychan.randomness import derive_seed

__all__ = ["IMAGE_SUFFIXES", "SPLITS", "DataIndex", "Sample", "index_images"]

SPLITS = ("train", "val", "test")
IMAGE_SUFFIXES = (".jpeg", ".jpg", ".png", ".tif", ".tiff")


@dataclass(frozen=True)
class Sample:
    """One image: its file's name inside the source, and its label."""

    name: str
    label: int


@dataclass(frozen=True)
class DataIndex:
    """All images of a source.

    Args:
        splits: `"train"`, `"val"` and `"test"`, each with at least one image.
        classes: class names by label.
    """

    splits: dict[str, tuple[Sample, ...]]
    classes: tuple[str, ...]


def index_images(
    source: Source,
    *,
    num_classes: int | None = None,
    val_fraction: float = 0.15,
    test_fraction: float = 0.15,
    seed: int = 0,
) -> DataIndex:
    """Find the images of a source.

    Split files (`train.txt`, `val.txt`, `test.txt`: `path label` lines; `classes.txt`, `label … name` lines, is
    optional) win over folders. Folders are `train/<class>/…`, `val/<class>/…`, `test/<class>/…`, or `<class>/…` alone,
    which is then split by class from the seed.

    Args:
        source: the folder or zip.
        num_classes: keep only labels below this.
        val_fraction: share of each class for validation, where the source has no splits.
        test_fraction: share of each class for testing, where the source has no splits.
        seed: for that split.

    Raises:
        DataError: naming the file and line, when something cannot be used.
    """
    names = source.names()
    if any(f"{split}.txt" in names for split in SPLITS):
        index = _from_split_files(source, names)
    else:
        index = _from_folders(source, names, val_fraction, test_fraction, seed)
    if num_classes is not None:
        index = _first_classes(source, index, num_classes)
    for split in SPLITS:
        if not index.splits[split]:
            raise DataError(f"{source.path}: the {split} split holds no image")
    return index


def _from_split_files(source: Source, names: list[str]) -> DataIndex:
    classes = _read_classes(source) if "classes.txt" in names else None
    splits: dict[str, tuple[Sample, ...]] = {}
    for split in SPLITS:
        if f"{split}.txt" not in names:
            there = next(f"{other}.txt" for other in SPLITS if f"{other}.txt" in names)
            raise DataError(f"{source.path}: there is a {there} but no {split}.txt beside it")
        limit = len(classes) if classes is not None else None
        splits[split] = tuple(_read_split(source, f"{split}.txt", limit))
        if not splits[split]:
            raise DataError(f"{source.path}/{split}.txt: the split holds no image")
        if classes is None:  # the training labels say how many classes there are
            found = {sample.label for sample in splits[split]}
            missing = next(label for label in range(len(found) + 1) if label not in found)
            if missing < len(found):
                raise DataError(
                    f"{source.path}/train.txt: no image has label {missing}, but one has label {max(found)}; number "
                    "the classes from 0 without gaps, or name them all in classes.txt"
                )
            classes = tuple(str(label) for label in range(len(found)))
    assert classes is not None
    return DataIndex(splits, classes)


def _read_classes(source: Source) -> tuple[str, ...]:
    found: dict[int, str] = {}
    for number, line in enumerate(source.read_text("classes.txt").splitlines(), 1):
        if not line.strip():
            continue
        label, _, name = line.strip().partition(" ")
        if not label.isdecimal() or not name:
            raise DataError(f"{source.path}/classes.txt line {number}: {line!r} is not 'label name'")
        if int(label) in found:
            raise DataError(f"{source.path}/classes.txt line {number}: label {label} is there twice")
        found[int(label)] = name.strip()
    if sorted(found) != list(range(len(found))):
        raise DataError(f"{source.path}/classes.txt: labels must run from 0 to {len(found) - 1}, each once")
    return tuple(found[label] for label in range(len(found)))


def _read_split(source: Source, file: str, num_classes: int | None) -> list[Sample]:
    samples = []
    for number, line in enumerate(source.read_text(file).splitlines(), 1):
        if not line.strip():
            continue
        where = f"{source.path}/{file} line {number}"
        *before, label = line.rsplit(None, 1)  # the path may hold spaces
        name = before[0] if before else ""
        if not name or not label.removeprefix("-").isdecimal():
            raise DataError(f"{where}: {line.strip()!r} has no label; write 'path label' with a whole number")
        if int(label) < 0 or (num_classes is not None and int(label) >= num_classes):
            allowed = "0 or more" if num_classes is None else f"0 to {num_classes - 1}"
            raise DataError(f"{where}: label {label} is out of range; labels are {allowed}")
        samples.append(Sample(name.strip(), int(label)))
    return samples


def _from_folders(source: Source, names: list[str], val_fraction: float, test_fraction: float, seed: int) -> DataIndex:
    images = [PurePosixPath(name) for name in names if name.lower().endswith(IMAGE_SUFFIXES)]
    if not images:
        known = ", ".join(IMAGE_SUFFIXES)
        raise DataError(f"{source.path}: there is no train.txt and no image ({known}) here")
    nested = next((name for name in names if name.endswith(f"/{SPLITS[0]}.txt")), None)
    if nested is not None:  # never draw a split of our own where there is one
        raise DataError(f"{source.path}: {nested} does not lie at the top; give or zip the content of its folder")
    prefix = ""  # a single folder around everything
    while len({path.parts[0] for path in images}) == 1 and all(len(path.parts) > 2 for path in images):
        prefix += f"{images[0].parts[0]}/"
        images = [path.relative_to(path.parts[0]) for path in images]
    split_folders = _has_split_folders(source, {path.parts[0] for path in images})
    by_class: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for path in images:
        parts = path.parts[1:] if split_folders else path.parts
        if len(parts) < 2:
            raise DataError(f"{source.path}/{prefix}{path}: the image lies in no class folder; write <class>/<image>")
        by_class[parts[0]][path.parts[0] if split_folders else "all"].append(f"{prefix}{path}")
    if len(by_class) < 2:
        raise DataError(f"{source.path}: there is one class folder, {next(iter(by_class))!r}; two are the least")
    classes = tuple(sorted(by_class))
    splits: dict[str, list[Sample]] = {split: [] for split in SPLITS}
    for label, name in enumerate(classes):
        groups: dict[str, list[str]] = by_class[name]
        if split_folders and "train" not in groups:
            raise DataError(f"{source.path}: class {name!r} has no training image")
        if not split_folders:
            groups = _split_class(groups["all"], val_fraction, test_fraction, derive_seed(seed, "split", label))
        for split, files in groups.items():
            splits[split] += [Sample(file, label) for file in sorted(files)]
    return DataIndex({split: tuple(samples) for split, samples in splits.items()}, classes)


def _has_split_folders(source: Source, top: set[str]) -> bool:
    if "train" not in top:
        return False
    if top != set(SPLITS):
        found = ", ".join(sorted(top))
        raise DataError(
            f"{source.path}: beside the folder train there must be val and test alone, but there is {found}"
        )
    return True


def _split_class(files: list[str], val_fraction: float, test_fraction: float, seed: int) -> dict[str, list[str]]:
    order = [files[i] for i in np.random.default_rng(seed).permutation(len(files))]
    test = round(test_fraction * len(order))
    val = round(val_fraction * len(order))
    return {"test": order[:test], "val": order[test : test + val], "train": order[test + val :]}


def _first_classes(source: Source, index: DataIndex, num_classes: int) -> DataIndex:
    if num_classes > len(index.classes):
        raise DataError(f"{source.path}: {num_classes} classes were asked for, but there are {len(index.classes)}")
    splits = {
        split: tuple(sample for sample in samples if sample.label < num_classes)
        for split, samples in index.splits.items()
    }
    return DataIndex(splits, index.classes[:num_classes])
