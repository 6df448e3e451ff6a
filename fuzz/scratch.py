"""Where targets write files: in memory, since files on disk are slow."""

from __future__ import annotations

import tempfile
from pathlib import Path

__all__ = ["FOLDER", "written"]

_MEMORY = Path("/dev/shm")
FOLDER = Path(tempfile.mkdtemp(prefix="anychan-fuzz-", dir=_MEMORY if _MEMORY.is_dir() else None))


def written(data: bytes, name: str) -> Path:
    """A file with these bytes."""
    path = FOLDER / name
    path.write_bytes(data)
    return path
