from contextlib import suppress
from itertools import product

import numpy as np
import pytest
import torch

from anychan.randomness import derive_seed, only_deterministic


def test_same_arguments_give_the_same_seed() -> None:
    assert derive_seed(3, "order", 1, 2) == derive_seed(3, "order", 1, 2)


def test_every_argument_counts() -> None:
    seeds = [
        derive_seed(seed, purpose, *position)
        for seed, purpose in product((0, 1, 2**32), ("order", "augment", "subset"))
        for length in range(4)
        for position in product((0, 1, 2), repeat=length)
    ]
    assert len(seeds) == 9 * (1 + 3 + 9 + 27)
    assert len(set(seeds)) == len(seeds)


def test_trailing_zeros_are_another_position() -> None:
    # numpy pads entropy with zeros, so that without the length all of these were one seed
    seeds = [derive_seed(0, "order", *[0] * length) for length in range(5)]
    assert len(set(seeds)) == 5


def test_seeds_fit_torch_and_spread_over_all_bits() -> None:
    seeds = [derive_seed(0, "order", epoch) for epoch in range(2000)]
    assert min(seeds) >= 0
    assert max(seeds) < 2**63
    torch.Generator().manual_seed(max(seeds))
    bits = (np.array(seeds)[:, None] >> np.arange(63)) & 1
    share = bits.mean(0)  # (63,), standard error 0.011
    assert share.min() > 0.44
    assert share.max() < 0.56


def test_streams_of_neighbouring_seeds_are_uncorrelated() -> None:
    streams = np.stack([np.random.default_rng(derive_seed(0, "augment", 0, step)).random(4000) for step in range(4)])
    others = np.abs(np.corrcoef(streams) - np.eye(4))
    assert others.max() < 0.08  # five standard errors


def test_negative_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="non-negative"):
        derive_seed(-1, "order")


@pytest.mark.parametrize("asked", [True, False])
def test_only_deterministic_operations_for_as_long_as_asked(asked: bool) -> None:
    with suppress(KeyError), only_deterministic(asked):
        assert torch.are_deterministic_algorithms_enabled() == asked
        raise KeyError
    assert not torch.are_deterministic_algorithms_enabled()
