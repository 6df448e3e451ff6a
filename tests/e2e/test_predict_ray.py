"""`anychan predict --engine ray` as it is installed, on this machine: a worker killed in the middle, none left over.

Its standard error is a terminal, where the progress is shown, and nothing of Ray's own messages.
"""

import os
import pty
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
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


def all_of(terminal: int) -> str:
    """What is written to a pseudo-terminal until nobody has it open."""
    found = b""
    with suppress(OSError):
        while part := os.read(terminal, 2**16):
            found += part
    os.close(terminal)
    return found.decode()


def test_every_image_once_although_a_worker_is_killed(images: Path, tmp_path: Path) -> None:
    save(scene_model(RGB), tmp_path / "run")
    asked = ("predict", tmp_path / "run", images, "--batch-size", 4, "--format", "jsonl")
    code, expected, _ = run_anychan(*asked)
    assert code == 0
    assert len(expected.splitlines()) == 160
    terminal, side = pty.openpty()
    with (
        ThreadPoolExecutor() as pool,
        marked() as mark,
        start_anychan(*asked, "--engine", "ray", environment=mark, stderr=side) as process,
    ):
        os.close(side)
        shown = pool.submit(all_of, terminal)
        deadline = time.monotonic() + 120
        while not (busy := busy_workers()):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)  # or this process takes a core of those that are to become busy
        os.kill(busy[0], signal.SIGKILL)
        out, _ = process.communicate(timeout=200)
    assert process.returncode == 0
    assert out == expected
    words = set(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.result()).split())
    assert {word for word in words if re.search("[a-z]", word)} == {"predicting"}
