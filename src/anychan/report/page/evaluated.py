"""The JSON files that `anychan evaluate` wrote into a run's folder, as a page shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anychan.files import read_json
from anychan.report.page.chart import Absent
from anychan.report.page.front import Sensor, read_sensor
from anychan.report.page.subsets import Matrix, read_matrix
from anychan.report.page.worth import Worth, read_worth

__all__ = ["Evaluated", "read_evaluations"]


@dataclass(frozen=True)
class Evaluated:
    """One evaluation.

    Args:
        file: the JSON file's name.
        how: what was evaluated.
        matrix: accuracy by subset.
        worth: what each channel is worth.
        sensor: the smallest sensor.
    """

    file: str
    how: str
    matrix: Matrix | Absent
    worth: Worth | Absent
    sensor: Sensor | Absent


def read_evaluations(folder: Path, command: str) -> tuple[Evaluated, ...]:
    """Every evaluation in a run's folder, that of the run as it is first; what cannot be read says so.

    Args:
        folder: the run's.
        command: `anychan evaluate RUN`, which makes what is not there.
    """
    files = sorted([*folder.glob("subsets*.json"), *folder.glob("channel-drop*.json")], key=lambda path: path.stem)
    files.sort(key=lambda path: path.stem != "subsets")
    if not files:
        absent = Absent("Subsets of the channels were not evaluated yet.", command)
        return (Evaluated("", "", absent, absent, absent),)
    return tuple(_read(path, command) for path in files)


def _read(path: Path, command: str) -> Evaluated:
    try:
        values = read_json(path)
        worth, matrix = read_worth(values, command), read_matrix(values)
        return Evaluated(path.name, _how(values), matrix, worth, _sensor(values))
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        absent = Absent(f"{path.name} is damaged, or of another anychan; it can be written anew.", command)
        return Evaluated(path.name, "", absent, absent, absent)


def _sensor(values: Mapping[str, Any]) -> Sensor | Absent:
    found = values["smallest_sensor"]
    if found is None:
        return Absent(f"There is no smallest sensor: {values['smallest_sensor_reason']}.")
    full = max(values["subsets"], key=lambda row: len(row["channels"]))
    return read_sensor(found, full["channels"], full["accuracy"])


def _how(values: Mapping[str, Any]) -> str:
    parts = [f"{values['split']} images", f"stem {values['stem']}", f"{values['batch_norm']} batch-norm statistics"]
    parts += ["images and their mirror images"] if values["flip"] else []
    drop = values["channel_drop"]
    return ", ".join(parts + ([f"one channel dropped with probability {drop:g}"] if drop else []))
