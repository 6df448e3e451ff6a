import io
import re
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anychan.contract import ResizeRule
from anychan.data.array_file import ArrayCollection, class_names, load_arrays
from anychan.data.cache import cached_images
from anychan.data.dataset import load_data
from anychan.data.opening import open_collection
from anychan.encoding import Encoding
from anychan.errors import ChannelError, DataError
from anychan.presets import SENTINEL2
from anychan.recipe import DataConfig
from tests.runs import Array

RNG = np.random.default_rng(0)
X = RNG.integers(0, 60_000, (20, 3, 5, 7), dtype=np.uint16)  # (N, C, H, W)
Y = np.arange(20) % 2
GOOD: dict[str, Any] = {"x": X, "y": Y, "channels": np.array(["DNA", "ER", "AGP"])}


def open_file(folder: Path, values: dict[str, Any], *, seed: int = 0, **options: Any) -> ArrayCollection:
    np.savez_compressed(folder / "cells.npz", **{key: value for key, value in values.items() if value is not None})
    found = open_collection(folder / "cells.npz", DataConfig(**options), seed=seed)
    assert isinstance(found, ArrayCollection)
    return found


def images(found: ArrayCollection) -> dict[int, Array]:
    """Every sample by its row in x."""
    return {
        int(sample.name.rpartition("/")[2]): found.read(sample.name)
        for samples in found.index.splits.values()
        for sample in samples
    }


@pytest.mark.parametrize("array", [X, np.moveaxis(X, 1, -1)], ids=["first", "last"])
@pytest.mark.parametrize("keys", [("x", "y"), ("images", "labels")])
def test_images_and_labels(tmp_path: Path, array: Array, keys: tuple[str, str]) -> None:
    found = open_file(tmp_path, {keys[0]: array, keys[1]: Y, "channels": GOOD["channels"]})
    assert found.channels.identities == ("custom:DNA", "custom:ER", "custom:AGP")
    assert not found.named_sensor
    assert found.index.classes == ("0", "1")
    for row, image in images(found).items():
        np.testing.assert_array_equal(image, np.moveaxis(X[row], 0, -1))
    for samples in found.index.splits.values():
        assert all(sample.label == int(sample.name[-2:]) % 2 for sample in samples)


def test_splits_are_drawn_by_class_from_the_seed(tmp_path: Path) -> None:
    found = open_file(tmp_path, GOOD, val_fraction=0.2, test_fraction=0.1)
    counts = {split: Counter(sample.label for sample in samples) for split, samples in found.index.splits.items()}
    assert counts == {"train": {0: 7, 1: 7}, "val": {0: 2, 1: 2}, "test": {0: 1, 1: 1}}
    assert found.index == open_file(tmp_path, GOOD, val_fraction=0.2, test_fraction=0.1).index
    assert found.index != open_file(tmp_path, GOOD, val_fraction=0.2, test_fraction=0.1, seed=1).index


def test_splits_that_the_file_has(tmp_path: Path) -> None:
    parts = {"x_train": X, "y_train": Y, "x_test": X[:4], "y_test": Y[:4], "channels": GOOD["channels"]}
    drawn = open_file(tmp_path, parts, val_fraction=0.2)
    assert {split: len(samples) for split, samples in drawn.index.splits.items()} == {"train": 16, "val": 4, "test": 4}
    assert {sample.name for sample in drawn.index.splits["test"]} == {f"x_test/{row}" for row in range(4)}
    given = open_file(tmp_path, {**parts, "x_val": X[:2] + 1, "y_val": Y[:2]})
    assert {split: len(samples) for split, samples in given.index.splits.items()} == {"train": 20, "val": 2, "test": 4}
    np.testing.assert_array_equal(given.read("x_val/1"), np.moveaxis(X[1] + 1, 0, -1))


def test_channels_are_chosen_from_those_named(tmp_path: Path) -> None:
    found = open_file(tmp_path, GOOD, channels=["AGP", "DNA"])
    np.testing.assert_array_equal(images(found)[3], np.moveaxis(X[3, [2, 0]], 0, -1))
    named = open_file(tmp_path, {**GOOD, "channels": None}, channels="sentinel2:B02,sentinel2:B03,sentinel2:B04")
    assert named.channels == SENTINEL2.select("B02,B03,B04")


def test_the_file_beside_wins(tmp_path: Path) -> None:
    (tmp_path / "cells.channels.yaml").write_text(
        "channels: [sentinel2:B02, sentinel2:B03, sentinel2:B04]\nno_data: 0\n"
    )
    found = open_file(tmp_path, GOOD)
    assert found.channels == SENTINEL2.select("B02,B03,B04")
    assert found.encodings == (Encoding(no_data=0),) * 3
    assert found.named_sensor


def test_first_classes_only(tmp_path: Path) -> None:
    found = open_file(tmp_path, {**GOOD, "y": np.arange(20) % 4}, num_classes=2, val_fraction=0.2, test_fraction=0.2)
    assert found.index.classes == ("0", "1")
    assert {sample.label for samples in found.index.splits.values() for sample in samples} == {0, 1}


