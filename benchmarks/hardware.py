"""Where benchmarks of speed compute, on a GPU if there is one; and the memory that a process holds."""

from __future__ import annotations

from pathlib import Path

import torch

__all__ = ["device", "peak_mib", "synchronize"]


def device() -> str:
    """`"cuda"` or `"cpu"`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def synchronize() -> None:
    """Wait until a GPU has done what it was told."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_mib() -> float:
    """Most memory that this process held, in MiB; on Linux.

    `getrusage` counts what the process was forked from too, and its peak is the parent's where that is larger.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
