"""What a subset costs, counted and not timed: linear in the channels given, whatever channels are absent."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from anychan.channels import Channel, ChannelSet
from anychan.models.base import AnyChannelModel
from anychan.models.catalog import create_model

Way = Callable[[AnyChannelModel, list[str]], nn.Module]
WAYS: dict[str, Way] = {
    "a selection": lambda model, names: model.select(names),
    "a folded copy": lambda model, names: model.for_channels(names),
}
NETWORKS = ("resnet8", "shallow4_s", "dynamic_resnet12", "baseline_cnn")


class Allocations(TorchDispatchMode):
    """Adds up the bytes of all tensors that operators make; views of others make none."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        known = {_storage(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        for leaf in tree_leaves(found):
            if isinstance(leaf, Tensor) and _storage(leaf) not in known:
                self.bytes += leaf.numel() * leaf.element_size()
        return found


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def cost(network: str, way: str, *, given: int, known: int) -> tuple[int, int]:
    """MACs and allocated bytes of two images, given the first channels of so many."""
    channels = ChannelSet([Channel(f"band{number}", "scope") for number in range(known)])
    options = {"backend": "mix"} if network == "dynamic_resnet12" else None  # the planner's choice depends on the count
    model = create_model(network, channels=channels, num_classes=5, options=options).eval()
    chosen = WAYS[way](model, [channel.name for channel in channels][:given])
    x = torch.zeros(2, given, 32, 32)
    with torch.no_grad(), FlopCounterMode(display=False) as counter, Allocations() as allocated:
        chosen(x)
    return counter.get_total_flops() // 2, allocated.bytes


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("network", NETWORKS)
def test_cost_is_linear_in_the_channels_given(network: str, way: str) -> None:
    """Of few among many: all of them are another case, which needs no choice."""
    costs = [cost(network, way, given=count, known=32) for count in (2, 4, 6, 12)]
    for two, four, six, twelve in zip(*costs, strict=True):
        assert six - four == four - two > 0
        assert twelve - two == 5 * (four - two)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("network", NETWORKS)
def test_absent_channels_cost_nothing(network: str, way: str) -> None:
    """The first attention of a dynamic network has a hidden width of a quarter of all its channels."""
    most = 7 if network == "dynamic_resnet12" else 369
    assert cost(network, way, given=3, known=4) == cost(network, way, given=3, known=most)


def test_allocations_are_counted() -> None:
    x = torch.zeros(3, 5)
    with Allocations() as allocated:
        y = x.view(5, 3).T + 1
        y.mul_(2)
    assert allocated.bytes == 4 * 15
