from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import scipy.io
import tifffile
from rasterio.enums import Resampling

from anychan.deploy.scene import Scene, open_scene
from anychan.errors import ChannelError, DataError
from tests.scenes import PLACE, Array, ground, noise, write_scene

FORMS: dict[str, dict[str, Any]] = {
    "planar": {"interleave": "band"},
    "interleaved": {"interleave": "pixel"},
    "tiled lzw": {"interleave": "pixel", "tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "lzw"},
    "bigtiff": {"bigtiff": "yes"},
    "deflated": {"compress": "deflate", "predictor": 2, "interleave": "band"},
}


def in_parts(scene: Scene, step: int, bands: list[int]) -> tuple[Array, Array]:
    """The whole scene, a few rows at a time."""
    parts = [scene.read(top, min(step, scene.height - top), bands) for top in range(0, scene.height, step)]
    return np.concatenate([part.values for part in parts]), np.concatenate([part.missing for part in parts])


@pytest.mark.parametrize("form", FORMS)
def test_rows_are_the_files_own(form: str, tmp_path: Path) -> None:
    array = noise(53, 37)
    with open_scene(write_scene(tmp_path / "scene.tif", array, **FORMS[form])) as scene:
        assert (scene.height, scene.width, str(scene.dtype), scene.names) == (53, 37, "uint16", (None,) * 4)
        values, missing = in_parts(scene, 7, [3, 0, 2])
        assert scene.place is not None
        assert scene.place.transform == PLACE["transform"]
    np.testing.assert_array_equal(values, array[..., [3, 0, 2]])
    assert not missing.any()


@pytest.mark.parametrize("dtype", ["int16", "float32", "float64"])
def test_other_number_types_become_float32(dtype: str, tmp_path: Path) -> None:
    array = noise(20, 20).astype(dtype) - 1000
    with open_scene(write_scene(tmp_path / "scene.tif", array)) as scene:
        values, _ = in_parts(scene, 20, [0, 1])
        assert values.dtype == scene.dtype == np.float32
    np.testing.assert_array_equal(values, array[..., :2])


def test_no_data_is_the_tag_or_nan(tmp_path: Path) -> None:
    array = noise(16, 16).astype(np.float32)
    array[3, 4, 1], array[5, 6, 2], array[7, 8, 0] = -9999, np.nan, np.inf
    with open_scene(write_scene(tmp_path / "scene.tif", array, nodata=-9999)) as scene:
        _, missing = in_parts(scene, 5, [0, 1, 2, 3])
    assert np.argwhere(missing).tolist() == [[3, 4, 1], [5, 6, 2], [7, 8, 0]]


def test_a_mask_inside_the_file_is_no_data_and_a_fourth_band_is_no_mask(tmp_path: Path) -> None:
    array = noise(16, 16).astype(np.uint8)
    array[0, :, 3] = 0
    mask = np.random.default_rng(0).random((16, 16)) < 0.5
    path = write_scene(tmp_path / "scene.tif", array)
    with rasterio.open(path) as file:
        assert file.colorinterp[3].name == "alpha"  # as GDAL thinks
    with open_scene(path) as scene:
        assert not in_parts(scene, 5, [0, 3])[1].any()
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(write_scene(path, array[..., :3]), "r+") as file:
        file.write_mask(mask)
    with open_scene(path) as scene:
        values, missing = in_parts(scene, 5, [2, 0])
    np.testing.assert_array_equal(values, array[..., [2, 0]])
    np.testing.assert_array_equal(missing, np.stack([~mask, ~mask], -1))


def test_a_tag_that_float32_cannot_hold_is_no_data(tmp_path: Path) -> None:
    array = np.full((16, 16, 1), 5.0)
    array[2, 3] = -1.7976931348623157e308
    with open_scene(write_scene(tmp_path / "scene.tif", array, nodata=-1.7976931348623157e308)) as scene:
        _, missing = in_parts(scene, 16, [0])
    assert np.argwhere(missing).tolist() == [[2, 3, 0]]


def test_coarser_bands_come_to_the_finest_grid_without_seams(tmp_path: Path) -> None:
    files = {}
    for name, metres, size in (("B04", 10, 60), ("B11", 20, 30), ("B09", 60, 10)):
        array = noise(size, size, 1, seed=size)
        array[:2, :2] = 0
        transform = ground(metres)
        files[name] = write_scene(tmp_path / f"{name}.tif", array, transform=transform, nodata=0)
    with open_scene(tmp_path, files) as scene:
        assert (scene.height, scene.width) == (60, 60)
        values, missing = in_parts(scene, 7, [0, 1, 2])
    for position, file in enumerate(files.values()):
        with rasterio.open(file) as whole:
            expected = whole.read(1, out_shape=(60, 60), resampling=Resampling.bilinear)
        np.testing.assert_array_equal(values[..., position], expected)
        np.testing.assert_array_equal(missing[..., position], expected == 0)
    # what there is reaches half a coarse pixel into what there is not, as far as the filter's weights do
    assert missing.sum((0, 1)).tolist() == [2**2, (4 - 1) ** 2, (12 - 3) ** 2]
    assert np.unique(values[~missing[..., 2], 2]).size > 10  # in between, values are mixed


def test_arrays_are_scenes(tmp_path: Path) -> None:
    array = noise(21, 13)
    np.save(tmp_path / "scene.npy", array)
    scipy.io.savemat(tmp_path / "scene.mat", {"cube": array, "labels": array[..., 0]})
    for name in ("scene.npy", "scene.mat"):
        with open_scene(tmp_path / name, channels_count=4) as scene:
            assert scene.place is None
            values, missing = in_parts(scene, 4, [2, 1])
        np.testing.assert_array_equal(values, array[..., [2, 1]])
        assert not missing.any()


def bad(folder: Path, case: str) -> Path:
    path = folder / "scene.tif"
    if case == "no tiff":
        path.write_text("hello")
    elif case == "pages":
        tifffile.imwrite(path, np.zeros((3, 16, 16), np.uint8), photometric="minisblack")
    elif case == "type":
        write_scene(path, noise(16, 16).astype(np.uint32))
    elif case == "flat array":
        np.save(path.with_suffix(".npy"), np.zeros((16, 16)))
        return path.with_suffix(".npy")
    elif case == "no array":
        path.with_suffix(".npy").write_text("hello")
        return path.with_suffix(".npy")
    elif case == "pickle":
        np.save(path.with_suffix(".npy"), np.array([{"a": 1}]), allow_pickle=True)
        return path.with_suffix(".npy")
    elif case in ("no mat", "two cubes", "no cube"):
        path = path.with_suffix(".mat")
        cubes = {"two cubes": {"a": noise(9, 8), "b": noise(9, 8)}, "no cube": {"a": np.zeros((3, 3))}}
        if case in cubes:
            scipy.io.savemat(path, cubes[case])
        else:
            path.write_text("hello")
    return path


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("absent", "scene.tif: there is no such file"),
        ("no tiff", "scene.tif: the file is no TIFF that GDAL can read"),
        ("pages", "scene.tif: the TIFF holds 3 pages; write a scene's channels as bands of one page"),
        ("type", "scene.tif: pixels of type uint32 are not supported; use 8 or 16 bits, or float32"),
        ("flat array", r"scene.npy: a scene is an array \(height, width, channels\), not one of shape \(16, 16\)"),
        ("no array", "scene.npy: the array cannot be read"),
        ("pickle", "scene.npy: the array cannot be read"),
        ("no mat", "scene.mat: the file cannot be read as a MATLAB file"),
        ("two cubes", r"scene.mat: which array is meant is not said; there are a \(9, 8, 4\), .*; name one by --cube$"),
        ("no cube", r"scene.mat: which array is meant is not said; there are a \(3, 3\); name one by --cube$"),
    ],
)
def test_what_is_no_scene_is_refused(case: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message), open_scene(bad(tmp_path, case), channels_count=4):
        pass


