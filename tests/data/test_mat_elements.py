import struct
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from anychan.data.cube import read_mat
from anychan.data.mat_elements import check_elements
from anychan.errors import DataError

CELLS = np.array([np.zeros(3), "text", {"a": 1}], object)


@pytest.mark.parametrize("options", [{"format": "4"}, {}, {"do_compression": True}], ids=str)
def test_what_scipy_writes_is_read(tmp_path: Path, options: dict[str, object]) -> None:
    cube, cells = np.arange(60.0).reshape(4, 15), {} if "format" in options else {"cells": CELLS}
    scipy.io.savemat(tmp_path / "a.mat", {"cube": cube, "text": "abc", **cells}, **options)
    check_elements(tmp_path / "a.mat")
    assert read_mat(tmp_path / "a.mat")["cube"].tolist() == cube.tolist()


def test_a_type_that_scipy_crashes_at_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"V": np.ones((4, 5, 3), np.uint8)})
    data = path.read_bytes()
    tag = struct.pack("<II", 2, 60)  # of the numbers
    assert data.count(tag) == 1
    path.write_bytes(data.replace(tag, struct.pack("<II", 0, 60)))
    with pytest.raises(DataError, match=r"a.mat: the MATLAB file is damaged: it has an element of type 0, or too many"):
        read_mat(path)


def test_sparse_arrays_are_refused(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"V": scipy.sparse.csc_array(np.eye(3))})
    with pytest.raises(DataError, match="holds a sparse or complex array or an object, which is not read"):
        read_mat(tmp_path / "a.mat")


def test_complex_arrays_are_refused(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"V": np.ones((2, 2), complex)})
    with pytest.raises(DataError, match="holds a sparse or complex array or an object, which is not read"):
        read_mat(tmp_path / "a.mat")


@pytest.mark.parametrize("sizes", [(4, -3, 5), (4, 2**30, 3), ()])
def test_sizes_that_scipy_crashes_at_are_refused(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"V": np.ones((4, 5, 3), np.uint8)})
    data, whole = path.read_bytes(), struct.pack("<IIIII", 5, 12, 4, 5, 3)
    assert data.count(whole) == 1
    path.write_bytes(data.replace(whole, struct.pack(f"<II{len(sizes)}i", 5, 4 * len(sizes), *sizes).ljust(20, b"\0")))
    with pytest.raises(DataError, match="it has an array that is larger than the file, or of no size"):
        read_mat(path)


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"V": np.ones(1)})
    head = path.read_bytes()[:128]
    cell = struct.pack("<II", 14, 2**20) + struct.pack("<IIII", 6, 8, 1, 0) + struct.pack("<IIII", 5, 8, 1, 1)
    cell += struct.pack("<II", 1, 0)
    path.write_bytes(head + cell * 5000)
    with pytest.raises(DataError, match="or too many arrays"):
        read_mat(path)


def test_a_bomb_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"V": np.zeros(130 * 2**20, np.uint8)}, do_compression=True)
    with pytest.raises(DataError, match=r"a.mat: .* bytes say that they become .* in memory"):
        read_mat(path)
