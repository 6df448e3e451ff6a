from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageColor

from anychan.channels import ChannelSet
from anychan.evaluation.choice import default_subsets
from anychan.evaluation.subsets import SubsetReport, SubsetRow
from anychan.presets import RGB, SENTINEL2
from anychan.report import plots
from anychan.report.plots import plot_curves, plot_runs, plot_subsets
from tests.runs import Array

BLUE, RED, GREEN = plots._COLOURS[:3]
ROWS = [
    {
        "epoch": float(n),
        "train_loss": 2 / (n + 1),
        "val_loss": 2.2 / (n + 1),
        "train_accuracy": n / 5,
        "val_accuracy": 0.4,
    }
    for n in range(5)
]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were saved, so that a test can read their numbers."""
    found: list[Figure] = []
    save = Figure.savefig

    def spy(figure: Figure, *args: object, **options: object) -> None:
        found.append(figure)
        save(figure, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Figure, "savefig", spy)
    return found


def decoded(path: Path) -> Array:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def pixels_of(image: Array, colour: str) -> int:
    return int((np.abs(image.astype(int) - ImageColor.getrgb(colour)[:3]) < 8).all(-1).sum())


def numbers(values: Any) -> Array:
    return np.asarray(values, dtype=float)


def report(channels: ChannelSet, right: int) -> SubsetReport:
    """A report of 20 images: the first subset has so many right, each next one fewer."""
    subsets = default_subsets(channels)
    rows = [SubsetRow(subset.names, torch.arange(20) < max(0, right - n)) for n, subset in enumerate(subsets)]
    return SubsetReport(tuple(rows), 2 ** len(channels) - 1, "shared")


def test_curves_are_drawn_in_two_colours(tmp_path: Path) -> None:
    plot_curves(ROWS, tmp_path / "curves.png", title="net", best_epoch=2)
    image = decoded(tmp_path / "curves.png")
    assert image.shape[1] > 2 * image.shape[0] > 600
    assert pixels_of(image, BLUE) > 200
    assert pixels_of(image, RED) > 200
    half = image.shape[1] // 2
    assert pixels_of(image[:, :half], BLUE) > 100  # loss on the left, accuracy on the right
    assert pixels_of(image[:, half:], BLUE) > 100


def test_curves_show_the_numbers(tmp_path: Path, figures: list[Figure]) -> None:
    plot_curves(ROWS, tmp_path / "curves.png", title="a title", best_epoch=2)
    (figure,) = figures
    assert figure.get_suptitle() == "a title"
    for axes, name in zip(figure.axes, ("loss", "accuracy"), strict=True):
        assert axes.get_ylabel() == name
        for line, split in zip(axes.get_lines(), ("train", "val"), strict=False):
            np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3, 4, 5])
            np.testing.assert_allclose(numbers(line.get_ydata()), [row[f"{split}_{name}"] for row in ROWS])
        assert axes.get_lines()[2].get_xdata() == [3, 3]  # the kept epoch


def test_one_epoch_is_a_point(tmp_path: Path) -> None:
    plot_curves(ROWS[:1], tmp_path / "curves.png", title="net", best_epoch=0)
    image = decoded(tmp_path / "curves.png")
    assert pixels_of(image[:, : image.shape[1] // 2], BLUE) > 20


def test_unknown_numbers_do_not_stop_the_picture(tmp_path: Path) -> None:
    plot_curves([{**row, "val_loss": float("nan")} for row in ROWS], tmp_path / "a.png", title="net", best_epoch=0)
    assert pixels_of(decoded(tmp_path / "a.png"), BLUE) > 200


@pytest.mark.parametrize(("channels", "count"), [(RGB, 1), (RGB, 3), (SENTINEL2, 2)])
def test_subsets_are_drawn_a_colour_each(tmp_path: Path, channels: ChannelSet, count: int) -> None:
    reports = {f"report {number}": report(channels, 20 - number) for number in range(count)}
    plot_subsets(reports, channels, tmp_path / "a.png", title="net", chance=0.1)
    image = decoded(tmp_path / "a.png")
    for number, colour in enumerate((BLUE, RED, GREEN)):
        assert (pixels_of(image, colour) > 150) == (number < count)
    assert pixels_of(image, "black") > 300  # the grid's filled circles


def test_subsets_show_the_numbers(tmp_path: Path, figures: list[Figure]) -> None:
    found = report(RGB, 20)
    plot_subsets({"ours": found}, RGB, tmp_path / "a.png", title="a title", chance=0.25, names=list("abcdefg"))
    (figure,) = figures
    grid, axes = figure.axes
    points, *_, chance = axes.get_lines()
    np.testing.assert_allclose(numbers(points.get_xdata()), [row.accuracy for row in found.rows])
    np.testing.assert_allclose(numbers(points.get_ydata()), range(7))
    assert chance.get_xdata() == [0.25, 0.25]
    bars: Any = axes.collections[0]
    np.testing.assert_allclose([bar[:, 0] for bar in bars.get_segments()], [row.interval for row in found.rows])
    assert [label.get_text() for label in grid.get_xticklabels()] == ["R", "G", "B"]
    assert [label.get_text() for label in grid.get_yticklabels()] == list("abcdefg")
    assert "n = 20" in axes.get_xlabel()
    assert (figure.get_suptitle(), axes.get_xlim()) == ("a title", (0, 1))
    circles: list[Any] = list(grid.collections)
    filled = {tuple(circle.get_offsets()[0].tolist()) for circle in circles if circle.get_facecolor().size}
    expected = {("RGB".index(name), place) for place, row in enumerate(found.rows) for name in row.channels}
    assert filled == expected
    assert len(circles) == 7 * 3


def test_several_runs_share_a_picture(tmp_path: Path, figures: list[Figure]) -> None:
    other = [{**row, "val_accuracy": 0.7, "train_loss": 9.0} for row in ROWS[:1]]
    curves: dict[str, list[dict[str, float]]] = {"first": ROWS, "second": other}
    plot_runs(curves, tmp_path / "runs.png", title="two", metadata={"Source": "here"})
    loss, accuracy = figures[0].axes
    solid, dashed, one, _ = loss.lines
    assert solid.get_xydata().tolist() == [[row["epoch"] + 1, row["val_loss"]] for row in ROWS]  # type: ignore[union-attr]
    assert (solid.get_linestyle(), dashed.get_linestyle()) == ("-", "--")
    assert dashed.get_xydata().tolist() == [[row["epoch"] + 1, row["train_loss"]] for row in ROWS]  # type: ignore[union-attr]
    assert (solid.get_color(), dashed.get_color(), one.get_color()) == (BLUE, BLUE, RED)
    assert one.get_marker() == "o"  # a line of one epoch would not be seen
    assert [line.get_ydata()[0] for line in accuracy.lines] == [0.4, 0.0, 0.7, 0.0]  # type: ignore[index]
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == ["first", "second"]
    with Image.open(tmp_path / "runs.png") as picture:
        assert picture.info["Source"] == "here"


def test_more_runs_than_colours_are_told_apart(tmp_path: Path, figures: list[Figure]) -> None:
    plot_runs({str(number): ROWS for number in range(9)}, tmp_path / "runs.png", title="nine")
    looks = {(line.get_color(), line.get_marker()) for line in figures[0].axes[0].lines[::2]}
    assert len(looks) == 9


def test_one_wild_epoch_does_not_flatten_the_rest(tmp_path: Path, figures: list[Figure]) -> None:
    wild = [{**ROWS[0], "val_loss": 27.0}, *({**row, "train_loss": 2.0, "val_loss": 2.0} for row in ROWS[1:])]
    plot_runs({"wild": wild}, tmp_path / "wild.png", title="wild")
    plot_runs({"calm": wild[1:]}, tmp_path / "calm.png", title="calm")
    assert [figure.axes[0].get_yscale() for figure in figures] == ["log", "linear"]
    assert [figure.axes[1].get_yscale() for figure in figures] == ["linear", "linear"]
    labels = [text.get_text() for text in figures[0].axes[0].get_yticklabels()]
    assert "10" in labels  # plain numbers, not powers
