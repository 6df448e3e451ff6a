from pathlib import Path

import numpy as np
import pytest
import rasterio

from anychan.deploy.raster import Place
from anychan.deploy.scene_files import class_colours, label_dtype, map_writer
from anychan.deploy.scene_map import Grid, MapRow
from tests.disks import small_disk
from tests.scenes import Array, ground

CLASSES = ("forest", "Häuser & $5", "water")


def written(folder: Path, grid: Grid, place: Place | None, labels: Array) -> tuple[Path, Path]:
    files = folder / "map.tif", folder / "map-confidence.tif"
    with map_writer(*files, grid=grid, place=place, classes=CLASSES) as writer:
        for row in labels:
            writer.write(MapRow(row, np.where(row < 0, np.nan, 0.25 * (row + 1)).astype(np.float32)))
    return files


def test_files_hold_what_was_written_in_the_scenes_place(tmp_path: Path) -> None:
    grid = Grid(height=600 * 4 - 1, width=29 * 4, window=8, stride=4)
    labels = np.random.default_rng(0).integers(-1, 3, (600, 29))  # more rows than two tiles are high
    place = Place(rasterio.crs.CRS.from_epsg(32633), ground(10, 20))
    map_file, confidence_file = written(tmp_path, grid, place, labels)
    for file in (map_file, confidence_file):
        with rasterio.open(file) as found:
            assert found.crs.to_epsg() == 32633
            assert found.res == (40, 80)
            assert tuple(found.bounds) == (500_000, 5_000_000 - 600 * 80, 500_000 + 29 * 40, 5_000_000)
            assert found.profile["compress"] == "deflate"
            assert found.profile["tiled"]
    with rasterio.open(map_file) as found:
        assert found.dtypes == ("uint8",)
        assert found.nodata == 255
        np.testing.assert_array_equal(found.read(1), np.where(labels < 0, 255, labels))
        assert found.descriptions == ("class",)
        assert {key: value for key, value in found.tags().items() if key.startswith("CLASS_")} == {
            "CLASS_0": "forest",
            "CLASS_1": "Häuser & $5",
            "CLASS_2": "water",
        }
        assert [found.colormap(1)[label][:3] for label in range(3)] == [tuple(row) for row in class_colours(3).tolist()]
    with rasterio.open(confidence_file) as found:
        assert found.dtypes == ("float32",)
        assert np.isnan(found.nodata)
        np.testing.assert_array_equal(found.read(1), np.where(labels < 0, np.nan, 0.25 * (labels + 1)))
    assert sorted(tmp_path.iterdir()) == sorted([map_file, confidence_file])


def test_a_scene_without_georeference_gives_files_without(tmp_path: Path) -> None:
    map_file, _ = written(tmp_path, Grid(8, 8, 4, 4), None, np.array([[0, 1], [2, -1]]))
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        found = rasterio.open(map_file)
    with found:
        assert found.crs is None
        np.testing.assert_array_equal(found.read(1), [[0, 1], [2, 255]])


@pytest.mark.parametrize("count", [2, 10, 11, 20, 21, 60])
def test_colours_differ(count: int) -> None:
    colours = class_colours(count).astype(int)
    assert colours.shape == (count, 3)
    distance = np.abs(colours[:, None] - colours[None]).sum(-1) + 999 * np.eye(count, dtype=int)
    assert distance.min() >= 5


def test_labels_that_a_byte_cannot_hold_take_two() -> None:
    assert label_dtype(255) == np.uint8  # 0 to 254; 255 is no data
    assert label_dtype(256) == np.uint16


@pytest.mark.parametrize("kib", [4, 24, 60])
def test_a_disk_that_does_not_take_all_of_a_map_is_told(tmp_path: Path, kib: int) -> None:
    """GDAL writes the last tiles as it closes a file, and says nothing when they find no room."""
    cells = np.random.default_rng(0).integers(-1, 3, (300, 300))
    with small_disk(tmp_path / "disk") as disk:
        disk.leave(kib)
        with pytest.raises(OSError, match=r"full|previous exception|No space"):
            written(disk.path, Grid(1200, 1200, 4, 4), None, cells)
