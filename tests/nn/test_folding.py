from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from anychan.nn.folding import SumOfHalves, can_merge, conv_of, fold_layers, merge


def images(maps: int = 3) -> Tensor:
    return torch.randn(2, maps, 7, 9, dtype=torch.float64)


def norm(maps: int) -> nn.BatchNorm2d:
    """Nothing in it is what a fresh one has."""
    layer = nn.BatchNorm2d(maps)
    for value in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
        assert value is not None
        nn.init.uniform_(value, 0.5, 2)
    return layer


def check(module: nn.Module, expected: list[type[nn.Module]]) -> fx.GraphModule:
    """Fold a module, see that its layers are of these types, and that it gives what it gave."""
    module, x = module.double().eval(), images()
    before = module(x)
    folded = fold_layers(module)
    assert [type(folded.get_submodule(str(n.target))) for n in folded.graph.nodes if n.op == "call_module"] == expected
    torch.testing.assert_close(folded(x), before, rtol=1e-12, atol=1e-12)
    return folded


@pytest.mark.parametrize("bias", [False, True])
def test_batch_norm_goes_into_the_convolution_before_it(bias: bool) -> None:
    conv = nn.Conv2d(3, 4, (3, 5), stride=2, padding=(1, 2), groups=1, bias=bias)
    check(nn.Sequential(conv, norm(4), nn.ReLU(), norm(4)), [nn.Conv2d, nn.ReLU, nn.BatchNorm2d])


def test_grouped_convolution_takes_batch_norm() -> None:
    check(nn.Sequential(nn.Conv2d(3, 6, 3, groups=3, dilation=2), norm(6)), [nn.Conv2d])


def test_batch_norm_of_the_batch_stays() -> None:
    check(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)), [nn.Conv2d, nn.BatchNorm2d])


def test_batch_norm_goes_past_max_pooling() -> None:
    layers = [nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(3, 2, 1), nn.Identity(), norm(4), nn.ReLU()]
    check(nn.Sequential(*layers), [nn.Conv2d, nn.MaxPool2d, nn.ReLU])


def test_batch_norm_of_a_negative_scale_stays_after_max_pooling() -> None:
    """The largest value would become the smallest."""
    turning = norm(4)
    turning.weight.data[2] *= -1
    layers = [nn.Conv2d(3, 4, 3, padding=1), norm(4), nn.MaxPool2d(3, 2, 1), turning]
    check(nn.Sequential(*layers), [nn.Conv2d, nn.MaxPool2d, nn.BatchNorm2d])


def test_batch_norm_stays_after_other_pooling() -> None:
    layers = [nn.Conv2d(3, 4, 3), nn.AvgPool2d(2, padding=1), norm(4)]
    check(nn.Sequential(*layers), [nn.Conv2d, nn.AvgPool2d, nn.BatchNorm2d])
    check(nn.Sequential(nn.ReLU(), nn.MaxPool2d(2), norm(3)), [nn.ReLU, nn.MaxPool2d, nn.BatchNorm2d])


def test_max_pooling_that_others_read_too_is_left_alone() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.pool, self.norm = nn.Conv2d(3, 3, 1), nn.MaxPool2d(2), norm(3)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.pool(self.conv(x))
            return self.norm(y) * y  # type: ignore[no-any-return]

    check(Twice(), [nn.Conv2d, nn.MaxPool2d, nn.BatchNorm2d])


class Branches(nn.Module):
    """A sum of branches of one input."""

    def __init__(self, *branches: nn.Module, then: Callable[[Tensor], Tensor] = functional.relu) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.then = then

    def forward(self, x: Tensor) -> Tensor:
        total = self.branches[0](x)
        for branch in list(self.branches)[1:]:
            total = total + branch(x)
        return self.then(total)


def conv(maps: int, kernel_size: int, padding: int, bias: bool = False, **more: Any) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, maps, kernel_size, padding=padding, bias=bias, **more), norm(maps))


def test_branches_of_one_input_become_one_convolution() -> None:
    (layer,) = check(Branches(conv(4, 3, 1, True), conv(4, 1, 0), conv(4, 5, 2)), [nn.Conv2d]).children()
    assert isinstance(layer, nn.Conv2d)
    assert (layer.kernel_size, layer.padding) == ((5, 5), (2, 2))


def test_branches_of_strides() -> None:
    check(Branches(conv(4, 7, 3, stride=2), conv(4, 1, 0, stride=2)), [nn.Conv2d])


@pytest.mark.parametrize(
    "other",
    [
        conv(4, 3, 2, dilation=2),
        nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(3, 4, 3, padding="same"),
        nn.Sequential(nn.Conv2d(3, 1, 3, padding=1)),
    ],
    ids=["dilation", "reflection", "padding by name", "one map for all"],
)
def test_branches_that_see_other_places_or_give_other_maps_stay_apart(other: nn.Module) -> None:
    check(Branches(conv(4, 3, 1), other), [nn.Conv2d, nn.Conv2d])


