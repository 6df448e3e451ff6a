"""Which image belongs to which split and class: from split files, a table, or one folder a class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from anychan.data.readers import image_suffixes
from anychan.data.samples_file import SAMPLES_FILE, LabelledSample, read_samples_file
from anychan.data.source import Source
from anychan.data.splits import SPLITS, draw_by_class, draw_by_group
from anychan.errors import DataError
from anychan.recipe import DataConfig

__all__ = ["SPLITS", "DataIndex", "Sample", "build_index", "checked_index", "index_images"]

_DIGITS = 9  # of a label


@dataclass(frozen=True, slots=True)
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
        groups: by sample, the value of `data.group_by`'s column; empty without.
    """

    splits: dict[str, tuple[Sample, ...]]
    classes: tuple[str, ...]
    groups: Mapping[str, str] = field(default_factory=dict)


def index_images(source: Source, config: DataConfig, *, seed: int, samples: Sequence[str] | None = None) -> DataIndex:
    """Find the images of a source.

    Split files (`train.txt`, `val.txt`, `test.txt`: `path label` lines; `classes.txt`, `label … name` lines, is
    optional) win over a table (see `samples_file`), which wins over folders. Folders are `train/<class>/…`,
    `val/<class>/…`, `test/<class>/…`, or `<class>/…` alone. A table without a column `split`, and class folders alone,
    are split by class from the seed, or by group.

    Args:
        source: the folder or zip.
        config: the recipe's data section: shares of the splits, the table's column, the number of classes.
        seed: for splits that the source does not bring along.
        samples: the names of all samples; default: the image files.

    Raises:
        DataError: naming the file and line, when something cannot be used.
    """
    names = source.names()
    if samples is None:
        samples = [name for name in names if name.lower().endswith(image_suffixes())]
    fractions = (config.val_fraction, config.test_fraction)
    split_files = any(f"{split}.txt" in names for split in SPLITS)
    table = None if split_files else read_samples_file(source, samples, config.group_by)
    if config.group_by is not None and table is None:
        raise DataError(f"{source.path}: data.group_by needs a {SAMPLES_FILE} with a column {config.group_by!r} there")
    if split_files:
        index = _from_split_files(source, names)
    elif table is not None:
        index = _from_table(source, table, fractions, seed)
    else:
        index = _from_folders(source, names, samples, fractions, seed)
    return checked_index(index, str(source.path), config.num_classes)


def checked_index(index: DataIndex, where: str, num_classes: int | None) -> DataIndex:
    """An index with the first so many classes alone, no split of which is empty.

    Args:
        index: of all classes.
        where: the source, for messages.
        num_classes: keep only labels below this; default: all.

    Raises:
        DataError: for fewer classes than were asked for, or an empty split.
    """
    if num_classes is not None:
        index = _first_classes(where, index, num_classes)
    for split in SPLITS:
        if not index.splits[split]:
            raise DataError(f"{where}: the {split} split holds no image")
    return index


def build_index(where: str, rows: Iterable[tuple[str, int, str]], classes: Sequence[str]) -> DataIndex:
    """An index in which each split's samples are in the order of label and name.

    Args:
        where: the source, for messages.
        rows: each sample's name, label and split.
        classes: class names by label.

    Raises:
        DataError: for a class with samples, none of which is for training.
    """
    found: dict[str, list[Sample]] = {split: [] for split in SPLITS}
    for name, label, split in sorted(rows, key=lambda row: (row[1], row[0])):
        found[split].append(Sample(name, label))
    held_out = {sample.label for split in SPLITS for sample in found[split]}
    for label in sorted(held_out - {sample.label for sample in found["train"]}):
        raise DataError(f"{where}: class {classes[label]!r} has no training image")
    return DataIndex({split: tuple(samples) for split, samples in found.items()}, tuple(classes))


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
        if not label.isdecimal() or len(label) > _DIGITS or not name:
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
        if not name or not label.removeprefix("-").isdecimal() or len(label) > _DIGITS:
            raise DataError(f"{where}: {line.strip()!r} has no label; write 'path label' with a whole number")
        if int(label) < 0 or (num_classes is not None and int(label) >= num_classes):
            allowed = "0 or more" if num_classes is None else f"0 to {num_classes - 1}"
            raise DataError(f"{where}: label {label} is out of range; labels are {allowed}")
        samples.append(Sample(name.strip(), int(label)))
    return samples


