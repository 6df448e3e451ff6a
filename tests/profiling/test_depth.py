import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from anychan.errors import ConfigError
from anychan.models.catalog import CATALOG, create_model
from anychan.nn.dynamic_conv import DynamicConv2d
from anychan.nn.squeeze_excite import SqueezeExcite
from anychan.presets import RGB
from anychan.profiling.chain import Gate, Layer
from anychan.profiling.depth import Depth, effective_depth
from tests.backbones import TIMM, TORCHVISION, OwnCNN, OwnViT, needs_libraries
from tests.builders import build_model

# By hand: feature layers, the same with gates, classifier, weights.
CATALOGUE = {
    # the generator's three layers see no image
    "dynamic_cnn_v1": (1, 1, 1, 3 + 1),
    "dynamic_cnn_v2": (2, 2, 2, 3 + 1 + 2),
    "baseline_cnn": (2, 2, 1, 3),
    "simple_2layer_cnn": (2, 2, 2, 4),
    # a gate is two linear layers
    "se_2layer_cnn": (2, 2 * (1 + 2), 2, 4 + 2 * 2),
    "simple_4layer_cnn": (4, 4, 2, 6),
    # stem and 9 blocks of two, each with an attention of two; 3 shortcuts
    "dynamic_resnet12": (1 + 2 * 9, 2 * (1 + 2 * 9), 1, 3 * (1 + 2 * 9 + 3) + 1),
    # shortcuts are merged; each layer has a gate of two
    "wide_cnn4": (4, 4 * (1 + 2), 1, 2 * 4 + 2 * 4 + 1),
    "resnet34": (1 + 2 * 16, 33, 1, 33 + 3 + 1),
    "resnet18": (1 + 2 * 8, 17, 1, 17 + 3 + 1),
    "resnet8": (1 + 2 * 3, 7, 1, 7 + 3 + 1),
    # patches; in each block query/key/value, the layer after attention, and the MLP's two
    "channel_vit_tiny": (1 + 4 * 12, 49, 1, 49 + 1),
    # each layer has one gate of two
    **dict.fromkeys(("shallow4_s", "shallow4_m", "shallow4_l"), (4, 4 * (1 + 2), 1, 4 + 2 * 4 + 1)),
    # each has two gates of two
    **dict.fromkeys(("shallow2_s", "shallow2_m", "shallow2_l"), (2, 2 * (1 + 2 + 2), 1, 2 + 4 * 2 + 1)),
}


def figures(depth: Depth) -> tuple[int, int, int, int]:
    return depth.features, depth.features_with_gates, depth.classifier, depth.weighted_modules


@pytest.mark.parametrize("name", CATALOG)
def test_catalogue(name: str) -> None:
    spec = CATALOG[name]
    with torch.device("meta"):
        model = create_model(name, num_classes=spec.num_classes)
    depth = effective_depth(model, (1, 3, spec.size, spec.size))
    assert figures(depth) == CATALOGUE[name]
    assert len(depth.path) == depth.features + depth.classifier
    assert len(depth.path_with_gates) == depth.features_with_gates + depth.classifier


def head(width: int = 4) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 2)]


def conv(in_channels: int = 4, out_channels: int = 4, kernel_size: int = 3) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)


class Batched(nn.BatchNorm2d):
    """By the batch's own statistics, in eval mode too."""

    def __init__(self) -> None:
        super().__init__(4, track_running_stats=False)


class SpaceToDepth(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x = x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))
        return x.permute(0, 1, 3, 5, 2, 4).flatten(1, 3)


