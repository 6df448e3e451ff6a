"""Training that is stopped at a chosen write: killed, interrupted, or refused by the disk."""

import errno
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

__all__ = ["STOPS", "stopped_at"]

STOPS = ("SIGKILL", "SIGTERM", "Ctrl-C", "disk")


class _KilledError(BaseException):
    """The process has ended."""


@contextmanager
def stopped_at(write: int, by: str, folder: Path, *, torn: float) -> Iterator[None]:
    """Stop what is run inside before its so many-th sync or rename of a file, 0 for the first.

    A killed process does nothing more: what it does here, as the exception passes, is undone.

    Args:
        write: which one; more than there are stop nothing.
        by: one of `STOPS`; SIGTERM kills where nobody handles it.
        folder: what a killed process leaves as it is.
        torn: how much of a file that was being written there is, 0 to 1.
    """
    left, copy = write, folder.with_name(f"{folder.name} when killed")

    def stop(path: object) -> None:
        if by == "Ctrl-C":
            raise KeyboardInterrupt
        if by == "disk":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *([] if isinstance(path, int) else [str(path)]))
        if by == "SIGTERM" and signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
            signal.raise_signal(signal.SIGTERM)
            return
        shutil.copytree(folder, copy)
        raise _KilledError

    def counted(real: Callable[..., None]) -> Callable[..., None]:
        def call(path: Any, *rest: Any) -> None:
            nonlocal left
            left -= 1
            if left == -1:
                stop(path)
            real(path, *rest)

        return call

    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)  # Ray leaves a handler behind, which Lightning calls too
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", counted(os.fsync))
        patch.setattr(os, "replace", counted(os.replace))
        try:
            yield
        except KeyboardInterrupt:
            assert by == "Ctrl-C"
        except _KilledError:
            shutil.rmtree(folder)
            copy.rename(folder)
            for path in folder.rglob("*.partial"):
                os.truncate(path, int(torn * path.stat().st_size))
        finally:
            signal.signal(signal.SIGTERM, before)
