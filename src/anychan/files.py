"""Files that are whole or absent."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["replacing", "write_json"]


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to; sync and rename it at the end, delete it on any error.

    The file gets the permissions that a new file has here, whatever the writer chose (safetensors makes it private).

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "greeting.txt"
        >>> with replacing(target) as partial:
        ...     _ = partial.write_text("hello")
        >>> target.read_text()
        'hello'
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.touch()
        mode = partial.stat().st_mode
        yield partial
        partial.chmod(mode)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_json(path: Path, values: Any) -> None:
    """Write JSON, indented, without NaN."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n", encoding="utf-8")
