from typing import Any

import pytest
import torch
from torch import fx, nn

from anychan.profiling.operators import (
    BOUNDED,
    addends,
    attended,
    factors,
    is_constant,
    is_linear,
    pools_places,
    value_shape,
)

ATEN = torch.ops.aten


class Drawn:
    """Operators on placeholders, whose values are made up."""

    def __init__(self) -> None:
        self.graph = fx.Graph()

    def value(self, *shape: int, dtype: torch.dtype = torch.float32) -> fx.Node:
        node = self.graph.placeholder(f"x{len(self.graph.nodes)}")
        node.meta["val"] = torch.empty(shape, dtype=dtype, device="meta")
        return node

    def call(self, operator: Any, *args: Any, shape: tuple[int, ...] = (), **kwargs: Any) -> fx.Node:
        node = self.graph.call_function(operator, args, kwargs)
        node.meta["val"] = torch.empty(shape, device="meta")
        return node


@pytest.mark.parametrize(
    ("operator", "arguments", "multiplied", "added"),
    [
        (ATEN.conv2d.default, "xyz", "xy", "z"),
        (ATEN.linear.default, "xyz", "xy", "z"),
        (ATEN.linear.default, "xy", "xy", ""),
        (ATEN.addmm.default, "xyz", "yz", "x"),
        (ATEN.baddbmm.default, "xyz", "yz", "x"),
        (ATEN.matmul.default, "xy", "xy", ""),
        (ATEN.mul.Tensor, "xy", "xy", ""),
        (ATEN.div.Tensor, "xy", "xy", ""),
        (ATEN.add.Tensor, "xy", "", ""),
        (ATEN.relu.default, "x", "", ""),
    ],
)
def test_factors_and_addends(operator: Any, arguments: str, multiplied: str, added: str) -> None:
    drawn = Drawn()
    values = {name: drawn.value(2, 3) for name in "xyz"}
    node = drawn.call(operator, *(values[name] for name in arguments))
    assert factors(node) == [values[name] for name in multiplied]
    assert addends(node) == [values[name] for name in added]
    assert attended(node) == []


def test_numbers_are_no_factors() -> None:
    drawn = Drawn()
    x = drawn.value(2, 3)
    assert factors(drawn.call(ATEN.mul.Tensor, x, 2.0)) == [x]
    assert factors(drawn.call(ATEN.div.Tensor_mode, x, x, rounding_mode="floor")) == []
    assert factors(drawn.call(ATEN.einsum.default, "ij,jk->ik", [x, x])) == [x, x]


def test_attention_has_three_operands() -> None:
    drawn = Drawn()
    q, k, v, mask = (drawn.value(2, 1, 3, 4) for _ in range(4))
    assert attended(drawn.call(ATEN.scaled_dot_product_attention.default, q, k, v, mask)) == [q, k, v]


def is_really_linear(operator: Any) -> bool:
    """y(x + z) + y(0) = y(x) + y(z), which also a map with a bias obeys."""
    x, z = torch.randn(2, 2, 4, 6, 6, dtype=torch.float64).unbind(0)
    return torch.allclose(operator(x + z) + operator(torch.zeros_like(x)), operator(x) + operator(z))


@pytest.mark.parametrize(
    ("operator", "rest"),
    [
        (ATEN.add.Tensor, (1.5,)),
        (ATEN.rsub.Scalar, (1.0,)),
        (ATEN.mean.dim, ([2, 3],)),
        (ATEN.cumsum.default, (2,)),
        (ATEN.avg_pool2d.default, ([2, 2],)),
        (ATEN.constant_pad_nd.default, ([1, 1, 1, 1],)),
        (ATEN.pixel_unshuffle.default, (2,)),
        (ATEN.upsample_bilinear2d.default, ([9, 9], False)),
        (ATEN.im2col.default, ([2, 2], [1, 1], [0, 0], [1, 1])),
        (ATEN.relu.default, ()),
        (ATEN.max_pool2d.default, ([2, 2],)),
        (ATEN.amax.default, ([2, 3],)),
        (ATEN.abs.default, ()),
        (ATEN.pow.Tensor_Scalar, (2,)),
        (ATEN.native_group_norm.default, (None, None, 2, 4, 36, 2, 1e-5)),
    ],
)
def test_linear_is_what_is_linear(operator: Any, rest: tuple[Any, ...]) -> None:
    torch.manual_seed(0)

    def run(x: torch.Tensor) -> torch.Tensor:
        found: Any = operator(x, *rest)
        first: torch.Tensor = found[0] if isinstance(found, tuple) else found
        return first

    drawn = Drawn()
    x = drawn.value(2, 4, 6, 6)
    assert is_linear(drawn.call(operator, x, *rest), {x}) is is_really_linear(run)


