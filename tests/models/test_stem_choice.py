"""The contract of every stem, on every kind of first layer that it serves: a new one is tested as soon as it exists."""

import re
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from anychan.channels import Channel, ChannelSet
from anychan.contract import Contract
from anychan.errors import ChannelError, ConfigError
from anychan.models.catalog import create_model, with_changes
from anychan.models.pretrained import load, save
from anychan.models.stem_choice import (
    DYNAMIC_STEM,
    EXPANSION_STEM,
    GENERATOR_STEM,
    STEMS,
    TOKENS_STEM,
    WAVELENGTH_STEM,
    build_stem,
    default_stem_options,
    register_stem,
    stem_names,
)
from anychan.nn.dynamic_conv import DynamicConv2d
from anychan.nn.fill import FILLS, MeanFill
from anychan.nn.generator import GeneratedConv2d
from anychan.nn.stems import ParallelConv, Stem, StemConv2d
from anychan.presets import RGB
from tests.builders import build_model, mask, raw_images, subsets, training_statistics

CHANNELS = ChannelSet([*RGB, Channel("DNA", "scope")])  # one has no wavelength


def ordinary() -> nn.Module:
    return StemConv2d(4, 6, 3, stride=2, padding=1)


def dynamic() -> nn.Module:
    return DynamicConv2d(4, 6, kernel_size=3, padding=1, reduction=1, temperature=1.0)


def generated() -> nn.Module:
    return GeneratedConv2d(4, 6)


def parallel() -> nn.Module:
    return ParallelConv([StemConv2d(4, 4, 3, 2, 1, bias=False), StemConv2d(4, 2, 1, 2)])


FIRST_LAYERS = [ordinary, dynamic, generated, parallel]
SERVES: dict[str, list[Callable[[], nn.Module]]] = {
    **dict.fromkeys((*FILLS, EXPANSION_STEM), FIRST_LAYERS),
    GENERATOR_STEM: [generated],
    DYNAMIC_STEM: [ordinary, parallel],
    WAVELENGTH_STEM: [ordinary, parallel],
}
PAIRS = [pytest.param(name, layer, id=f"{name}-{layer.__name__}") for name in SERVES for layer in SERVES[name]]
on_every_pair = pytest.mark.parametrize(("name", "layer"), PAIRS)


def contract(name: str, **changes: object) -> Contract:
    """The training means are not the offsets, so that every fill that can have an offset has one."""
    values: dict[str, object] = {
        "offset": (3.0, 5.0, 7.0, 2.0),
        "scale": (2.0, 4.0, 8.0, 1.0),
        "statistics": training_statistics(4),
        "stem_options": default_stem_options(name),
        **changes,
    }
    return Contract("resnet8", {}, name, CHANNELS, classes=("a", "b"), **values)  # type: ignore[arg-type]


def trained(module: nn.Module) -> nn.Module:
    """As after some training: no parameter is 0 any more."""
    for parameter in module.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return module


def build(name: str, layer: Callable[[], nn.Module]) -> Stem:
    torch.manual_seed(5)
    stem = trained(build_stem(contract(name), layer()).double())
    assert isinstance(stem, Stem)
    return stem


def images(num_images: int = 2, height: int = 5, width: int = 7) -> Tensor:
    """Noise around a constant of its own for each channel."""
    constants = torch.tensor([1.0, -2.0, 5.0, 3.0], dtype=torch.float64).view(1, 4, 1, 1)
    return constants + torch.randn(num_images, 4, height, width, dtype=torch.float64)


def assert_same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


def test_the_list_is_full() -> None:
    assert len(STEMS) == len(set(STEMS)) == 11
    assert {*SERVES, TOKENS_STEM} == set(STEMS)  # tokens serve no convolution: tests/nn/test_tokens.py


@on_every_pair
def test_index_and_mask_agree_for_every_subset_in_every_order(name: str, layer: Callable[[], nn.Module]) -> None:
    stem, x = build(name, layer), images()
    for subset in subsets(4):
        masked = stem(x, present=mask(4, subset, subset))
        for index in permutations(subset):
            assert_same(stem(x[:, list(index)], index=index), masked)
    assert_same(stem(x), masked)