class Norm(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


@pytest.mark.parametrize(
    ("between", "width", "layers"),
    [
        ([], 4, 1),
        ([nn.BatchNorm2d(4), nn.Dropout()], 4, 1),
        ([nn.AvgPool2d(2), nn.ZeroPad2d(1), nn.Upsample(scale_factor=2)], 4, 1),
        ([SpaceToDepth()], 16, 1),
        ([nn.PixelUnshuffle(2), nn.ChannelShuffle(2)], 16, 1),
        ([nn.ReLU()], 4, 2),
        ([nn.ReLU(inplace=True), nn.GELU(), nn.Hardswish()], 4, 2),
        ([nn.PReLU(4)], 4, 2),
        ([nn.MaxPool2d(2)], 4, 2),
        ([nn.GroupNorm(2, 4)], 4, 2),
        ([Norm(4)], 4, 2),
        ([Batched()], 4, 2),
    ],
    ids=lambda value: "-".join(type(part).__name__ for part in value) if isinstance(value, list) else None,
)
def test_what_stands_between_two_convolutions(between: list[nn.Module], width: int, layers: int) -> None:
    network = nn.Sequential(conv(3), *between, conv(width), nn.ReLU(), *head())
    depth = effective_depth(network, (1, 3, 8, 12))
    assert figures(depth) == (layers, layers, 1, 3)
    first = ("0", str(len(between) + 1)) if layers == 1 else ("0",)
    assert depth.path[0] == Layer(first)
    assert depth.path[-1] == Layer((str(len(network) - 1),), classifier=True)


class Network(nn.Module):
    """A forward pass written by hand, between a first layer with ReLU and a pooled head."""

    def __init__(self, forward: Callable[..., Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.first = conv(3)
        self.parts = nn.ModuleDict(parts)
        self.kernel = nn.Parameter(torch.ones(4, 4, 3, 3))
        self.mixer = nn.Parameter(torch.ones(4, 4))
        self.register_buffer("blur", torch.ones(4, 1, 3, 3))
        self.middle = forward
        self.head = nn.Sequential(*head())

    def forward(self, x: Tensor) -> Tensor:
        x = self.middle(self, self.first(x).relu(), *self.parts.values())
        return self.head(x.relu())  # type: ignore[no-any-return]


def names(layers: tuple[Layer, ...]) -> list[str]:
    """Of the middle's layers: the parts alone."""
    return ["+".join(name.removeprefix("parts.") for name in layer.names) for layer in layers[1:-1]]


def middle(forward: Callable[..., Tensor], **parts: nn.Module) -> Depth:
    return effective_depth(Network(forward, **parts), (1, 3, 8, 12))


def test_summed_branches_are_one() -> None:
    depth = middle(lambda _, x, a, b, c: a(x) + b(x) + c(x) + x, a=conv(), b=conv(), c=conv(4, 4, 1))
    assert figures(depth) == (2, 2, 1, 5)
    assert depth.path[1] == Layer(("parts.a",), ("parts.b", "parts.c"))


def test_a_shortcut_is_merged_into_the_branch_that_is_longer() -> None:
    depth = middle(lambda _, x, a, b, c: c(x) + b(a(x).relu()), a=conv(), b=conv(), c=conv(4, 4, 1))
    assert figures(depth) == (3, 3, 1, 5)
    assert depth.path[2] == Layer(("parts.b",), ("parts.c",))


def test_stacked_branches_are_followed_one_by_one() -> None:
    depth = middle(lambda _, x, a, b, c: c(torch.cat([a(x).relu(), b(x)], 1)), a=conv(), b=conv(), c=conv(8))
    assert names(depth.path) == ["a", "c"]


def test_a_module_used_twice_counts_twice() -> None:
    depth = middle(lambda _, x, a: a(a(x).relu()), a=conv())
    assert names(depth.path) == ["a", "a"]
    assert figures(depth) == (3, 3, 1, 3)


def test_what_is_written_in_place_is_followed() -> None:
    def forward(_: Any, x: Tensor, a: nn.Module, b: nn.Module) -> Tensor:
        y = a(x)
        y[:, :2].relu_()
        return b(y)  # type: ignore[no-any-return]

    assert names(middle(forward, a=conv(), b=conv()).path) == ["a", "b"]


def test_gate_from_pooled_features() -> None:
    depth = middle(lambda _, x, gate: gate(x), gate=SqueezeExcite(4, reduction=2))
    assert figures(depth) == (1, 3, 1, 4)
    assert names(depth.path_with_gates) == ["gate.squeeze", "gate.excite"]
    assert depth.gates == (Gate(1, 1, (Layer(("parts.gate.squeeze",)), Layer(("parts.gate.excite",)))),)


def test_a_gate_ends_the_layer() -> None:
    """With nothing nonlinear but the product: convolution, gate, convolution is two."""
    gate = SqueezeExcite(4, reduction=2)
    depth = middle(lambda _, x, a, gate, b: b(gate(a(x))), a=conv(), gate=gate, b=conv())
    assert names(depth.path) == ["a", "b"]
    # the means are linear, so the gate's first layer and the convolution before it are one
    assert names(depth.path_with_gates) == ["a+gate.squeeze", "gate.excite", "b"]


def test_gate_from_local_features() -> None:
    """The side that ends in a sigmoid, also where it is as large as the trunk and deeper."""

    def forward(_: Any, x: Tensor, trunk: nn.Module, a: nn.Module, b: nn.Module) -> Tensor:
        return (2 * b(a(x).relu()).sigmoid() - 1) * trunk(x)  # type: ignore[no-any-return]

    depth = middle(forward, trunk=conv(), a=conv(), b=conv())
    assert names(depth.path) == ["trunk"]
    assert names(depth.path_with_gates) == ["a", "b"]
    assert depth.gates == (Gate(1, 2, (Layer(("parts.a",)), Layer(("parts.b",)))),)


def test_a_map_for_all_channels_is_a_gate() -> None:
    depth = middle(lambda _, x, a, b: b(a(x).relu()) * x, a=conv(), b=conv(4, 1))
    assert names(depth.path) == []
    assert names(depth.path_with_gates) == ["a", "b"]


@pytest.mark.parametrize("turned", [False, True])
def test_product_of_two_alike(turned: bool) -> None:
    """The longer is the trunk, whichever stands first."""

    def forward(_: Any, x: Tensor, a: nn.Module, b: nn.Module, c: nn.Module) -> Tensor:
        sides = [b(a(x).relu()), c(x)]
        return sides[turned] * sides[not turned]  # type: ignore[no-any-return]

    depth = middle(forward, a=conv(), b=conv(), c=conv())
    assert figures(depth) == (3, 3, 1, 5)
    assert depth.gates == (Gate(1, 3, (Layer(("parts.c",)),)),)


def test_an_activation_of_products_is_no_gate() -> None:
    depth = middle(lambda _, x, a, b: b(a(x) * a(x).sigmoid()), a=conv(), b=conv())
    assert names(depth.path) == names(depth.path_with_gates) == ["a", "b"]
    assert depth.gates == ()


def test_division_ends_the_layer() -> None:
    depth = middle(lambda _, x, a, b: b(a(x) / (1 + x)), a=conv(), b=conv())
    assert names(depth.path) == ["a", "b"]
    assert names(middle(lambda _, x, a, b: b(1 / a(x)), a=conv(), b=conv()).path) == ["a", "b"]
    assert names(middle(lambda _, x, a, b: b(a(x) / 2), a=conv(), b=conv()).path) == ["a+b"]


def test_attention_by_hand_and_as_one_operator() -> None:
    def by_hand(_: Any, x: Tensor, q: nn.Module, k: nn.Module, v: nn.Module, out: nn.Module) -> Tensor:
        tokens = x.flatten(2).mT
        weights = (q(tokens) @ k(tokens).mT).softmax(2)
        return out(weights @ v(tokens)).mT.unflatten(2, x.shape[2:])  # type: ignore[no-any-return]

    def fused(_: Any, x: Tensor, q: nn.Module, k: nn.Module, v: nn.Module, out: nn.Module) -> Tensor:
        tokens = x.flatten(2).mT
        found = functional.scaled_dot_product_attention(q(tokens), k(tokens), v(tokens))
        return out(found).mT.unflatten(2, x.shape[2:])  # type: ignore[no-any-return]

    for forward in (by_hand, fused):
        depth = middle(forward, **{name: nn.Linear(4, 4) for name in ("q", "k", "v", "out")})
        assert names(depth.path) == ["v", "out"]
        assert figures(depth) == (3, 3, 1, 6)


def test_functional_convolution_with_a_folded_kernel() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        return functional.conv2d(x, torch.einsum("oihw,ij->ojhw", self.kernel, self.mixer), padding=1)

    depth = middle(forward)
    assert names(depth.path) == ["kernel+mixer"]
    assert figures(depth) == (2, 2, 1, 4)


def test_a_buffer_is_a_kernel_too() -> None:
    depth = middle(lambda self, x: functional.conv2d(x, self.blur, padding=1, groups=4))
    assert names(depth.path) == ["blur"]
    assert figures(depth) == (2, 2, 1, 3)


def test_a_product_that_adds_an_axis_is_a_matrix_product() -> None:
    def outer(self: Any, x: Tensor) -> Tensor:
        stacked: Tensor = x[:, None] * self.mixer[:, :, None, None]
        return stacked.sum(2)

    assert names(middle(outer).path) == ["mixer"]
    # element by element it is a scale
    assert names(middle(lambda self, x: x * self.mixer[:1].T[..., None]).path) == []


def test_what_sees_no_image_counts_nothing() -> None:
    def forward(_: Any, x: Tensor, a: nn.Module, b: nn.Module) -> Tensor:
        kernel = b(a(torch.ones(1, 2, device=x.device)).relu()).view(4, 4, 1, 1)
        return functional.conv2d(x, kernel)

    depth = middle(forward, a=nn.Linear(2, 3), b=nn.Linear(3, 16))
    assert figures(depth) == (2, 2, 1, 4)
    assert names(depth.path) == ["parts"]  # what the names of its weights have in common


def test_a_kernel_made_from_the_image_is_a_gate() -> None:
    """The last layer of what makes it is the convolution's own weights."""

    def forward(_: Any, x: Tensor, a: nn.Module, b: nn.Module, c: nn.Module) -> Tensor:
        kernels = c(b(a(x.mean((2, 3))).relu()).relu()).view(len(x) * 4, 4, 1, 1)
        return functional.conv2d(x.flatten(0, 1)[None], kernels, groups=len(x)).view(x.shape)

    depth = middle(forward, a=nn.Linear(4, 3), b=nn.Linear(3, 3), c=nn.Linear(3, 16))
    assert names(depth.path) == ["c"]
    assert names(depth.path_with_gates) == ["a", "b"]
    assert figures(depth) == (2, 3, 1, 5)


@pytest.mark.parametrize("backend", ["mix", "each"])
@pytest.mark.parametrize("top_k", [None, 2])
def test_kernels_mixed_before_or_after_have_one_depth(backend: str, top_k: int | None) -> None:
    dynamic = DynamicConv2d(4, 4, kernel_size=3, padding=1, backend=backend, top_k=top_k)
    depth = middle(lambda _, x, conv: conv(x), conv=dynamic)
    assert figures(depth) == (2, 3, 1, 5)
    assert names(depth.path) == ["conv"]
    assert names(depth.path_with_gates) == ["conv.squeeze", "conv.excite"]


def test_an_unknown_operator_with_weights_is_a_layer() -> None:
    def forward(_: Any, x: Tensor, lstm: nn.Module, a: nn.Module) -> Tensor:
        return a(lstm(x.flatten(2).mT)[0].mT.unflatten(2, x.shape[2:]))  # type: ignore[no-any-return]

    depth = middle(forward, lstm=nn.LSTM(4, 4, batch_first=True), a=conv())
    assert names(depth.path) == ["lstm", "a"]


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([nn.ReLU(), *head(), nn.ReLU(), nn.Linear(2, 2)], (1, 1, 2, 3)),
        # 1×1 convolutions after pooling
        ([nn.ReLU(), nn.AdaptiveAvgPool2d(1), conv(4, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2)], (1, 1, 2, 3)),
        ([nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 2)], (1, 1, 1, 2)),
        # logits are pooled themselves
        ([nn.ReLU(), conv(4, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()], (2, 2, 0, 2)),
        # nothing nonlinear between: one map, which begins before the pooling
        (head(), (1, 1, 0, 2)),
        # the second layer's gate reads means too, but is multiplied with maps
        ([nn.ReLU(), SqueezeExcite(4, reduction=2), *head()], (1, 3, 1, 4)),
    ],
)
@pytest.mark.parametrize("size", [8, 1])
def test_classifier_is_what_follows_pooling(
    layers: list[nn.Module], expected: tuple[int, int, int, int], size: int
) -> None:
    """Also where the maps have one place, so that their shapes do not tell."""
    depth = effective_depth(nn.Sequential(conv(3), *layers), (1, 3, size, size))
    assert figures(depth) == expected


def test_classifier_without_pooling() -> None:
    flat = nn.Sequential(conv(3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 2), nn.ReLU(), nn.Linear(2, 2))
    assert figures(effective_depth(flat, (1, 3, 8, 8))) == (1, 1, 2, 3)
    maps = nn.Sequential(conv(3), nn.ReLU(), conv())
    assert figures(effective_depth(maps, (1, 3, 8, 8))) == (2, 2, 0, 2)


@pytest.mark.parametrize(
    ("stem", "channels", "expected", "first"),
    [
        ("zero", "R,G,B", (2, 2), "stem.conv"),
        ("completion", "B,R", (2, 2), "stem.conv"),
        ("wavelength", "B,R", (2, 2), "stem"),
        ("dynamic", "B,R", (2, 3), "stem.conv.0"),
        ("expansion", "R,G,B", (2, 2), "stem.conv"),
        ("expansion", "B,R", (3, 3), "stem.values"),
    ],
)
def test_selections(stem: str, channels: str, expected: tuple[int, int], first: str) -> None:
    chosen = RGB.select(channels)
    depth = effective_depth(build_model("baseline_cnn", stem), (1, len(chosen), 8, 8), channels=chosen)
    assert (depth.features, depth.features_with_gates) == expected
    assert depth.path[0].names == (first,)


def test_own_networks() -> None:
    assert figures(effective_depth(OwnCNN(), (1, 3, 9, 9))) == (2, 2, 1, 3)
    # its first layer norm stands after attention: patches and query/key/value are one
    depth = effective_depth(OwnViT(), (1, 3, 8, 12))
    assert figures(depth) == (4 * 2, 4 * 2, 1, 1 + 4 * 2 + 1)
    assert depth.path[0].names == ("patches", "blocks.0.self_attn.in_proj_weight")


def test_plain_values() -> None:
    depth = effective_depth(nn.Sequential(conv(3), nn.ReLU(), *head()), (1, 3, 8, 8))
    layers = [{"names": [name], "merged": [], "classifier": name == "4"} for name in "04"]
    assert json.loads(json.dumps(depth.to_dict())) == {
        **{"features": 1, "features_with_gates": 1, "classifier": 1, "weighted_modules": 2, "gates": []},
        "path": layers,
        "path_with_gates": layers,
    }


def test_logits_without_the_image_have_no_depth() -> None:
    depth = middle(lambda _, x, a: a(torch.ones_like(x)), a=conv())
    assert figures(depth)[:3] == (0, 0, 0)


def test_a_network_that_is_not_traced() -> None:
    with pytest.raises(ConfigError, match="Network has no depth that can be measured"):
        middle(lambda _, x: x if x.sum() > 0 else -x)


class TestLibraries:
    pytestmark = needs_libraries

    @pytest.mark.parametrize(
        ("name", "size", "expected"),
        [
            ("resnet34", 64, (33, 33, 1, 37)),
            # a last convolution without activation and the next block's first are one; gates in 9 of 11 blocks
            ("mobilenet_v3_small", 64, (1 + 1 + 2 * 10 + 1, 23 + 2 * 9, 2, 1 + 2 + 3 * 10 + 2 * 9 + 1 + 2)),
            ("vgg11", 64, (8, 8, 3, 11)),
            ("swin_t", 64, (1 + 4 * 12 + 3, 52, 1, 53)),
        ],
    )
    def test_torchvision(self, name: str, size: int, expected: tuple[int, int, int, int]) -> None:
        with torch.device("meta"):
            model = getattr(TORCHVISION, name)()
        assert figures(effective_depth(model, (1, 3, size, size))) == expected

    @pytest.mark.parametrize(
        ("name", "size", "expected"),
        [
            # the gate's first layer reads the means of a convolution without activation, and is one with it
            ("seresnet18", 64, (17, 17 + 8, 1, 17 + 3 + 2 * 8 + 1)),
            ("vit_tiny_patch16_224", 224, (49, 49, 1, 50)),
        ],
    )
    def test_timm(self, name: str, size: int, expected: tuple[int, int, int, int]) -> None:
        with torch.device("meta"):
            model = TIMM.create_model(name)
        assert figures(effective_depth(model, (1, 3, size, size))) == expected