def test_batch_norm_is_linear_by_saved_statistics_only() -> None:
    drawn = Drawn()
    x, of_maps = drawn.value(2, 4, 6, 6), drawn.value(4)
    saved, batch = (
        drawn.call(ATEN.batch_norm.default, x, of_maps, of_maps, of_maps, of_maps, training, 0.1, 1e-5, False)
        for training in (False, True)
    )
    assert is_linear(saved, {x})
    assert not is_linear(batch, {x})
    assert is_really_linear(nn.BatchNorm2d(4).double().eval())
    assert not is_really_linear(nn.BatchNorm2d(4, track_running_stats=False).double().eval())


def test_choices_by_the_image_are_not_linear() -> None:
    drawn = Drawn()
    x, table = drawn.value(2, 4), drawn.value(9, 4)
    chosen, mask = drawn.value(2, dtype=torch.int64), drawn.value(2, 4, dtype=torch.bool)
    index = drawn.call(ATEN.index.Tensor, table, [chosen])
    assert not is_linear(index, {chosen})
    assert is_linear(index, {table})
    where = drawn.call(ATEN.where.self, mask, x, x)
    assert is_linear(where, {x})
    assert not is_linear(where, {x, mask})


def test_values_that_are_not_read() -> None:
    drawn = Drawn()
    x = drawn.value(2, 4)
    assert is_constant(drawn.call(ATEN.zeros_like.default, x))
    assert not is_constant(drawn.call(ATEN.clone.default, x))


@pytest.mark.parametrize(
    ("operator", "arguments", "shape", "pools"),
    [
        (ATEN.mean.dim, ([2, 3],), (2, 4), True),
        (ATEN.mean.dim, ([-1, -2], True), (2, 4, 1, 1), True),
        (ATEN.amax.default, ([2, 3],), (2, 4), True),
        (ATEN.mean.dim, ([1], True), (2, 1, 1, 1), False),
        (ATEN.adaptive_avg_pool2d.default, ([1, 1],), (2, 4, 1, 1), True),
        (ATEN.adaptive_avg_pool2d.default, ([7, 7],), (2, 4, 7, 7), False),
        (ATEN.view.default, ([2, 4],), (2, 4), False),
    ],
)
def test_pooling_of_a_single_place(operator: Any, arguments: Any, shape: tuple[int, ...], pools: bool) -> None:
    drawn = Drawn()
    assert pools_places(drawn.call(operator, drawn.value(2, 4, 1, 1), *arguments, shape=shape)) is pools


def test_shape_of_several_values() -> None:
    drawn = Drawn()
    node = drawn.value(2, 4)
    assert value_shape(node) == (2, 4)
    node.meta["val"] = [torch.empty(3, 5), torch.empty(7)]
    assert value_shape(node) == (3, 5)
    node.meta["val"] = 3
    assert value_shape(node) == ()


def test_gates_end_in_bounded_nonlinearities() -> None:
    """All are, for the largest values there are."""
    x = torch.tensor([[-1e30, -1.0, 0.0, 1.0, 1e30]])
    for name in BOUNDED:
        arguments = (1, False) if name == "_softmax" else (1,) if "softmax" in name else ()
        assert getattr(ATEN, name)(x, *arguments).abs().max() <= 1
    assert len(BOUNDED) >= 5
