"""`anychan predict --engine ray` as it is installed, on this machine: a worker killed in the middle, none left over."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from anychan.models.pretrained import save
from anychan.presets import RGB
from tests.local_cluster import busy_workers, marked
from tests.runs import png, run_anychan, start_anychan
from tests.scenes import noise, scene_model


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """160 names of 8 photographs, which take a while to decode."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(8):
        (folder / f"{number:03}.png").write_bytes(png(noise(800, 800, 3, seed=number).astype(np.uint8)))
    for number in range(8, 160):
        (folder / f"{number:03}.png").hardlink_to(folder / f"{number % 8:03}.png")
    return folder


def test_every_image_once_although_a_worker_is_killed(images: Path, tmp_path: Path) -> None:
    save(scene_model(RGB), tmp_path / "run")
    asked = ("predict", tmp_path / "run", images, "--batch-size", 4, "--format", "jsonl")
    code, expected, _ = run_anychan(*asked)
    assert code == 0
    assert len(expected.splitlines()) == 160
    with marked() as mark, start_anychan(*asked, "--engine", "ray", environment=mark) as process:
        deadline = time.monotonic() + 120
        while not (busy := busy_workers()):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)  # or this process takes a core of those that are to become busy
        os.kill(busy[0], signal.SIGKILL)
        out, err = process.communicate(timeout=200)
    assert (process.returncode, err) == (0, "")
    assert out == expected
