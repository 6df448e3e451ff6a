"""Where benchmarks of speed compute: on a GPU if there is one."""

from __future__ import annotations

import torch

__all__ = ["device", "synchronize"]


def device() -> str:
    """`"cuda"` or `"cpu"`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def synchronize() -> None:
    """Wait until a GPU has done what it was told."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
