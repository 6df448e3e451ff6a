import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from anychan.data.cube import CubeCollection
from anychan.data.dataset import load_data
from anychan.data.opening import open_collection
from anychan.errors import ChannelError, DataError
from anychan.recipe import DataConfig
from tests.runs import Array

HEIGHT, WIDTH = 36, 45
SCENE = np.random.default_rng(0).random((HEIGHT, WIDTH, 4)).astype(np.float32)
LABELS = 1 + (np.arange(HEIGHT)[:, None] // 3 + np.arange(WIDTH)[None, :] // 5) % 3
BANDS = ["b1", "b2", "b3", "b4"]
SMALL: dict[str, Any] = {"channels": BANDS, "labels": "gt", "patch": 3, "patch_stride": 1}


def write(path: Path, **values: Any) -> Path:
    scipy.io.savemat(path, values)
    return path


def open_scene(path: Path, *, seed: int = 0, **options: Any) -> CubeCollection:
    found = open_collection(path, DataConfig(**{**SMALL, **options}), seed=seed)
    assert isinstance(found, CubeCollection)
    return found


def columns(array: Array) -> Array:
    """(H, W, C) → (C, H·W), pixels column by column, as MATLAB's reshape does it."""
    return array.reshape(-1, array.shape[2], order="F").T


def usage(found: CubeCollection) -> dict[str, Array]:
    """How many patches of each split hold each pixel."""
    counts = {split: np.zeros(found.cube.shape[:2], int) for split in found.index.splits}
    for split, samples in found.index.splits.items():
        for sample in samples:
            counts[split][found.window(sample.name)] += 1
    return counts


@pytest.mark.parametrize("stored", [SCENE, np.moveaxis(SCENE, -1, 0), columns(SCENE), columns(SCENE).T])
def test_layouts_of_a_scene(tmp_path: Path, stored: Array) -> None:
    path = write(tmp_path / "a.mat", Y=stored, gt=LABELS, nRow=HEIGHT, nCol=WIDTH)
    found = open_scene(path, cube="Y")
    np.testing.assert_array_equal(found.cube, SCENE)
    for samples in found.index.splits.values():
        for sample in samples:
            rows, across = found.window(sample.name)
            np.testing.assert_array_equal(found.read(sample.name), SCENE[rows, across])
            assert sample.label == LABELS[rows, across][1, 1] - 1
    assert found.index.classes == ("1", "2", "3")


def test_the_only_array_of_three_axes_is_the_scene(tmp_path: Path) -> None:
    assert open_scene(write(tmp_path / "a.mat", gt=LABELS, scene=SCENE)).cube.shape == SCENE.shape
    with pytest.raises(DataError, match=r"which array is meant is not said; there are a .*; name one by --data.cube$"):
        open_scene(write(tmp_path / "b.mat", a=SCENE, b=SCENE, gt=LABELS))


def test_scenes_of_one_file_are_not_mixed_up(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mat", one=SCENE, two=SCENE + 1, gt=LABELS)
    options: dict[str, Any] = {**SMALL, "path": str(path), "size": 3}
    one, two = (load_data(DataConfig(**options, cube=key), seed=0).splits["train"].images for key in ("one", "two"))
    np.testing.assert_array_equal(one + 1, two)


def test_abundances_label_by_the_largest(tmp_path: Path) -> None:
    shares = np.random.default_rng(1).random((HEIGHT, WIDTH, 3))
    path = write(tmp_path / "a.mat", scene=SCENE, gt=columns(shares))
    found = open_scene(path)
    for sample in found.index.splits["train"]:
        rows, across = found.window(sample.name)
        assert sample.label == shares[rows, across][1, 1].argmax()


def test_pixels_without_a_label_are_no_centres(tmp_path: Path) -> None:
    labels = LABELS.copy()
    labels[:, :20] = 0
    found = open_scene(write(tmp_path / "a.mat", scene=SCENE, gt=labels))
    lefts = [found.window(sample.name)[1].start for part in found.index.splits.values() for sample in part]
    assert min(lefts) >= 19


def test_class_names_may_be_in_the_file(tmp_path: Path) -> None:
    for names in (np.array(["soil", "tree", "water"], object), np.array(["soil", "tree ", "water"])):
        path = write(tmp_path / "a.mat", scene=SCENE, gt=LABELS, cood=names)
        assert open_scene(path).index.classes == ("soil", "tree", "water")
    with pytest.raises(DataError, match="label 3 is out of range for the 2 classes that are named"):
        open_scene(write(tmp_path / "a.mat", scene=SCENE, gt=LABELS, classes=np.array(["soil", "tree"], object)))


@settings(max_examples=25)
@given(st.integers(1, 4), st.integers(1, 6), st.integers(0, 99), st.floats(0.1, 0.3), st.floats(0.1, 0.3))
def test_no_two_splits_share_a_pixel(
    tmp_path_factory: pytest.TempPathFactory, patch: int, stride: int, seed: int, val: float, test: float
) -> None:
    labels = LABELS.copy()
    labels[10:22, 5:30] = 0  # no split's
    path = tmp_path_factory.mktemp("scene") / "a.mat"
    write(path, scene=SCENE, gt=labels)
    options = {"patch": patch, "patch_stride": stride, "val_fraction": val, "test_fraction": test}
    try:
        found = open_scene(path, seed=seed, **options)
    except DataError:  # a few blocks may not hold all classes
        reject()
    used = [counts > 0 for counts in usage(found).values()]
    assert np.sum(used, axis=0).max() == 1
    assert all(part.any() for part in used)


def test_a_patch_of_a_pixel_uses_all_blocks(tmp_path: Path) -> None:
    found = open_scene(write(tmp_path / "a.mat", scene=SCENE, gt=LABELS), patch=1)
    assert sum(counts.sum() for counts in usage(found).values()) == HEIGHT * WIDTH
    sizes = {split: len(samples) / HEIGHT / WIDTH for split, samples in found.index.splits.items()}
    assert sizes == pytest.approx({"train": 0.7, "val": 0.15, "test": 0.15}, abs=0.02)


def test_blocks_follow_the_seed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mat", scene=SCENE, gt=LABELS)
    assert open_scene(path).index == open_scene(path).index != open_scene(path, seed=1).index


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ({"a": SCENE}, {"cube": "Y"}, "there is no key 'Y'; there are a (36, 45, 4); name one by --data.cube"),
        ({"a": SCENE}, {"labels": "gt"}, "there is no key 'gt'; there are a (36, 45, 4); name one by --data.labels"),
        (
            {"a": SCENE},
            {"labels": None},
            "which array is meant is not said; there are a (36, 45, 4); name one by --dat",
        ),
        (
            {"Y": columns(SCENE), "gt": LABELS},
            {},
            "which array is meant is not said; there are Y (4, 1620), gt (36, 45)",
        ),
        ({"Y": columns(SCENE), "gt": LABELS}, {"cube": "Y"}, "/Y: 1620 pixels are not 40×40; say the scene's size by"),
        ({"a": SCENE[:, :, :3], "gt": LABELS}, {}, "/a: an array of (36, 45, 3) for 4 channels has them neither first"),
        ({"a": SCENE, "gt": LABELS[1:]}, {}, "/gt: an array of (35, 45) labels no scene of 36×45 pixels; it must be a"),
        (
            {"a": SCENE, "gt": LABELS},
            {"patch": 30},
            "/a: a scene of 36×45 pixels is too small for splits of patches of 30",
        ),
        (
            {"a": SCENE, "gt": LABELS},
            {"patch": 50},
            "/a: a scene of 36×45 pixels is too small for splits of patches of 50",
        ),
        ({"a": SCENE, "gt": LABELS > 0}, {}, ": all labels are 1; two classes are the least"),
        (
            {"a": SCENE, "gt": LABELS},
            {"group_by": "plate"},
            ": data.group_by needs a samples.csv; a scene's splits are",
        ),
        ({"a": SCENE[:, :, :1, None], "gt": LABELS}, {"cube": "a"}, "/a: an array of (36, 45, 1, 1) is no scene; name"),
        (
            {"a": SCENE.astype(complex), "gt": LABELS},
            {"cube": "a"},
            "the MATLAB file holds a sparse or complex array or an object",
        ),
    ],
)
def test_bad_files_are_named(tmp_path: Path, values: dict[str, Any], options: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "a.mat", **values)
    message = message if message[0] in "/:" else f": {message}"
    with pytest.raises(DataError, match=f"^{re.escape(f'{path}{message}')}"):
        open_scene(path, **options)


