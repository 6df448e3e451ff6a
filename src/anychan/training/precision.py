"""In which number type a run computes."""

from __future__ import annotations

import torch

__all__ = ["resolve_precision"]


def resolve_precision(precision: str) -> str:
    """`"auto"` → `"bf16"` where the hardware computes in it, else `"float32"`: elsewhere bf16 is many times slower."""
    if precision != "auto":
        return precision
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    # PyTorch has no public question for it yet
    asks = [getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")]
    return "bf16" if any(ask is not None and ask() for ask in asks) else "float32"
