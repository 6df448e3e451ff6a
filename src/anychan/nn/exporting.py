"""What layers ask while `torch.export` records them."""

from __future__ import annotations

import torch

__all__ = ["is_free"]


def is_free(size: int) -> bool:
    """Whether a size is one that an exported network leaves open, such as its batch's: code must not branch on it."""
    return torch.compiler.is_exporting() and isinstance(size, torch.SymInt)
