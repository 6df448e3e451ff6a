import dataclasses

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, export

from anychan.nn import dynamic_planner
from anychan.nn.dynamic_backends import BACKENDS, Backend
from anychan.nn.dynamic_planner import Shape, choose_backend, fastest, nearest, shape_of

SHAPE = Shape(images=32, in_channels=64, out_channels=128, places=121, size=3, stride=1, num_kernels=4, training=True)


def call(images: int = 2, height: int = 8, width: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    x, kernels = torch.rand(images, 3, height, width), torch.rand(4, 6, 3, 3, 3)
    return x, torch.rand(images, 4).softmax(1), kernels.requires_grad_()


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the backends that run."""
    names: list[str] = []

    def noted(name: str, backend: Backend) -> Backend:
        def run(x: Tensor, attention: Tensor, kernels: Tensor, stride: int, padding: int) -> Tensor:
            names.append(name)
            return backend(x, attention, kernels, stride, padding)

        return run

    monkeypatch.setattr(dynamic_planner, "BACKENDS", {name: noted(name, backend) for name, backend in BACKENDS.items()})
    return names


def test_shape_of_a_call() -> None:
    x, attention, kernels = call(5, 9, 7)
    expected = Shape(5, 3, 6, 5 * 4, 3, 2, 4, True)
    assert shape_of(x, attention, kernels, 2, 1) == expected
    with torch.no_grad():
        assert shape_of(x, attention, kernels, 2, 1) == dataclasses.replace(expected, training=False)
    assert shape_of(x, attention, kernels.detach(), 2, 0) == Shape(5, 3, 6, 4 * 3, 3, 2, 4, False)


@pytest.mark.parametrize("value", [*range(1, 70), 1023, 1024, 1448, 1449, 7056])
def test_half_octaves(value: int) -> None:
    count = dynamic_planner._half_octaves(value)
    assert 2**count <= value**2 < 2 ** (count + 1)


def test_places_are_apart_by_octaves() -> None:
    def distance(**changes: int | bool) -> int:
        other = dataclasses.replace(SHAPE, **changes)  # type: ignore[arg-type]
        return sum(abs(ours - theirs) for ours, theirs in zip(SHAPE.place(), other.place(), strict=True))

    assert distance() == 0
    assert distance(images=8, places=242) == 2 * 3
    assert distance(training=False) == 2 * 2
    assert distance(size=1) == 2 * 3  # of log2(9) octaves
    assert distance(num_kernels=8, stride=2, in_channels=32, out_channels=512) == 2 * (1 + 1 + 1 + 2)


def test_nearest_by_hand() -> None:
    measured = [((0, 5), "each"), ((4, 4), "mix"), ((2, 1), "stacked")]
    assert nearest((3, 3), measured) == "mix"
    assert nearest((2, 3), measured) == "stacked"
    assert nearest((0, 2), measured) == "each"  # as near as stacked, but first


def test_the_most_similar_measured_shape_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = dataclasses.replace(SHAPE, places=16), dataclasses.replace(SHAPE, places=1024)
    table = {("cpu", "float32"): [(small.place(), "multiply"), (large.place(), "mix")]}
    monkeypatch.setattr(dynamic_planner, "_FASTEST", table)
    found = {
        places: fastest(dataclasses.replace(SHAPE, places=places), device="cpu", dtype="float32")
        for places in (1, 120, 200)
    }
    assert found == {1: "multiply", 120: "multiply", 200: "mix"}
    assert fastest(small, device="cpu", dtype="bfloat16") == "each"  # nothing was measured


@pytest.mark.parametrize(
    ("height", "width", "stride", "chosen"),
    [(4, 8, 1, "mix"), (1, 31, 1, "each"), (11, 11, 2, "mix"), (10, 10, 2, "each")],
)
def test_without_a_measurement(height: int, width: int, stride: int, chosen: str, called: list[str]) -> None:
    x, attention, kernels = (tensor.double() for tensor in call(2, height, width))
    choose_backend(x, attention, kernels, stride, 1)
    assert called == [chosen]


def test_of_one_image_it_is_one_convolution(called: list[str]) -> None:
    found = choose_backend(*call(1), stride=1, padding=1)
    assert called == []
    assert found.shape == (1, 6, 8, 4)


def test_the_type_that_it_computes_in_counts(monkeypatch: pytest.MonkeyPatch, called: list[str]) -> None:
    near = shape_of(*call(), stride=1, padding=1).place()
    table = {("cpu", "float32"): [(near, "each")], ("cpu", "bfloat16"): [(near, "stacked")]}
    monkeypatch.setattr(dynamic_planner, "_FASTEST", table)
    choose_backend(*call(), stride=1, padding=1)
    with torch.autocast("cpu", torch.bfloat16):
        choose_backend(*call(), stride=1, padding=1)
    x, attention, kernels = (tensor.bfloat16() for tensor in call())
    choose_backend(x, attention, kernels, 1, 1)
    assert called == ["each", "stacked", "stacked"]


@pytest.mark.parametrize("dynamic", [None, True])
def test_it_compiles_in_one_graph(dynamic: bool | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """For sizes of one range, once."""
    near = shape_of(*call(9), stride=1, padding=1)
    far = dataclasses.replace(near, images=200)
    table = {("cpu", "float32"): [(near.place(), "mix"), (far.place(), "each")]}
    monkeypatch.setattr(dynamic_planner, "_FASTEST", table)
    graphs: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, _: object) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    compiled = torch.compile(choose_backend, fullgraph=True, backend=backend, dynamic=dynamic)
    for images in (8, 9, 10, 11):
        given = call(images)
        found = compiled(*given, stride=1, padding=1)
        torch.testing.assert_close(found, choose_backend(*given, stride=1, padding=1), rtol=1e-4, atol=1e-5)
    assert len(graphs) == (1 if dynamic else 2)


def test_exported_for_any_batch_it_convolves_with_every_kernel() -> None:
    class Choose(nn.Module):
        def forward(self, x: Tensor, attention: Tensor, kernels: Tensor) -> Tensor:
            return choose_backend(x, attention, kernels, 1, 1)

    free = {0: Dim("batch")}
    exported = export(Choose(), call(), dynamic_shapes=(free, free, None), strict=False).module()
    for images in (1, 5):
        given = call(images)
        torch.testing.assert_close(exported(*given), Choose()(*given))
