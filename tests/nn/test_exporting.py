import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, export

from anychan.nn.exporting import is_free, solve


class Says(nn.Module):
    """Whether it takes the batch for one of any size."""

    def forward(self, x: Tensor) -> Tensor:
        return x.new_ones(1) if is_free(x.shape[0]) else x.new_zeros(1)


@pytest.mark.parametrize(("shapes", "expected"), [(({0: Dim("batch")},), 1.0), (None, 0.0)])
def test_only_an_exported_network_has_free_sizes(shapes: tuple[dict[int, Dim]] | None, expected: float) -> None:
    x = torch.zeros(3, 2)
    assert Says()(x).item() == 0
    assert export(Says(), (x,), dynamic_shapes=shapes).module()(x).item() == expected


class Solves(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return solve(a, b)


def test_solving_by_steps_is_solving() -> None:
    factors = torch.randn(3, 4, 6, dtype=torch.float64)
    a, b = factors @ factors.mT, torch.randn(3, 4, 2, dtype=torch.float64)
    torch.testing.assert_close(a @ solve(a, b), b)
    torch.testing.assert_close(export(Solves(), (a, b)).module()(a, b), solve(a, b))
