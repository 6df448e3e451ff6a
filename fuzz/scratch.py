"""Where targets write files; `trust_fuzz.py` gives a folder in memory, since files on disk are slow."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

__all__ = ["BETWEEN", "FOLDER", "written", "zipped"]

BETWEEN = b"\n--\n"  # between the files of an input

FOLDER = Path(tempfile.mkdtemp(prefix="anychan-fuzz-"))


def written(data: bytes, name: str) -> Path:
    """A file with these bytes."""
    path = FOLDER / name
    path.write_bytes(data)
    return path


def zipped(files: Mapping[str, bytes], kind: int) -> bytes:
    """A zip of these files, compressed in a way."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    return file.getvalue()
