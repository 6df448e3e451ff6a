import mmap
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from anychan.data import pieces as module
from anychan.data.pieces import pieces
from tests.runs import Array


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Array:
    """A memory map (8, 1024, 1024, 2) of 32 MiB, as the cache opens it, that counts as large."""
    monkeypatch.setattr(module, "_LARGE_BYTES", 2**20)
    with (tmp_path / "images.npy").open("wb") as file:
        np.save(file, np.arange(2**24, dtype=np.uint16).reshape(8, 1024, 1024, 2))
        file.flush()
        os.fsync(file.fileno())  # as the cache does: what is not on the disk yet must stay in memory
    opened: Array = np.load(tmp_path / "images.npy", mmap_mode="c")
    return opened


@pytest.mark.parametrize(("values", "sizes"), [(1, [1] * 30), (3, [1] * 30), (24, [8, 8, 8, 6]), (1000, [30])])
def test_pieces_are_the_pixels_in_order(values: int, sizes: list[int]) -> None:
    images = np.arange(90).reshape(5, 2, 3, 3)
    found = list(pieces(images, values))
    assert [len(piece) for piece in found] == sizes
    np.testing.assert_array_equal(np.concatenate(found), images.reshape(30, 3))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no /proc and no such advice")
def test_a_large_map_takes_no_memory(large: Array) -> None:
    before = resident_bytes()
    assert sum(int(piece.sum(dtype=np.int64)) for piece in pieces(large, 2**18)) == 2**8 * 65535 * 65536 // 2
    assert resident_bytes() - before < 2**23
    assert int(large.sum(dtype=np.int64)) == 2**8 * 65535 * 65536 // 2
    assert resident_bytes() - before > 2**24  # read without pieces, it does


def test_what_was_written_to_a_large_map_stays(large: Array) -> None:
    large[2:4] = 7
    for _ in range(2):
        assert sum(int((piece == 7).sum()) for piece in pieces(large, 2**18)) == 2**22 + 6 * 2**5