def test_grouped_branches_stay_apart() -> None:
    check(Branches(conv(3, 3, 1, groups=3), conv(3, 3, 1)), [nn.Conv2d, nn.Conv2d])


def test_sum_with_weights_stays() -> None:
    class Weighted(Branches):
        def forward(self, x: Tensor) -> Tensor:
            return torch.add(self.branches[0](x), self.branches[1](x), alpha=2)

    check(Weighted(conv(4, 3, 1), conv(4, 1, 0)), [nn.Conv2d, nn.Conv2d])


def test_branches_of_two_inputs_stay_apart() -> None:
    class Residual(Branches):
        def forward(self, x: Tensor) -> Tensor:
            return self.branches[1](self.branches[0](x).relu()) + self.branches[2](x)  # type: ignore[no-any-return]

    check(Residual(conv(3, 3, 1), conv(4, 3, 1), conv(4, 1, 0)), [nn.Conv2d] * 3)


def test_convolution_that_others_read_too_is_left_alone() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), norm(3)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.conv(x)
            return self.norm(y) * y + self.conv(x)  # type: ignore[no-any-return]

    check(Twice(), [nn.Conv2d, nn.BatchNorm2d, nn.Conv2d])


def test_convolution_of_two_uses_is_folded_in_one() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), norm(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.conv(x)).relu() * self.conv(x.relu())  # type: ignore[no-any-return]

    check(Shared(), [nn.Conv2d, nn.Conv2d])


def test_sum_of_halves_goes_into_the_convolution() -> None:
    check(nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), norm(8), SumOfHalves(), nn.ReLU()), [nn.Conv2d, nn.ReLU])
    check(nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), SumOfHalves()), [nn.Conv2d])
    check(nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), SumOfHalves()), [nn.Conv2d, SumOfHalves])


def test_sum_of_halves_by_hand() -> None:
    x = torch.tensor([1.0, 2.0, 30.0, 40.0]).view(1, 4, 1, 1)
    assert SumOfHalves()(x).flatten().tolist() == [31.0, 42.0]


class Doubled(nn.Conv2d):
    """Inherits from a convolution, and is none."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).sin()


def test_what_inherits_from_a_convolution_is_left_alone() -> None:
    check(nn.Sequential(Doubled(3, 4, 3), norm(4)), [Doubled, nn.BatchNorm2d])


class Chain(nn.Module):
    """Two 1×1 convolutions, which know that they are one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 5, 1, bias=False), nn.Conv2d(5, 4, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))  # type: ignore[no-any-return]

    def folded(self) -> nn.Module:
        return conv_of(torch.einsum("om,mikl->oikl", self.second.weight[:, :, 0, 0], self.first.weight))


def test_modules_that_know_how_they_fold_are_asked() -> None:
    check(nn.Sequential(nn.Sequential(Chain()), norm(4), nn.ReLU()), [nn.Conv2d, nn.ReLU])


def test_leaves_are_not_looked_into() -> None:
    leaf = nn.Sequential(nn.Conv2d(3, 4, 1), norm(4))
    module, x = nn.Sequential(nn.Sequential(leaf), norm(4)).double().eval(), images()
    before = module(x)
    folded = fold_layers(module, leaves=[leaf])
    assert leaf in list(folded.modules())
    torch.testing.assert_close(folded(x), before, rtol=0, atol=0)


def test_modules_without_convolutions_may_branch_on_what_comes_in() -> None:
    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.shape[0] > 1 else -x

    folded = check(nn.Sequential(nn.Conv2d(3, 4, 1), norm(4), Branching()), [nn.Conv2d, Branching])
    x = images()
    torch.testing.assert_close(folded(x[:1]), -folded(x)[:1])


def test_kernels_are_merged_centre_on_centre_by_hand() -> None:
    wide, tall = (
        conv_of(torch.ones(1, 1, 1, 3), padding=(0, 1)),
        conv_of(torch.full((1, 1, 3, 1), 10.0), padding=(1, 0)),
    )
    cross = merge([wide, tall], add=True)
    assert (cross.kernel_size, cross.padding, cross.bias) == ((3, 3), (1, 1), None)
    assert cross.weight.flatten(2).tolist() == [[[0, 10, 0, 1, 11, 1, 0, 10, 0]]]
    both = merge([conv_of(torch.ones(1, 1, 1, 1), torch.ones(1)), wide], add=False)
    assert both.bias is not None
    assert (both.weight.flatten(2).tolist(), both.bias.tolist()) == ([[[0, 1, 0]], [[1, 1, 1]]], [1, 0])


def test_what_can_merge() -> None:
    three, one = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1)
    assert can_merge([three, one])
    assert can_merge([one])
    for other in (nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 1, stride=2), nn.Linear(3, 4), Doubled(3, 4, 1)):
        assert not can_merge([three, other]), other
