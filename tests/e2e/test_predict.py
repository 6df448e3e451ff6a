"""A table of images by the installed command and the package's own model: files, a folder, a zip; CSV, JSON Lines."""

import csv
import io
import json
import zipfile
from pathlib import Path

import pytest

from anychan.deploy.page_examples import demo_tiles
from anychan.deploy.predictor import Predictor
from tests.runs import run_anychan


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor("demo")


@pytest.fixture(scope="module")
def tiles(predictor: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiles")
    demo_tiles(predictor.model.contract, folder)
    return folder


def test_files_and_a_zip_to_standard_output(tiles: Path, predictor: Predictor, tmp_path: Path) -> None:
    first, second, *_ = sorted(tiles.iterdir())
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as packed:
        packed.write(second, "b.tif")
    code, out, err = run_anychan("predict", "demo", first, tmp_path / "more.zip", "--top-k", 2, "--format", "jsonl")
    assert (code, err) == (0, "")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["sample"] for line in lines] == [str(first), str(tmp_path / "more.zip" / "b.tif")]
    for line, path in zip(lines, (first, second), strict=True):
        expected = predictor(path)
        assert [entry["class"] for entry in line["top"]] == [name for name, _ in expected.top(2)]
        assert line["confidence"] == pytest.approx(expected.confidence, abs=1e-5)
        assert (line["channels"], line["absent"]) == (list(expected.channels), [])


def test_a_folder_of_fewer_bands_to_a_csv(predictor: Predictor, tmp_path: Path) -> None:
    some = predictor.channels.select(["B04", "B08"])
    folder = tmp_path / "tiles"
    folder.mkdir()
    contract = type(predictor.model.contract)(**{**vars(predictor.model.contract), "channels": some})
    paths = demo_tiles(contract, folder)
    out = tmp_path / "classes.csv"
    code, said, err = run_anychan("predict", "demo", folder, "--out", out, "--probabilities")
    assert (code, err) == (0, "")
    assert f"{len(paths)} images; table: {out}" in said
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    assert [row["sample"] for row in rows] == sorted(path.name for path in paths)
    for row in rows:
        expected = predictor(folder / row["sample"])
        assert row["class"] == expected.label
        assert (row["channels"], len(row["absent"].split())) == ("B04 B08", 11)
        assert sum(float(row[f"p({name})"]) for name in predictor.classes) == pytest.approx(1, abs=0.01)


def test_what_cannot_be_classified_leaves_no_table(tiles: Path, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.tif").write_bytes(sorted(tiles.iterdir())[0].read_bytes()[:300])
    code, out, err = run_anychan("predict", "demo", tmp_path / "bad", "--out", tmp_path / "out.csv")
    assert (code, out) == (2, "")
    assert err.startswith(f"anychan: {tmp_path}/bad/a.tif: ")
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "out.csv").exists()
