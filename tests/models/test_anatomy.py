import re
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from anychan.errors import ConfigError
from anychan.models.anatomy import Anatomy, examine
from tests.backbones import OwnCNN, OwnViT


def test_own_networks() -> None:
    assert examine(OwnCNN()) == Anatomy("first", "last", 5, 1, 1, None)
    assert examine(OwnCNN(13, 7)) == Anatomy("first", "last", 7, 1, 1, None)
    assert examine(OwnViT()) == Anatomy("patches", "head", 5, 8, 1, (8, 12))


def test_the_network_is_left_alone() -> None:
    model = OwnCNN().train()
    model.dropout.eval()
    before = deepcopy(model.state_dict())
    state = torch.get_rng_state()
    examine(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == [
        module is not model.dropout for module in model.modules()
    ]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def chain(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers)


def pooled(features: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, 5)]


class WholePatches(OwnCNN):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 4, stride=4)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] % 4 or x.shape[3] % 4:
            raise AssertionError("no whole patches")
        return super().forward(x)


@pytest.mark.parametrize(
    ("model", "smallest", "step", "fixed"),
    [
        (chain(nn.Conv2d(3, 2, 5), nn.MaxPool2d(2), *pooled(2)), 6, 1, None),
        (chain(nn.Conv2d(3, 2, 3, 2, 1), nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3), *pooled(2)), 9, 1, None),
        (chain(nn.Conv2d(3, 2, 3, padding=1), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(2 * 7 * 7, 5)), 28, 1, (28, 28)),
        (WholePatches(), 4, 4, None),
    ],
    ids=["any size", "from nine", "one size", "whole patches"],
)
def test_sizes(model: nn.Module, smallest: int, step: int, fixed: tuple[int, int] | None) -> None:
    found = examine(model)
    assert (found.min_size, found.size_step, found.fixed_size) == (smallest, step, fixed)


def test_given_size_is_taken() -> None:
    model = chain(nn.Conv2d(3, 2, 3, padding=1), nn.Flatten(), nn.Linear(2 * 5 * 7, 5))
    with pytest.raises(ConfigError, match=r"Sequential does not run on images of any usual size \(.*\); name a height"):
        examine(model)
    with pytest.raises(ConfigError, match=r"Sequential does not run on images of 6 \("):
        examine(model, size=6)
    assert examine(model, size=(5, 7)).fixed_size == (5, 7)


class Net(nn.Module):
    """Layers a, b and c, joined by a function of the image."""

    def __init__(self, join: Any, **layers: nn.Module) -> None:
        super().__init__()
        self.join = join
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.join(self, x).mean((2, 3)))  # type: ignore[no-any-return]


def conv(**options: Any) -> nn.Conv2d:
    return nn.Conv2d(3, options.pop("out", 4), 3, **options)


class Standardised(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


REFUSED: dict[str, tuple[nn.Module, str]] = {
    "linear": (
        chain(nn.Flatten(), nn.Linear(3 * 32 * 32, 5)),
        "Sequential: its first layer is '1' (Linear), but adapt",
    ),
    "two": (
        Net(lambda net, x: net.a(x) + net.b(x), a=conv(), b=conv()),
        "Net: 'a' (Conv2d(3, 4, kernel_size=(3, 3), stride=(1, 1))) and 'b' (Conv2d(3, 4, kernel_size=(3, 3), "
        "stride=(1, 1))) take the image, but adapt needs one ordinary convolution",
    ),
    "shortcut": (Net(lambda net, x: net.a(x) + x.mean(), a=conv()), "take the image, but adapt needs one ordinary"),
    "grouped": (Net(lambda net, x: net.a(x), a=conv(out=6, groups=3)), "its first layer is 'a' (Conv2d(3, 6, "),
    "reflect": (Net(lambda net, x: net.a(x), a=conv(padding=1, padding_mode="reflect")), "padding_mode=reflect)"),
    "dilated": (Net(lambda net, x: net.a(x), a=conv(dilation=2)), "dilation=(2, 2))), but adapt needs"),
    "own kind": (Net(lambda net, x: net.a(x), a=Standardised(3, 4, 3)), "its first layer is 'a' (Standardised("),
    "weight norm": (Net(lambda net, x: net.a(x), a=weight_norm(conv())), "its first layer is 'a' (Parametrized"),
    "changed": (Net(lambda net, x: net.a(2 * x - 1), a=conv()), "Net: its first layer is its own forward(), but adapt"),
    "part": (Net(lambda net, x: net.a(x[:, :, 1:]), a=conv()), "takes a part of the image or runs twice, but adapt"),
    "twice": (Net(lambda net, x: net.a(x) + net.a(x), a=conv()), "takes a part of the image or runs twice, but adapt"),
    "maps": (chain(conv(), nn.ReLU()), "Sequential gives (2, 4, 222, 222), but adapt needs logits (N, classes)"),
    "no image": (
        Net(lambda net, x: net.a(torch.zeros(2, 3, 9, 9, device="meta")), a=conv()),
        "Net: nothing takes the image,",
    ),
}
REFUSED["grouped"][0].head = nn.Linear(6, 5)


@pytest.mark.parametrize("case", REFUSED)
def test_other_first_layers_are_named(case: str) -> None:
    model, text = REFUSED[case]
    with pytest.raises(ConfigError, match=re.escape(text)):
        examine(model)


@pytest.mark.parametrize("kind", ["forward_hook", "forward_pre_hook", "full_backward_hook", "full_backward_pre_hook"])
def test_hooks_on_the_first_layer_are_refused(kind: str) -> None:
    model = OwnCNN()
    handle = getattr(model.first, f"register_{kind}")(lambda *_: None)
    text = r"OwnCNN: 'first' \(Conv2d\(.*\)\) has hooks, which the stem would not run; remove them first"
    with pytest.raises(ConfigError, match=text):
        examine(model)
    handle.remove()
    assert examine(model).entry == "first"


class Auxiliary(OwnCNN):
    def forward(self, x: Tensor) -> Any:
        logits = super().forward(x)
        return (logits, logits) if self.training else logits


def test_auxiliary_outputs_are_refused() -> None:
    with pytest.raises(ConfigError, match="Auxiliary gives a tuple in training; build it without auxiliary outputs"):
        examine(Auxiliary())


def test_logits_from_no_linear_layer() -> None:
    fully = chain(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert examine(fully).head is None
    assert examine(chain(*fully, nn.Linear(5, 6), nn.Softmax(1))).head is None
    assert examine(chain(*fully, nn.Linear(5, 6), nn.Identity())) == Anatomy("0", "4", 6, 3, 1, None)