def test_channels_need_names(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mat", scene=SCENE, gt=LABELS)
    with pytest.raises(
        ChannelError, match=r"a.mat: nobody says which channels it holds; write a a.channels.yaml beside"
    ):
        open_scene(path, channels=None)


def test_other_versions_and_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM" + bytes(512))
    with pytest.raises(DataError, match=r"a.mat: MATLAB files of version 7.3 \(HDF5\) are not read; save it in MATLAB"):
        open_scene(path)
    path.write_bytes(b"nothing at all" * 20)
    with pytest.raises(DataError, match=r"a.mat: the file cannot be read as a MATLAB file \("):
        open_scene(path)


def test_samson(tmp_path: Path, real_data: Callable[[str], Path]) -> None:
    path = tmp_path / "samson.mat"
    path.symlink_to(real_data("samson.mat"))
    (tmp_path / "samson.channels.yaml").write_text(
        "channels: {sensor: samson, count: 156, wavelengths_nm: [401, 889]}\nunit: reflectance\n"
    )
    config = DataConfig(path=str(path), cube="Y", labels="A", size=9)
    data = load_data(config, seed=0)
    assert data.channels[155].wavelength_nm == 889
    assert data.splits["train"].images.shape[1:] == (9, 9, 156)
    assert all(set(part.labels.tolist()) == {0, 1, 2} for part in data.splits.values())
    found = open_scene(path, channels=None, cube="Y", labels="A")
    red, nir = found.cube[:, :, 80], found.cube[:, :, 140]
    assert (nir[:, :15] < 0.1).all()  # the lake is along the left edge, as in the published picture
    assert np.median(nir[30:60, 35:60] / red[30:60, 35:60]) > 2  # wood beside it
    whole = found.cube.astype(np.float64)
    steps = [np.abs(np.diff(whole, axis=axis)).mean() for axis in (0, 1)]
    rng = np.random.default_rng(0)
    shuffled = rng.permutation(whole.reshape(-1, 156)).reshape(whole.shape)
    assert max(steps) < 0.3 * np.abs(np.diff(shuffled, axis=0)).mean()
