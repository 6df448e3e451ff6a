"""`samples.csv`, the table beside the data that labels its samples.

    sample,label,split,plate      # `file` may be written for `sample`; `split` and further columns are optional
    img/a01.tif,mitosis,train,P1

A sample is named by its path inside the data, or by as much of its end as no other sample has, with or without suffix.
Beside a zip the table is called like the zip: `cells.samples.csv` for `cells.zip`. A zip may hold it too.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from anychan.data.channels_file import sidecar
from anychan.data.source import Source
from anychan.data.splits import SPLITS
from anychan.errors import DataError

__all__ = ["SAMPLES_FILE", "LabelledSample", "read_samples_file"]

SAMPLES_FILE = "samples.csv"


@dataclass(frozen=True)
class LabelledSample:
    """One line of the table: the sample's name, its class, and its split and group where the table says."""

    name: str
    label: str
    split: str | None
    group: str | None


def read_samples_file(source: Source, samples: Sequence[str], group_by: str | None) -> list[LabelledSample] | None:
    """The table of a folder or zip; `None` where there is none.

    Args:
        source: the folder or zip.
        samples: the names of all its samples.
        group_by: the column whose groups no split may share.

    Raises:
        DataError: naming the file and line, for a column, sample, label or split that cannot be, or for a group that
            lies in two splits.
    """
    beside = sidecar(source.path, SAMPLES_FILE)
    if beside.is_file():
        where = str(beside)
        try:
            text = beside.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{where}: the file cannot be read as text ({error})") from None
    elif SAMPLES_FILE in source.names():
        where, text = f"{source.path}/{SAMPLES_FILE}", source.read_text(SAMPLES_FILE)
    else:
        return None
    try:
        found = _parse(text, where, _by_ending(samples), group_by)
    except csv.Error as error:
        raise DataError(f"{where}: the table cannot be read ({error})") from None
    if not found:
        raise DataError(f"{where}: the table names no sample")
    return found


def _by_ending(samples: Sequence[str]) -> dict[str, str | None]:
    """Each sample by its path and by each ending of it, with and without suffix; `None` where two samples share one."""
    found: dict[str, str | None] = {}
    for sample in samples:
        path = PurePosixPath(sample)
        for whole in {path, path.with_suffix("")}:
            for start in range(len(path.parts)):
                ending = "/".join(whole.parts[start:])
                found[ending] = None if ending in found else sample
    return found | dict(zip(samples, samples, strict=True))


def _parse(text: str, where: str, samples: Mapping[str, str | None], group_by: str | None) -> list[LabelledSample]:
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff")), skipinitialspace=True)
    columns = [column.strip() for column in next(reader, [])]
    key = "file" if "file" in columns and "sample" not in columns else "sample"
    for column in (key, "label", *([group_by] if group_by else [])):
        if column not in columns:
            raise DataError(f"{where} line 1: there is no column {column!r}; there are {', '.join(columns)}")
    found: dict[str, LabelledSample] = {}
    split_of: dict[str, str] = {}
    for values in reader:
        if not any(value.strip() for value in values):
            continue
        place = f"{where} line {reader.line_num}"
        if len(values) != len(columns):
            raise DataError(f"{place}: the line has {len(values)} values, but there are {len(columns)} columns")
        row = dict(zip(columns, (value.strip() for value in values), strict=True))
        name, split, group = _sample(row[key], place, samples), row.get("split"), row[group_by] if group_by else None
        if name in found:
            raise DataError(f"{place}: sample {row[key]!r} is there twice")
        if not row["label"]:
            raise DataError(f"{place}: sample {row[key]!r} has no label; leave its line out, or name its class")
        if split is not None and split not in SPLITS:
            raise DataError(f"{place}: split is {split!r}, but it must be one of {', '.join(SPLITS)}")
        if group == "":
            raise DataError(f"{place}: sample {row[key]!r} has no {group_by}, by which splits are grouped")
        if group is not None and split is not None and split_of.setdefault(group, split) != split:
            there = f"{split} here and in {split_of[group]} above"
            raise DataError(f"{place}: {group_by} {group!r} is in {there}; keep each in one split")
        found[name] = LabelledSample(name, row["label"], split, group)
    return list(found.values())


def _sample(asked: str, place: str, samples: Mapping[str, str | None]) -> str:
    if asked not in samples:
        raise DataError(f"{place}: there is no sample {asked!r}")
    name = samples[asked]
    if name is None:
        raise DataError(f"{place}: sample {asked!r} could be any of several; write its whole path")
    return name
