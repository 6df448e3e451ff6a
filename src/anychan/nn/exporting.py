"""What layers ask, and do in another way, while `torch.export` records them."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["is_free", "solve"]


def is_free(size: int) -> bool:
    """Whether a size is one that an exported network leaves open, such as its batch's: code must not branch on it."""
    return torch.compiler.is_exporting() and isinstance(size, torch.SymInt)


def solve(a: Tensor, b: Tensor) -> Tensor:
    """a⁻¹ b for positive definite a (N, C, C), b (N, C, D).

    ONNX has no operator for it, so a file gets the steps of Gauss and Jordan in a loop. Positive definite matrices need
    no search for pivots.
    """
    if not torch.compiler.is_exporting():
        return torch.linalg.solve(a, b)  # type: ignore[no-any-return]
    from torch._higher_order_ops.scan import scan  # a loop that is exported as one, where Python's would be unrolled

    count = a.shape[1]

    def step(rows: Tensor, unit: Tensor) -> tuple[Tensor, Tensor]:
        """Row k, of which `unit` is the unit vector, becomes the pivot row; column k becomes the unit vector."""
        row = torch.einsum("nij,i->nj", rows, unit)
        pivot = row / (row[:, :count] @ unit)[:, None]
        column = torch.einsum("nij,j->ni", rows[:, :, :count], unit)
        return rows - (column - unit)[:, :, None] * pivot[:, None], row[:, 0].clone()  # every step must give something

    units = torch.eye(count, dtype=a.dtype, device=a.device)
    solved: tuple[Tensor, Tensor] = scan(step, torch.cat([a, b], 2), units)
    return solved[0][:, :, count:]
