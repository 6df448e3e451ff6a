"""A real file system of a few KiB, to fill and to make read-only."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class Disk:
    """A tmpfs.

    Args:
        path: where it is mounted.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def leave(self, kib: int) -> None:
        """Change its size so that so many KiB are free; writing is allowed again."""
        used = shutil.disk_usage(self.path).used // 1024
        _mount(self.path, f"remount,rw,size={used + kib}k")

    def make_read_only(self) -> None:
        """Nothing can be written any more, by root neither."""
        _mount(self.path, "remount,ro")

    def files(self) -> list[str]:
        """All files below it, sorted."""
        return sorted(str(path.relative_to(self.path)) for path in self.path.rglob("*") if path.is_file())


def _mount(path: Path, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], check=True, capture_output=True)


@contextmanager
def small_disk(path: Path) -> Iterator[Disk]:
    """Mount a disk of 4 MiB; the test is skipped where that is not allowed."""
    path.mkdir()
    try:
        _mount(path, "size=4096k")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no tmpfs can be mounted here, which takes Linux and root")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)
