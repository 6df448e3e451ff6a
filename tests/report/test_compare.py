import csv
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from anychan.errors import RunError
from anychan.evaluation.accuracy import paired_ratio, unpack_bits
from anychan.models.pretrained import load
from anychan.profiling.macs import profile
from anychan.report.compare import compare_runs, comparison_table, write_comparison
from anychan.report.finish import finish_run
from anychan.training.fit import fit
from tests.runs import read_metrics, small_recipe

Runs = dict[str, Path]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Three finished and tested runs: two of three channels, one of two of them."""
    folder = tmp_path_factory.mktemp("compared")
    for name, epochs, channels in (("short", 1, None), ("long", 5, None), ("two", 2, ["R", "B"])):
        fit(small_recipe(epochs=epochs, channels=channels), folder / name, finish=finish_run)
    return {name: folder / name for name in ("short", "long", "two")}


@pytest.fixture
def change(runs: Runs, tmp_path: Path) -> Callable[[str, Callable[[dict[str, object]], object]], Path]:
    """Copies a run and changes its run.json."""

    def make(name: str, edit: Callable[[dict[str, object]], object]) -> Path:
        copy = Path(shutil.copytree(runs[name], tmp_path / f"changed-{name}"))
        values = json.loads((copy / "run.json").read_text())
        edit(values)
        (copy / "run.json").write_text(json.dumps(values))
        return copy

    return make


def test_rows_say_what_the_runs_say(runs: Runs) -> None:
    found = compare_runs([runs["long"], runs["two"]])
    for row, name, channels in zip(found.rows, ("long", "two"), (3, 2), strict=True):
        result = json.loads((runs[name] / "run.json").read_text())
        model = load(runs[name])
        subset = model.channels.select(result["test"]["channels"])
        assert (row["run"], row["model"], row["n"]) == (name, "baseline_cnn", 6)
        assert (row["accuracy"], row["low"], row["high"]) == tuple(
            result["test"][k] for k in ("accuracy", "low", "high")
        )
        assert row["macs"] == profile(model, (1, channels, 16, 16), channels=subset).macs
        assert row["params"] == sum(p.numel() for p in model.parameters())
        assert row["train_seconds"] == result["train_seconds"] > 0
        assert row["epochs"] == len(read_metrics(runs[name]))
        assert [dict(epoch) for epoch in found.curves[name]] == read_metrics(runs[name])
    assert found.rows[0]["channels"] == "R+G+B"
    assert found.rows[1]["channels"] == "R+B"
    assert found.rival is None
    assert all(row["ratio"] is None for row in found.rows)


def test_ratio_is_paired_on_the_same_images(runs: Runs) -> None:
    found = compare_runs(list(runs.values()), rival=runs["short"])
    assert found.rival == "short"
    bits = [unpack_bits(row["correct"], row["n"]) for row in found.rows]
    assert [row["ratio"] for row in found.rows] == [paired_ratio(each, bits[0]) for each in bits]
    assert int(bits[1].sum()) == round(6 * found.rows[1]["accuracy"])


def test_a_resnet34_is_the_rival_unasked(runs: Runs, tmp_path: Path) -> None:
    recipe = small_recipe(epochs=1)
    recipe.model.name = "resnet34"
    fit(recipe, tmp_path / "rival", finish=finish_run)
    assert compare_runs([runs["long"], tmp_path / "rival"]).rival == "rival"


def test_other_test_images_give_no_ratio(runs: Runs, change: Callable[..., Path]) -> None:
    other = change("long", lambda values: values["test"].update(images="0" * 64))
    found = compare_runs([runs["short"], other], rival=runs["short"])
    assert found.rows[1]["ratio"] is None
    assert compare_runs([runs["short"], runs["two"]], rival=runs["short"]).rows[1]["ratio"] is not None
    assert "Not all runs were tested on the same images" in " ".join(found.notes)
    assert "Not all runs" not in " ".join(compare_runs([runs["short"], runs["long"]]).notes)


def test_other_machines_are_told(runs: Runs, change: Callable[..., Path]) -> None:
    other = change("long", lambda values: values.update(device="another"))
    assert "different devices" in " ".join(compare_runs([runs["short"], other]).notes)


def test_names_are_the_folders_unless_they_clash(runs: Runs, tmp_path: Path) -> None:
    shutil.copytree(runs["long"], tmp_path / "elsewhere" / "long")
    rows = compare_runs([runs["long"], tmp_path / "elsewhere" / "long"]).rows
    assert [row["run"] for row in rows] == [str(runs["long"]), str(tmp_path / "elsewhere" / "long")]


def test_files_hold_the_same_rows(runs: Runs, tmp_path: Path) -> None:
    found = compare_runs(list(runs.values()), rival=runs["short"])
    write_comparison(found, tmp_path / "a" / "b")
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == ["compare.csv", "compare.md", "curves.png"]
    with (tmp_path / "a" / "b" / "compare.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["run"] for row in rows] == ["short", "long", "two"]
    for row, entry in zip(rows, found.rows, strict=True):
        assert int(row["macs"]) == entry["macs"]
        assert math.isclose(float(row["accuracy"]), entry["accuracy"])
        assert row["ratio"] == ("" if entry["ratio"] is None else str(entry["ratio"][0]))
    text = (tmp_path / "a" / "b" / "compare.md").read_text()
    header, _, *body = [line for line in text.splitlines() if line.startswith("|")]
    assert header.endswith("| ratio to short |")
    assert [line.split(" | ")[0] for line in body] == ["| short", "| long", "| two"]
    assert all(note in text for note in found.notes)
    with Image.open(tmp_path / "a" / "b" / "curves.png") as picture:
        assert len(picture.convert("RGB").getcolors(2**24) or []) > 10


def test_table_shows_the_reports_columns(runs: Runs) -> None:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(comparison_table(compare_runs([runs["short"], runs["long"]], rival=runs["long"])))
    text = capture.get()
    for title in ("accuracy", "MACs", "parameters", "epochs", "training", "ratio to long"):
        assert title in text
    low, high = (100 * compare_runs([runs["short"]]).rows[0][end] for end in ("low", "high"))
    assert f"({low:.1f} to {high:.1f})" in text


def test_runs_that_cannot_be_compared(runs: Runs, run_copy: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="this run was named twice; name each once"):
        compare_runs([runs["long"], runs["long"]])
    with pytest.raises(RunError, match="the rival is not among the runs; name it there too"):
        compare_runs([runs["long"]], rival=runs["short"])
    with pytest.raises(RunError, match="this is no run folder"):
        compare_runs([tmp_path])
    text = "run.json: the file is damaged, of an older anychan, or of a run that was never tested; train the run anew"
    with pytest.raises(RunError, match=text):
        compare_runs([run_copy])  # trained from Python, without finish_run
    for damaged in ("{", "[]", '{"test": null}', "{}"):
        (run_copy / "run.json").write_text(damaged)
        with pytest.raises(RunError, match=text):
            compare_runs([run_copy])
    (run_copy / "run.json").unlink()
    with pytest.raises(RunError, match="the run is not finished; the same `anychan train` command goes on with it"):
        compare_runs([run_copy])
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="the comparison cannot be written there"):
        write_comparison(compare_runs([runs["long"]]), tmp_path / "file")


def test_fingerprint_is_of_the_test_images(runs: Runs) -> None:
    first, second = (json.loads((runs[name] / "run.json").read_text())["test"]["images"] for name in ("short", "two"))
    assert first == second
    assert len(first) == 64


def test_runs_without_epochs_cannot_be_compared(change: Callable[..., Path]) -> None:
    copy = change("short", lambda values: None)
    (copy / "metrics.csv").unlink()
    with pytest.raises(RunError, match=r"metrics.csv: there are no epochs here; train the run anew"):
        compare_runs([copy])


def test_the_rival_may_be_named_in_another_way(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs["short"].parent)
    assert compare_runs(["short", "long"], rival=runs["short"]).rival == "short"
    with pytest.raises(RunError, match="named twice"):
        compare_runs(["short", runs["short"]])


def test_names_are_shown_as_they_are(runs: Runs, tmp_path: Path) -> None:
    odd = [shutil.copytree(runs["short"], tmp_path / name) for name in ("[red]run", "_under", r"$\foo$")]
    found = compare_runs(odd)
    console = Console(width=200)
    with console.capture() as capture:
        console.print(comparison_table(found))
    assert "[red]run" in capture.get()
    write_comparison(found, tmp_path / "out")
    assert (tmp_path / "out" / "curves.png").exists()