def _from_table(source: Source, table: list[LabelledSample], fractions: tuple[float, float], seed: int) -> DataIndex:
    classes = sorted({row.label for row in table})
    if len(classes) < 2:
        raise DataError(f"{source.path}: {SAMPLES_FILE} has one class, {classes[0]!r}; two are the least")
    table = sorted(table, key=lambda row: row.name)
    labels = [classes.index(row.label) for row in table]
    if table[0].split is not None:
        splits = [str(row.split) for row in table]
    elif table[0].group is not None:
        try:
            splits = draw_by_group(labels, [row.group for row in table], *fractions, seed)
        except DataError as error:
            raise DataError(f"{source.path}: by data.group_by {error}") from None
    else:
        splits = draw_by_class(labels, *fractions, seed)
    names = [row.name for row in table]
    groups = {row.name: row.group for row in table if row.group is not None}
    return replace(build_index(str(source.path), zip(names, labels, splits, strict=True), classes), groups=groups)


def _from_folders(
    source: Source, names: list[str], samples: Sequence[str], fractions: tuple[float, float], seed: int
) -> DataIndex:
    images = [PurePosixPath(name) for name in samples]
    if not images:
        known = ", ".join(image_suffixes())
        raise DataError(f"{source.path}: there is no train.txt, no {SAMPLES_FILE} and no image ({known}) here")
    for file in (f"{SPLITS[0]}.txt", SAMPLES_FILE):
        nested = next((name for name in names if name.endswith(f"/{file}")), None)
        if nested is not None:  # never draw a split of our own where there is one
            raise DataError(f"{source.path}: {nested} does not lie at the top; give or zip the content of its folder")
    prefix = ""  # a single folder around everything
    while len({path.parts[0] for path in images}) == 1 and all(len(path.parts) > 2 for path in images):
        prefix += f"{images[0].parts[0]}/"
        images = [path.relative_to(path.parts[0]) for path in images]
    split_folders = _has_split_folders(source, {path.parts[0] for path in images})
    folders = []  # class, and split where there are folders of splits
    for path in images:
        parts = path.parts[1:] if split_folders else path.parts
        if len(parts) < 2:
            raise DataError(f"{source.path}/{prefix}{path}: the image lies in no class folder; write <class>/<image>")
        folders.append((parts[0], path.parts[0]))
    classes = sorted({name for name, _ in folders})
    if len(classes) < 2:
        raise DataError(f"{source.path}: there is one class folder, {classes[0]!r}; two are the least")
    labels = [classes.index(name) for name, _ in folders]
    splits = [split for _, split in folders] if split_folders else draw_by_class(labels, *fractions, seed)
    whole = [f"{prefix}{path}" for path in images]
    return build_index(str(source.path), zip(whole, labels, splits, strict=True), classes)


def _has_split_folders(source: Source, top: set[str]) -> bool:
    if "train" not in top:
        return False
    if top != set(SPLITS):
        found = ", ".join(sorted(top))
        raise DataError(
            f"{source.path}: beside the folder train there must be val and test alone, but there is {found}"
        )
    return True


def _first_classes(where: str, index: DataIndex, num_classes: int) -> DataIndex:
    if num_classes > len(index.classes):
        raise DataError(f"{where}: {num_classes} classes were asked for, but there are {len(index.classes)}")
    splits = {
        split: tuple(sample for sample in samples if sample.label < num_classes)
        for split, samples in index.splits.items()
    }
    return replace(index, splits=splits, classes=index.classes[:num_classes])
