from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anychan.deploy import scene_preview
from anychan.deploy.scene import Rows
from anychan.deploy.scene_files import class_colours
from anychan.deploy.scene_map import Grid, MapRow
from anychan.deploy.scene_preview import LabelPicture, ScenePicture, draw_preview


@pytest.mark.parametrize("rows_at_once", [1, 3, 11])
def test_picture_holds_block_means(rows_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene_preview, "_MOST_PIXELS", 5)
    rng = np.random.default_rng(0)
    values, missing = rng.normal(size=(11, 13, 4)), rng.random((11, 13, 4)) < 0.3
    missing[:3, :3] = True  # a block without any data
    picture = ScenePicture(Grid(11, 13, 2, 2), (2, 0, 1))  # blocks of 3×3
    for top in range(0, 11, rows_at_once):
        picture.add(Rows(values[top : top + rows_at_once], missing[top : top + rows_at_once]))
    image = picture.image()
    assert image.shape == (4, 5, 3)
    for position, channel in enumerate((2, 0, 1)):
        means = np.full((4, 5), np.nan)
        for row, column in np.ndindex(4, 5):
            block = np.s_[3 * row : 3 * row + 3, 3 * column : 3 * column + 3, channel]
            there = values[block][~missing[block]]
            means[row, column] = there.mean() if there.size else np.nan
        assert np.isnan(means[0, 0])
        low, high = np.nanpercentile(means, (2, 98))
        expected = np.where(np.isnan(means), 1, np.clip((means - low) / (high - low), 0, 1))
        np.testing.assert_allclose(image[..., position], expected, atol=1e-9)


@pytest.mark.parametrize("ends", [(4,), (3, 7), (1, 2, 10)])
def test_pictures_of_some_rows_are_one(ends: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene_preview, "_MOST_PIXELS", 5)
    values = np.random.default_rng(0).integers(0, 99, (11, 13, 1), np.uint16)
    missing, grid = values < 20, Grid(11, 13, 2, 2)
    whole, merged = ScenePicture(grid, (0,)), ScenePicture(grid, (0,))
    whole.add(Rows(values, missing))
    for start, stop in zip((0, *ends), (*ends, 11), strict=True):
        part = ScenePicture(grid, (0,), range(start, stop))
        part.add(Rows(values[start:stop], missing[start:stop]))
        merged.merge(part)
    np.testing.assert_array_equal(merged.image(), whole.image())


def test_a_constant_channel_is_black() -> None:
    picture = ScenePicture(Grid(4, 4, 2, 2), (0,))
    picture.add(Rows(np.full((4, 4, 1), 7), np.zeros((4, 4, 1), bool)))
    assert picture.image().tolist() == np.zeros((4, 4, 3)).tolist()


def test_labels_are_counted_and_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene_preview, "_MOST_PIXELS", 2)
    grid = Grid(height=16, width=12, window=4, stride=4)
    picture = LabelPicture(grid, 3)
    labels = np.array([[0, 1, 2], [1, 1, 1], [-1, 0, 2], [0, 0, 0]])
    for row in labels:
        picture.add(MapRow(row, np.ones(3, np.float32)))
    assert picture.counts.tolist() == [5, 4, 2]
    colours = [[*colour, 255] for colour in class_colours(3).tolist()]
    assert picture.image().tolist() == [[colours[0], colours[2]], [[0, 0, 0, 0], colours[2]]]


def test_preview_is_a_picture_of_both(tmp_path: Path) -> None:
    grid = Grid(height=40, width=60, window=20, stride=10)
    rng = np.random.default_rng(0)
    scene, labels = ScenePicture(grid, (0, 1, 2)), LabelPicture(grid, 2)
    scene.add(Rows(rng.integers(0, 255, (40, 60, 3), np.uint8), np.zeros((40, 60, 3), bool)))
    for _ in range(grid.rows):
        labels.add(MapRow(rng.integers(-1, 2, grid.columns), np.ones(grid.columns, np.float32)))
    path = tmp_path / "map.png"
    draw_preview(path, scene, labels, grid=grid, titles=("a scene: R, G, B", "map"), classes=("$5", "water"))
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
        width, height = image.size
    assert width > 1000
    assert height > 300
    for colour in class_colours(2):
        assert (pixels == colour).all(1).sum() > 5000
