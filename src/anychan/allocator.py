"""What becomes of memory that a training has freed."""

from __future__ import annotations

import ctypes
import os
import sys

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Let this process use freed memory again, where Linux' C library would give it back.

    By default glibc returns each tensor above 32 MiB, and the top of the heap, to the system when it is freed. The next
    one is then made of new pages, each zeroed when it is first written to, and a training step on a CPU spends up to a
    quarter of its time there where its tensors are large. The process keeps its peak size instead, which is a little
    larger, because what is free is in pieces.

    Nothing changes with another C library, or if an environment variable such as `MALLOC_TRIM_THRESHOLD_` says how
    memory is to be managed.
    """
    tuned = any(name.startswith("MALLOC_") for name in os.environ)
    if sys.platform != "linux" or tuned or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, -1)