def test_another_file_is_another_cache(tmp_path: Path, empty_cache: Path) -> None:
    first = cached_images(open_file(tmp_path, GOOD), ["x/03"], ResizeRule(5))
    second = cached_images(open_file(tmp_path, {**GOOD, "x": X[::-1]}), ["x/03"], ResizeRule(5))
    assert len(list(empty_cache.glob("*.npy"))) == 2
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"y": None}, DataError, "there are neither x and y nor x_train, y_train, x_test and y_test; there are x, ch"),
        ({"y": Y[1:]}, DataError, "x of (20, 3, 5, 7) and y of (19,) are no images (N, C, H, W) or (N, H, W, C) with"),
        ({"x": X[:, 0]}, DataError, "x of (20, 5, 7) and y of (20,) are no images"),
        ({"y": Y / 3}, DataError, "labels of type float64 and shape (20,) are no whole numbers or texts (N,)"),
        ({"y": np.eye(2)[Y]}, DataError, "labels of type float64 and shape (20, 2) are no whole numbers"),
        ({"y": Y * 0}, DataError, "all labels are 0; two classes are the least"),
        ({"classes": np.array(["a"])}, DataError, "label 1 is out of range for the 1 classes that are named"),
        ({"y": np.where(Y, np.inf, 0)}, DataError, "labels of type float64 and shape (20,) are no whole numbers"),
        ({"classes": np.array("a")}, DataError, "label 1 is out of range for the 1 classes that are named"),
        ({"y": np.array([{}] * 20)}, DataError, "the file cannot be read as arrays (Object arrays cannot be loaded"),
        (
            {"channels": None},
            ChannelError,
            "nobody says which channels it holds; write a cells.channels.yaml beside it",
        ),
        ({"channels": np.array(["a", "a", "b"])}, ChannelError, "channel 'custom:a' is there twice"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, changed: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{re.escape(f'{tmp_path}/cells.npz: {message}')}"):
        open_file(tmp_path, {**GOOD, **changed})


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((20, 3, 5, 3)), "an array of (20, 3, 5, 3) for 3 channels has them first or last, nobody can tell"),
        (np.zeros((20, 4, 5, 7)), "an array of (20, 4, 5, 7) for 3 channels has them neither first nor last"),
    ],
)
def test_channels_must_be_told_apart(tmp_path: Path, array: Array, message: str) -> None:
    with pytest.raises(DataError, match=f"^{re.escape(f'{tmp_path}/cells.npz/x: {message}')}"):
        open_file(tmp_path, {**GOOD, "x": array})


def test_an_array_that_holds_nothing_a_billion_times_is_named(tmp_path: Path) -> None:
    head = {"descr": "|u1", "fortran_order": False, "shape": (10**9, 3, 0, 5)}
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive, archive.open("x.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, head)
    with pytest.raises(DataError, match=r"a.npz/x: it is no array, or one that holds nothing; leave it out"):
        open_collection(tmp_path / "a.npz", DataConfig(), seed=0)


def test_characters_that_do_not_exist_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", classes=np.array([0x110000, 0x61], np.uint32).view("U1"))
    with pytest.raises(DataError, match=r"a.npz/classes: the texts hold characters that do not exist"):
        open_collection(tmp_path / "a.npz", DataConfig(), seed=0)


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros(130 * 2**20, np.uint8))
    with pytest.raises(DataError, match=r"a.npz: .* bytes say that they become 136,3.* in memory"):
        open_collection(tmp_path / "a.npz", DataConfig(), seed=0)


@pytest.mark.parametrize("content", [b"", b"PK\3\4nothing", b"hello"])
def test_damaged_files_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"a.npz: the file cannot be read as arrays \("):
        open_collection(tmp_path / "a.npz", DataConfig(), seed=0)


def test_groups_need_a_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cells.npz: data.group_by needs a samples.csv, which an .npz cannot have"):
        open_file(tmp_path, GOOD, group_by="plate")


def test_class_names() -> None:
    numbers = np.array([7, 1, 2, 7], np.uint8)
    assert class_names([numbers], None, "f") == ([[2, 0, 1, 2]], ("1", "2", "7"))
    assert class_names([numbers[:, None], numbers[:1]], None, "f") == ([[2, 0, 1, 2], [2]], ("1", "2", "7"))
    assert class_names([numbers / 1.0], None, "f") == ([[2, 0, 1, 2]], ("1", "2", "7"))
    assert class_names([np.array(["b", "a"])], None, "f") == ([[1, 0]], ("a", "b"))
    assert class_names([np.array([2, 1])], np.array(["x", "y "]), "f", first=1) == ([[1, 0]], ("x", "y"))
    with pytest.raises(DataError, match=r"^f: label 0 is out of range for the 2 classes that are named"):
        class_names([np.array([0, 1])], np.array(["x", "y"]), "f", first=1)


def test_cell_cycle(real_data: Callable[[str], Path]) -> None:
    path = real_data("cell-cycle.npz")
    found = open_collection(path, DataConfig(num_classes=4), seed=0)
    assert found.channels.names == ("Ch3", "Ch4", "Ch6")
    assert found.index.classes == ("G1", "S_phase", "G2", "Prophase")
    with np.load(path) as file:
        sample = found.index.splits["test"][5]
        row = int(sample.name.rpartition("/")[2])
        np.testing.assert_array_equal(found.read(sample.name), np.moveaxis(file["x"][row], 0, -1))
        assert file["y"][row] == sample.label


def test_statlog(real_data: Callable[[str], Path]) -> None:
    config = DataConfig(path=str(real_data("statlog-landsat.npz")), channels=["green", "red", "nir1", "nir2"], size=3)
    data = load_data(config, seed=0)
    assert data.classes == ("1", "2", "3", "4", "5", "7")
    assert {split: len(part) for split, part in data.splits.items()} == {"train": 3770, "val": 665, "test": 2000}
    assert data.splits["test"].images.shape == (2000, 3, 3, 4)


def test_a_packing_that_becomes_large_at_one_stroke_is_refused(tmp_path: Path) -> None:
    path, file = tmp_path / "a.npz", io.BytesIO()
    np.save(file, X)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("x.npy", file.getvalue())
    with pytest.raises(
        DataError, match=r"a\.npz: the entry 'x\.npy' is packed by method 12 of zips, which is not read"
    ):
        load_arrays(path)