@on_every_pair
def test_ragged_batch_equals_each_image_alone(name: str, layer: Callable[[], nn.Module]) -> None:
    """What absent channels hold is never read, neither forward nor backward."""
    stem, rows = build(name, layer), subsets(4)[::-1]
    x, present = images(len(rows)), mask(4, *rows)
    poison = torch.tensor([torch.nan, torch.inf, -torch.inf, torch.nan], dtype=x.dtype).view(1, 4, 1, 1)
    poisoned = x.where(present[:, :, None, None], poison).requires_grad_()
    together = stem(poisoned, present=present)
    for number, row in enumerate(rows):
        assert_same(together[number : number + 1], stem(x[number : number + 1, list(row)], index=row))
    gradients = torch.autograd.grad(together.square().sum(), [poisoned, *stem.parameters()], allow_unused=True)
    assert all(gradient is None or bool(gradient.isfinite().all()) for gradient in gradients)
    assert not gradients[0][~present].any()


@on_every_pair
def test_plain_layer_is_the_stem_for_one_subset_in_every_order(name: str, layer: Callable[[], nn.Module]) -> None:
    stem, x = build(name, layer), images()
    for index in (order for subset in subsets(4) for order in permutations(subset)):
        plain, given = stem.for_index(index), x[:, list(index)]
        assert not set(stem.parameters()) & set(plain.parameters())
        assert_same(plain(given), stem(given, index=index))


@on_every_pair
def test_subsets_differ(name: str, layer: Callable[[], nn.Module]) -> None:
    stem, x = build(name, layer), images()
    maps = [stem(x, present=mask(4, subset, subset)) for subset in subsets(4)]
    for number, one in enumerate(maps):
        for other in maps[:number]:
            assert (one - other).abs().max() > 1e-3


def gradients_of(stem: Stem, maps: Tensor) -> dict[str, Tensor]:
    parameters = dict(stem.named_parameters())
    direction = torch.linspace(-1, 2, maps.numel(), dtype=maps.dtype).view_as(maps)
    found = torch.autograd.grad(maps, list(parameters.values()), direction, allow_unused=True, retain_graph=True)
    return {
        key: torch.zeros_like(parameters[key]) if gradient is None else gradient
        for key, gradient in zip(parameters, found, strict=True)
    }


@on_every_pair
def test_gradients_agree_and_reach_every_parameter(name: str, layer: Callable[[], nn.Module]) -> None:
    """Over all subsets together; report 1's generators for fewer channels only with the stem that uses them."""
    stem, x = build(name, layer), images()
    reached: set[str] = set()
    for subset in subsets(4):
        index = subset[::-1]
        slow = gradients_of(stem, stem(x, present=mask(4, subset, subset)))
        fast = gradients_of(stem, stem(x[:, list(index)], index=index))
        for key, gradient in fast.items():
            torch.testing.assert_close(gradient, slow[key], rtol=1e-10, atol=1e-10)
        reached |= {key for key, gradient in fast.items() if gradient.any()}
    expected = {key for key, _ in stem.named_parameters()}
    if layer is generated and name != GENERATOR_STEM:
        expected = {key for key in expected if not re.match(r"conv\.generators\.[012]", key)}
    assert reached == expected


def macs(stem: Stem, index: tuple[int, ...]) -> int:
    x = torch.zeros(1, len(index), 9, 7, dtype=torch.float64)
    with FlopCounterMode(display=False) as counter:
        stem(x, index=index)
    return int(counter.get_total_flops()) // 2


@on_every_pair
def test_cost_is_affine_in_the_channels_given(name: str, layer: Callable[[], nn.Module]) -> None:
    """Whichever they are; all channels, which need no fill, cost at most what the line says."""
    stem = build(name, layer)
    one, two, three, four = (macs(stem, tuple(range(count))) for count in (1, 2, 3, 4))
    assert [macs(stem, index) for index in ((3,), (2, 0), (3, 0, 1))] == [one, two, three]
    assert three - two == two - one > 0
    assert four <= three + (two - one)


@on_every_pair
def test_one_step_of_training_changes_the_answer(name: str, layer: Callable[[], nn.Module]) -> None:
    """From fresh weights, zeros included."""
    stem, x = build_stem(contract(name), layer()).double(), images()
    before = stem(x[:, [3, 1]], index=(3, 1))
    before.square().mean().backward()
    torch.optim.SGD(stem.parameters(), lr=0.1).step()
    assert (stem(x[:, [3, 1]], index=(3, 1)) - before).abs().max() > 1e-4


