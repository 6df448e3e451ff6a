from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from anychan.evaluation.choice import nested_subsets, random_orders
from anychan.evaluation.subsets import SubsetReport, SubsetRow
from anychan.report import subset_plots
from anychan.report.subset_plots import plot_front, plot_sizes
from tests.report.test_plots import decoded, figures, numbers, pixels_of

__all__ = ["figures"]  # the fixture
SUBSETS = [chosen for size in (4, 3, 2, 1) for chosen in combinations("abcd", size)]


def report(shift: int = 0, guessed: bool = True) -> SubsetReport:
    """Of 100 images: 20 a channel, "d" counts less, and the position breaks ties."""
    rows = [
        SubsetRow(subset, torch.arange(100) < 20 * len(subset) - 9 * ("d" in subset) + number % 5 + shift)
        for number, subset in enumerate(SUBSETS)
    ]
    return SubsetReport(tuple(rows), 15, "shared", torch.arange(100) < 10 if guessed else None)


def test_sizes_show_the_numbers(tmp_path: Path, figures: list[Figure]) -> None:
    found = report()
    plot_sizes(found, tmp_path / "a.png", title="a title", chance=0.1)
    axes, bars = figures[0].axes
    points: Any = axes.collections[0].get_offsets()
    np.testing.assert_allclose(numbers(points)[:, 1], [row.accuracy for row in found.rows])
    np.testing.assert_array_equal(np.round(numbers(points)[:, 0]), [len(row.channels) for row in found.rows])
    best, mean, worst, chance = axes.get_lines()
    of_size = {size: [row.accuracy for row in found.rows if len(row.channels) == size] for size in (1, 2, 3, 4)}
    for line, summary in ((best, max), (mean, np.mean), (worst, min)):
        np.testing.assert_array_equal(numbers(line.get_xdata()), [1, 2, 3, 4])
        np.testing.assert_allclose(
            numbers(line.get_ydata()), numbers([summary(of_size[size]) for size in (1, 2, 3, 4)])
        )
    assert list(numbers(chance.get_ydata())) == [0.1, 0.1]
    assert "n = 100" in axes.get_ylabel()
    assert axes.get_title() == "15 of 15 subsets"
    worth = found.shapley
    assert worth is not None
    order = np.argsort(-worth.values)
    drawn: list[Any] = list(bars.patches)
    np.testing.assert_allclose([bar.get_width() for bar in drawn], worth.values[order].tolist())
    assert [label.get_text() for label in bars.get_yticklabels()] == [worth.channels[i] for i in order]
    assert figures[0].get_suptitle() == "a title"
    image = decoded(tmp_path / "a.png")
    for colour in (subset_plots._BLUE, subset_plots._RED, subset_plots._GREEN):
        assert pixels_of(image, colour) > 100


def test_without_shapley_values_there_is_one_panel(tmp_path: Path, figures: list[Figure]) -> None:
    plot_sizes(report(guessed=False), tmp_path / "a.png", title="net", chance=0.1)
    assert len(figures[0].axes) == 1


@pytest.mark.parametrize("costs", [None, {"a": 1.0, "b": 2.0, "c": 4.0, "d": 0.5}])
def test_front_shows_both_splits(tmp_path: Path, figures: list[Figure], costs: dict[str, float] | None) -> None:
    test, validation = report(), report(shift=5)
    sensor = test.smallest_sensor(validation, within=0.2, costs=costs)
    plot_front(sensor, test, tmp_path / "a.png", title="net")
    (axes,) = figures[0].axes
    lines = {str(line.get_label()).split(":")[0].split(",")[0]: line for line in axes.get_lines()}
    chosen = lines["validation images"]
    np.testing.assert_allclose(numbers(chosen.get_xdata()), [cost for cost, _, _ in sensor.front])
    np.testing.assert_allclose(numbers(chosen.get_ydata()), [row.accuracy for _, row, _ in sensor.front])
    points: Any = axes.containers[0]
    np.testing.assert_allclose(numbers(points[0].get_ydata()), [row.accuracy for _, _, row in sensor.front])
    ring = lines["smallest sensor"]
    assert (numbers(ring.get_xdata())[0], numbers(ring.get_ydata())[0]) == (sensor.cost, sensor.test.accuracy)
    assert numbers(lines["all 4 channels"].get_ydata())[0] == test.rows[0].accuracy
    notes = [text.get_text() for text in axes.texts]
    assert notes == ["+".join(row.channels) for _, _, row in sensor.front if row is not sensor.test]
    assert pixels_of(decoded(tmp_path / "a.png"), subset_plots._RED) > 50


def many() -> SubsetReport:
    """156 channels: random orders' subsets, better the more channels; names are long."""
    names = tuple(f"a-long-name-{number:03d}" for number in range(156))
    orders = random_orders(156, 3, seed=0)
    chosen = dict.fromkeys(
        [*((i,) for i in range(156)), *(index for order in orders for index in nested_subsets(order))]
    )
    rows = [
        SubsetRow(tuple(names[i] for i in index), torch.arange(200) < 30 + 150 * (1 - 0.9 ** len(index)) - index[0] / 9)
        for index in chosen
    ]
    named = tuple(tuple(names[i] for i in order) for order in orders)
    return SubsetReport(tuple(rows), 2**156 - 1, "saved", torch.arange(200) < 20, orders=named)


TITLE = "timm:vit_small_patch16_224.augreg_in21k_ft_in1k, stem wavelength, validation images, own batch-norm statistics"


def outside(figure: Figure, path: Path) -> bool:
    """Whether anything is drawn on the picture's edge: what overflows is cut there."""
    image = decoded(path)
    edges = (image[0], image[-1], image[:, 0], image[:, -1])
    figure.set_dpi(120)  # as it was saved, for the sizes asked for below
    figure.canvas.draw()
    return any(bool((edge != 255).any()) for edge in edges)


def test_sizes_of_156_channels_fit(tmp_path: Path, figures: list[Figure]) -> None:
    found = many()
    plot_sizes(found, tmp_path / "a.png", title=TITLE, chance=0.1)
    axes, worth = figures[0].axes
    assert axes.get_xscale() == "log"
    assert axes.get_title() == f"{len(found.rows)} of 2^156 - 1 subsets"
    assert found.shapley is not None
    line, _ = worth.get_lines()
    np.testing.assert_allclose(numbers(line.get_ydata()), found.shapley.values.tolist())  # in the model's order
    names = [label.get_text() for label in worth.get_xticklabels()]
    assert (names[0], len(names)) == ("a-long-name-000", 20)
    assert "over images and 3 orders" in worth.get_ylabel()
    assert not outside(figures[0], tmp_path / "a.png")


def test_front_of_156_channels_fits(tmp_path: Path, figures: list[Figure]) -> None:
    found = many()
    sensor = found.smallest_sensor(found, within=0.02)
    plot_front(sensor, found, tmp_path / "a.png", title=TITLE)
    (axes,) = figures[0].axes
    assert axes.get_xscale() == "log"
    assert not outside(figures[0], tmp_path / "a.png")
    assert len(figures[0].get_suptitle().splitlines()) == 2
    notes = [text for text in axes.texts if text.get_text()]
    assert len(notes) > 4
    assert any(note.get_text() == "3 channels" for note in notes)
    boxes = [note.get_window_extent() for note in notes]
    overlaps = [(a, b) for number, a in enumerate(boxes) for b in boxes[number + 1 :] if a.overlaps(b)]
    assert overlaps == []
    for cost, row, test in sensor.front:
        point = axes.transData.transform((cost, test.accuracy))
        assert not any(box.contains(*point) for box in boxes), (cost, row.channels)