def test_a_matlab_scene_is_chosen_by_its_key(tmp_path: Path) -> None:
    array = noise(21, 13)
    columns = array.reshape(-1, 4, order="F").T  # pixels column by column, as MATLAB's reshape has them
    scipy.io.savemat(tmp_path / "scene.mat", {"Y": columns, "other": array[:5], "nRow": 21, "nCol": 13})
    with open_scene(tmp_path / "scene.mat", cube="Y", channels_count=4) as scene:
        np.testing.assert_array_equal(scene.read(0, 21, range(4)).values, array)
    with (
        pytest.raises(ChannelError, match=r"scene.mat: nobody says which channels its array holds; give --channels"),
        open_scene(tmp_path / "scene.mat", cube="Y"),
    ):
        pass


@pytest.mark.parametrize(
    ("array", "options", "message"),
    [
        (noise(30, 30, 2), {}, "B11.tif: the file holds 2 bands; a channel's file holds one"),
        (noise(30, 30, 1), {"crs": "EPSG:32634"}, "B11.tif: its CRS, EPSG:32634, is not that of .*B04.tif, EPSG:32633"),
        (noise(29, 30, 1), {}, r"B11.tif: it covers \(500000.0, 4999420.0, .*but .*B04.tif covers"),
        (noise(30, 30, 1).astype(np.uint8), {}, "B11.tif: bands of unlike number types, uint16 and uint8; write all"),
    ],
)
def test_band_files_that_do_not_fit_are_refused(
    array: Array, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    files = {"B04": write_scene(tmp_path / "B04.tif", noise(60, 60, 1))}
    options = {"transform": ground(20), **options}
    files["B11"] = write_scene(tmp_path / "B11.tif", array, **options)
    with pytest.raises(DataError, match=message), open_scene(tmp_path, files):
        pass


def test_a_truncated_file_is_told_with_its_rows(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "scene.tif", noise(512, 256), compress="deflate")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with (
        open_scene(path) as scene,
        pytest.raises(DataError, match=r"scene.tif: rows \d+ to \d+ cannot be read"),
    ):
        in_parts(scene, 64, [0, 1, 2, 3])
