import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from anychan.data.array_samples import open_array_samples
from anychan.errors import DataError
from tests.runs import Array

SCENE = np.random.default_rng(0).random((20, 20, 6))
IMAGES = np.random.default_rng(1).integers(0, 255, (12, 3, 8, 9), dtype=np.uint8)


def mat(folder: Path, **values: Any) -> Path:
    scipy.io.savemat(folder / "a.mat", values)
    return folder / "a.mat"


def npz(folder: Path, **values: Any) -> Path:
    np.savez(folder / "a.npz", **values)
    return folder / "a.npz"


@pytest.mark.parametrize(
    "stored", [SCENE, np.moveaxis(SCENE, -1, 0), SCENE.reshape(400, 6, order="F"), SCENE.reshape(400, 6, order="F").T]
)
def test_a_scene_is_one_sample(tmp_path: Path, stored: Array) -> None:
    found = open_array_samples(mat(tmp_path, Y=stored), cube="Y")
    assert (found.storage, found.names) == (f"scene Y of {stored.shape}", ["Y"])
    planes = found.read("Y")
    assert [(plane.dtype, plane.name) for plane in planes] == [("float64", None)] * 6
    for plane, expected in zip(planes, np.moveaxis(SCENE, -1, 0), strict=True):
        np.testing.assert_array_equal(plane.pixels, expected.astype(np.float32))


def test_the_number_of_channels_tells_their_axis(tmp_path: Path) -> None:
    path = mat(tmp_path, Y=SCENE[:6, :9])
    with pytest.raises(
        DataError, match=r"a.mat/Y: an array of \(6, 9, 6\) has 6 channels first or 6 channels last, no"
    ):
        open_array_samples(path)
    path = mat(tmp_path, Y=SCENE[:8, :9])
    with pytest.raises(DataError, match=r"8 channels first or 6 channels last"):
        open_array_samples(path)
    assert len(open_array_samples(path, channels="a,b,c,d,e,f").read("Y")) == 6
    assert len(open_array_samples(path, channels="a,b,c,d,e,f,g,h").read("Y")) == 8


@pytest.mark.parametrize("axis", [1, 3])
def test_images_of_all_splits(tmp_path: Path, axis: int) -> None:
    stored = np.moveaxis(IMAGES, 1, axis)
    path = npz(
        tmp_path,
        x_train=stored,
        y_train=np.arange(12),
        x_test=stored[:2],
        y_test=np.arange(2),
        channels=["a", "b", "c"],
    )
    found = open_array_samples(path)
    assert found.storage == f"images in x_train of {stored.shape} and x_test of {stored[:2].shape}"
    assert found.names == [*(f"x_train/{row:02}" for row in range(12)), "x_test/0", "x_test/1"]
    planes = found.read("x_train/07")
    assert [plane.name for plane in planes] == ["a", "b", "c"]
    np.testing.assert_array_equal([plane.pixels for plane in planes], IMAGES[7])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"x": IMAGES}, ": there are neither x and y nor x_train"),
        ({"x": IMAGES, "y": np.arange(5)}, ": x of (12, 3, 8, 9) and y of (5,) are no images"),
        ({"x": IMAGES, "y": np.arange(12), "channels": ["a"]}, "/x: an array of (12, 3, 8, 9) for 1 channels has them"),
    ],
)
def test_other_arrays_are_told(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    path = npz(tmp_path, **values)
    with pytest.raises(DataError, match=f"^{re.escape(f'{path}{message}')}"):
        open_array_samples(path)


def test_a_missing_scene_is_told(tmp_path: Path) -> None:
    message = r"there is no key 'X'; there are Y \(20, 20, 6\); name one by --cube$"
    with pytest.raises(DataError, match=message):
        open_array_samples(mat(tmp_path, Y=SCENE), cube="X")
