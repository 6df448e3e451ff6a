"""Memory that does not grow with the images."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.runs import ROOT

GIB = 2**30
FILES, SIDE, BANDS = 128, 800, 13  # 16 MB each, 2.1 GB together

_PREPARE = """
import json, sys
from anychan.data.dataset import load_data
from anychan.recipe import DataConfig
data = load_data(DataConfig(path=sys.argv[1], channels="sentinel2", size=int(sys.argv[2])), seed=0)
data.statistics
data.percentiles([0.1, 99.9])
line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
peak = 1024 * int(line.split()[1])  # ru_maxrss would hold the parent's too
print(json.dumps({"peak": peak, "bytes": sum(part.images.nbytes for part in data.splits.values())}))
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of large uncompressed TIFFs, two classes."""
    folder = tmp_path_factory.mktemp("stack")
    image = np.random.default_rng(0).integers(0, 10_000, (SIDE, SIDE, BANDS), dtype=np.uint16)
    for number in range(FILES):
        path = folder / "ab"[number % 2] / f"{number:03}.tif"
        path.parent.mkdir(exist_ok=True)
        tifffile.imwrite(path, image + np.uint16(number), photometric="minisblack", planarconfig="contig")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("size", [64, SIDE], ids=["resized", "kept large"])
def test_two_gigabytes_are_prepared_in_less_than_one(stack: Path, tmp_path: Path, size: int) -> None:
    assert sum(file.stat().st_size for file in stack.rglob("*.tif")) > 2 * 10**9
    done = subprocess.run(
        [sys.executable, "-c", _PREPARE, str(stack), str(size)],
        capture_output=True,
        text=True,
        env={**os.environ, "ANYCHAN_CACHE": str(tmp_path), "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        check=False,
    )
    for file in tmp_path.iterdir():
        file.unlink()
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["bytes"] == FILES * size * size * BANDS * 2
    assert found["peak"] < GIB, f"{found['peak'] / GIB:.2f} GiB"
