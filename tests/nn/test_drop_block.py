import math
import re

import pytest
import torch
from torch import Tensor

from anychan.errors import ConfigError
from anychan.nn.drop_block import DropBlock2d, check_shares

MAPS = [((9, 13), 3), ((13, 9), 4), ((5, 7), 2), ((8, 5), 1)]


def squares_of(dropped: Tensor, side: int) -> Tensor:
    """(N, C, H, W) bool: the union of the side × side squares inside the maps that are dropped wholly."""
    height, width = dropped.shape[2:]
    union = torch.zeros_like(dropped)
    for top in range(height - side + 1):
        for left in range(width - side + 1):
            rows, columns = slice(top, top + side), slice(left, left + side)
            union[:, :, rows, columns] |= dropped[:, :, rows, columns].all(3).all(2)[:, :, None, None]
    return union


@pytest.mark.parametrize(("size", "block"), MAPS)
def test_what_is_dropped_are_whole_squares(size: tuple[int, int], block: int) -> None:
    dropped = DropBlock2d(0.1, block_size=block)(torch.ones(60, 4, *size)) == 0
    assert torch.equal(squares_of(dropped, block), dropped)
    assert not torch.equal(squares_of(dropped, block + 1), dropped)  # nor are they larger
    assert dropped.flatten(0, 1).any(0).all()  # the border too
    assert dropped.flatten(2).unique(dim=1).shape[1] > 1  # each map has its own


@pytest.mark.parametrize("probability", [0.05, 0.3])
@pytest.mark.parametrize(("size", "block"), MAPS)
def test_dropped_share_is_a_little_below_p(size: tuple[int, int], block: int, probability: float) -> None:
    starts = [side - block + 1 for side in size]
    gamma = probability * math.prod(size) / (block**2 * math.prod(starts))
    # how many squares could hold a pixel of each row and column
    rows, columns = (
        torch.tensor(
            [sum(start <= pixel < start + block for start in range(side - block + 1)) for pixel in range(side)]
        )
        for side in size
    )
    expected = float((1 - (1 - gamma) ** torch.outer(rows, columns)).mean())
    assert expected < probability if block > 1 else expected == pytest.approx(probability)
    dropped = DropBlock2d(probability, block_size=block)(torch.ones(2000, 5, *size)) == 0
    assert float(dropped.float().mean()) == pytest.approx(expected, rel=0.05)
    assert 0.8 * probability < expected


def test_what_is_kept_is_scaled_by_one_factor() -> None:
    x = torch.randn(6, 4, 9, 13, dtype=torch.float64, requires_grad=True)
    y = DropBlock2d(0.2, block_size=3)(x)
    kept = y != 0
    assert 0 < int(kept.sum()) < x.numel()
    expected = x * kept * (x.numel() / int(kept.sum()))
    torch.testing.assert_close(y, expected, rtol=1e-6, atol=0)  # the factor is a float32
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient.sum(), torch.tensor(float(x.numel()), dtype=torch.float64))
    assert torch.equal(gradient != 0, kept)


@pytest.mark.parametrize(("size", "side"), [((2, 5), 2), ((6, 1), 1), ((3, 3), 3)])
def test_block_larger_than_the_map_takes_its_smaller_side(size: tuple[int, int], side: int) -> None:
    dropped = DropBlock2d(0.4, block_size=7)(torch.ones(50, 4, *size)) == 0
    assert torch.equal(squares_of(dropped, side), dropped)
    assert 0.25 < float(dropped.float().mean()) < 0.5
    assert dropped.flatten(0, 1).any(0).all()


def test_a_batch_may_be_dropped_whole() -> None:
    layer, x = DropBlock2d(0.9, block_size=3), torch.ones(1, 1, 3, 3)
    sums = {float(layer(x).sum()) for _ in range(60)}
    assert sums == {0.0, 9.0}  # and not NaN


def test_number_type_stays() -> None:
    layer, x = DropBlock2d(0.2, block_size=3), torch.randn(6, 4, 9, 13)
    torch.manual_seed(1)
    expected = layer(x.bfloat16().float())
    torch.manual_seed(1)
    found = layer(x.bfloat16())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0.02, atol=0)


def test_draws_follow_torchs_random_state() -> None:
    layer, x = DropBlock2d(0.2, block_size=3), torch.ones(6, 4, 9, 13)
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(layer(x))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_outside_training_and_without_probability_nothing_happens() -> None:
    x = torch.randn(6, 4, 9, 13)
    assert DropBlock2d(0.9, block_size=3).eval()(x) is x
    assert DropBlock2d(0.0, block_size=3)(x) is x


@pytest.mark.parametrize(("probability", "block"), [(-0.1, 3), (1.0, 3), (float("nan"), 3), (0.1, 0)])
def test_other_numbers_are_refused(probability: float, block: int) -> None:
    text = "a probability of 0 or more and below 1 and a block size of 1 or more"
    with pytest.raises(ConfigError, match=re.escape(f"DropBlock takes {text}, not {probability} and {block}")):
        DropBlock2d(probability, block_size=block)


def test_print_shows_the_sizes() -> None:
    assert repr(DropBlock2d(0.1, block_size=3)) == "DropBlock2d(0.1, block_size=3)"


@pytest.mark.parametrize("bad", [-0.1, 1, 1.0, float("nan"), "0.5", None, True])
def test_shares_are_below_one(bad: object) -> None:
    check_shares("net", here=0, there=0.99)
    with pytest.raises(ConfigError, match=f"^net's there is a share from 0 and below 1, not {bad!r}$"):
        check_shares("net", here=0.5, there=bad)  # type: ignore[arg-type]
