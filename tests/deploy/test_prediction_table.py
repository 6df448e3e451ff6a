import csv
import io
import json
from pathlib import Path

import numpy as np

from anychan.deploy.classification import Classification
from anychan.deploy.classifier import Prediction
from anychan.deploy.prediction_table import open_table
from tests.scenes import scene_model

CONTRACT = scene_model().contract
COUNT = len(CONTRACT.classes)
SOME = np.linspace(0.1, 0.9, COUNT).astype(np.float32)
KNOWN = Classification("a, b.tif", CONTRACT.classes, SOME / SOME.sum(), ("B02", "B08"), ("B03", "B04"))
EMPTY = Classification("c.tif", CONTRACT.classes, None, ("B02",), ())


def written(out: str | None, **asked: object) -> str:
    file = io.StringIO()
    table = open_table(file, None if out is None else Path(out), CONTRACT, Prediction(**asked))  # type: ignore[arg-type]
    table.add("a, b.tif", KNOWN)
    table.add("c.tif", EMPTY)
    return file.getvalue()


def test_csv_has_a_cell_for_everything_asked_for() -> None:
    assert written(None) == written("x.csv")
    first, second = csv.DictReader(io.StringIO(written("x.csv", top_k=2, probabilities=True)))
    best, next_best = KNOWN.top(2)
    assert (first["sample"], first["channels"], first["absent"]) == ("a, b.tif", "B02 B08", "B03 B04")
    assert (first["class"], first["class_2"]) == (best[0], next_best[0])
    assert first["confidence_2"] == f"{next_best[1]:.4f}"
    assert [float(first[f"p({name})"]) for name in CONTRACT.classes] == [round(float(p), 4) for p in SOME / SOME.sum()]
    assert {value for key, value in second.items() if key not in ("sample", "channels")} == {""}


def test_json_lines_are_objects_with_numbers_in_full() -> None:
    text = written("x.jsonl", top_k=2, probabilities=True)
    assert text == written(None, top_k=2, probabilities=True, format="jsonl")
    first, second = map(json.loads, text.splitlines())
    seen = {"channels": ["B02"], "absent": []}
    assert first["top"] == [{"class": name, "confidence": value} for name, value in KNOWN.top(2)]
    assert list(first["probabilities"].values()) == (SOME / SOME.sum()).tolist()
    assert (first["channels"], first["absent"], first["absent_by"]) == (["B02", "B08"], ["B03", "B04"], CONTRACT.stem)
    assert second == {"sample": "c.tif", "class": None, "confidence": None, "top": [], **seen}