@pytest.mark.parametrize("name", SERVES)
def test_saved_and_loaded_model_is_the_same(name: str, tmp_path: Path) -> None:
    network = "dynamic_cnn_v1" if name == GENERATOR_STEM else "resnet8"
    model = create_model(network, channels=CHANNELS, num_classes=5, stem=name, statistics=training_statistics(4)).eval()
    trained(model.stem)
    save(model, tmp_path)
    loaded, x = load(tmp_path), images().float()
    assert loaded.contract.to_dict() == model.contract.to_dict()
    assert loaded.state_dict().keys() == model.state_dict().keys()
    present = mask(4, (0, 2), (3,))
    torch.testing.assert_close(loaded(x), model(x), rtol=0, atol=0)
    torch.testing.assert_close(loaded(x, present=present), model(x, present=present), rtol=0, atol=0)
    for subset in subsets(4):
        queries = [CHANNELS[position] for position in subset]
        found, expected = (each.select(queries)(x[:, list(subset)]) for each in (loaded, model))
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", SERVES)
def test_first_layers_that_a_stem_cannot_serve_are_refused(name: str) -> None:
    text = (
        "dynamic_cnn_v1 or dynamic_cnn_v2" if name == GENERATOR_STEM else "an ordinary convolution as the first layer"
    )
    for layer in (each for each in FIRST_LAYERS if each not in SERVES[name]):
        with pytest.raises(ConfigError, match=f"stem '{name}' needs {text}.*, not resnet8"):
            build_stem(contract(name), layer())


@pytest.mark.parametrize("name", SERVES)
def test_options_that_a_stem_does_not_have_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"stem '{name}' has no options {{'depth': 2.0}}"):
        build_stem(contract(name, stem_options={"depth": 2.0}), SERVES[name][0]())


def test_completion_names_the_channels_never_seen_together() -> None:
    statistics = training_statistics(4)
    statistics.covariance[3, 1] = statistics.covariance[1, 3] = float("nan")
    with pytest.raises(ChannelError, match="channels G and DNA were never seen together, so stem"):
        build_stem(contract("completion", statistics=statistics), ordinary())


@pytest.mark.parametrize("stem", ["learned_padding", DYNAMIC_STEM, EXPANSION_STEM, WAVELENGTH_STEM])
def test_stems_that_learn_keep_to_their_own_weights(stem: str) -> None:
    model, x = build_model("wide_cnn4", stem, width=16), raw_images(2, 9, 7)
    same = with_changes(model, stem=stem, options={"strides": [1, 2, 2, 2]})
    torch.testing.assert_close(with_changes(same, options={"strides": [2] * 4})(x), model(x))
    for before, after in ((model, "mean"), (build_model("wide_cnn4", "mean", width=16), stem)):
        with pytest.raises(ConfigError, match=f"wide_cnn4 with stem '{after}' and the options .* has weights of other"):
            with_changes(before, stem=after)


@pytest.mark.usefixtures("own_parts")
def test_a_registered_stem_is_one_of_them(tmp_path: Path) -> None:
    class Half(MeanFill):
        def make_offset(self, offset: Tensor, *_: object) -> Tensor:
            return torch.full_like(offset, 0.5)

    assert stem_names() == STEMS
    register_stem("half", Half)
    assert stem_names() == (*STEMS, "half")
    model, x = build_model("resnet8", "half"), raw_images(2, 9, 7)
    there = mask(3, (2, 0), (2, 0))
    found = model.select("B,R")(x[:, [2, 0]])
    torch.testing.assert_close(model(x, present=there), found)
    assert not torch.allclose(with_changes(model, stem="mean").select("B,R")(x[:, [2, 0]]), found)
    save(model, tmp_path)
    torch.testing.assert_close(load(tmp_path).select("B,R")(x[:, [2, 0]]), found)


@pytest.mark.usefixtures("own_parts")
def test_stems_that_cannot_be_registered() -> None:
    for name in ("completion", "tokens", ""):
        with pytest.raises(ConfigError, match=f"a stem cannot be registered as '{name}'; take a name other than compl"):
            register_stem(name, MeanFill)
    with pytest.raises(ConfigError, match=r"stem 'half' is 0.5, but it must be a subclass of anychan\.nn\.fill\.Fill"):
        register_stem("half", 0.5)  # type: ignore[arg-type]
    assert stem_names() == STEMS
