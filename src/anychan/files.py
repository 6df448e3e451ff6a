"""Files that are whole or absent."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from anychan.errors import StorageError

__all__ = ["check_plain", "read_json", "replacing", "write_json"]


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to; sync and rename it at the end, delete it on any error.

    The file gets the permissions that a new file has here, whatever the writer chose (safetensors makes it private).

    Raises:
        StorageError: naming `path`, when the disk does not take the file.

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
        _sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):  # the disk may be read-only by now, or gone
            partial.unlink(missing_ok=True)
        if (number := _refusal(error, partial)) is not None:
            raise StorageError(path, number) from None
        raise


def _sync_folder(folder: Path) -> None:
    """So that the new name outlives a power cut; systems that cannot open a folder see to it themselves."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _refusal(error: BaseException, file: Path) -> int | None:
    """The system's error number, where it was the writing of this file that failed."""
    if isinstance(error, OSError) and error.filename in (None, str(file), file):
        return error.errno
    told = re.search(r"\(os error (\d+)\)", str(error))  # how libraries in Rust tell it, as safetensors
    return int(told[1]) if told else None


def check_plain(path: Path) -> None:
    """See that a path leads to a plain file: a device or pipe, to which a link may lead, is read forever.

    Raises:
        OSError: when it does not, or to nothing.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is no plain file", str(path))


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        OSError: when the file is absent, or no plain file.
        ValueError: when it is no JSON in UTF-8, or nested too deeply.
    """
    check_plain(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def write_json(path: Path, values: Any) -> None:
    """Write JSON, indented, without NaN."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n", encoding="utf-8")
