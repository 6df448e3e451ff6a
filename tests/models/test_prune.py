import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from anychan.errors import ConfigError, InputShapeError
from anychan.models.base import AnyChannelModel
from anychan.models.catalog import create_model
from anychan.models.pretrained import load, save
from anychan.models.prune import kernel_shares, prune_kernels
from anychan.nn.dynamic_conv import DynamicConv2d
from tests.builders import build_model, raw_images


def dynamic_layers(model: AnyChannelModel) -> dict[str, DynamicConv2d]:
    return {name: module for name, module in model.named_modules() if isinstance(module, DynamicConv2d)}


def kernels_of(model: AnyChannelModel) -> list[int]:
    return [layer.kernel_shape[0] for layer in dynamic_layers(model).values()]


def one_dynamic_layer(top_k: int | None) -> AnyChannelModel:
    """resnet8 whose first layer chooses kernel 0, 1 or 2 where R, G or B is brightest after normalisation."""
    model = build_model("resnet8")
    conv = DynamicConv2d(3, 24, kernel_size=3, padding=1, num_kernels=3, reduction=1, top_k=top_k).double()
    with torch.no_grad():
        conv.squeeze.copy_(torch.eye(3))
        conv.excite.copy_(torch.eye(3))
    model.stem.conv = conv
    return model


def bright(*channels: int) -> Tensor:
    """(N, 3, 5, 7): in each image, channel R, G or B (0, 1, 2) outshines the others, and the next one is second."""
    images = torch.empty(len(channels), 3, 5, 7, dtype=torch.float64)
    for image, channel in zip(images, channels, strict=True):
        for rank, value in enumerate((100.0, 60.0, 30.0)):
            place = (channel + rank) % 3
            image[place] = value * (2.0, 4.0, 8.0)[place]  # the normalisation's scale
    return images


@pytest.mark.parametrize(
    ("top_k", "shares"), [(1, [3 / 6, 1 / 6, 2 / 6]), (2, [5 / 6, 4 / 6, 3 / 6]), (3, [1.0] * 3), (None, [1.0] * 3)]
)
def test_shares_by_hand(top_k: int | None, shares: list[float]) -> None:
    model = one_dynamic_layer(top_k).train()
    found = kernel_shares(model, iter([bright(0, 2, 0, 1), bright(0, 2)]))  # batches of unlike sizes
    assert list(found) == ["stem.conv"]
    torch.testing.assert_close(found["stem.conv"], torch.tensor(shares))
    assert not model.training


def batches() -> list[Tensor]:
    """Six images, unlike enough that layers choose different kernels for them."""
    torch.manual_seed(7)
    colours = 40 * torch.randn(6, 3, 1, 1, dtype=torch.float64)
    images = raw_images(6, 9, 7) + colours
    return [images[:4], images[4:]]


@pytest.fixture(scope="module")
def model() -> Iterator[AnyChannelModel]:
    """Three kernels a layer, of which each image takes one; tests must leave it as it is."""
    built = build_model("dynamic_resnet12", num_kernels=3, top_k=1)
    before = {key: value.clone() for key, value in built.state_dict().items()}
    yield built
    torch.testing.assert_close(built.state_dict(), before, rtol=0, atol=0)
    assert built.contract.options == {"num_kernels": 3, "top_k": 1}
    assert kernels_of(built) == [3] * 22


@pytest.mark.parametrize("top_k", [1, 2])
def test_shares_sum_to_top_k(top_k: int) -> None:
    model = build_model("dynamic_resnet12", num_kernels=3, top_k=top_k)
    shares = kernel_shares(model, batches())
    assert list(shares) == list(dynamic_layers(model))
    for share in shares.values():
        assert share.shape == (3,)
        assert float(share.sum()) == pytest.approx(top_k)
        torch.testing.assert_close(share * 6, (share * 6).round())  # of six images


def test_pruned_model_gives_the_same_logits(model: AnyChannelModel) -> None:
    smaller = prune_kernels(model, batches())
    assert not smaller.training
    for images in batches():
        torch.testing.assert_close(smaller(images), model(images), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(smaller(images[:1]), model(images[:1]), rtol=1e-12, atol=1e-12)


def test_pruned_model_has_the_chosen_kernels_alone(model: AnyChannelModel) -> None:
    smaller, shares = prune_kernels(model, batches()), kernel_shares(model, batches())
    assert smaller.contract.options == {"num_kernels": kernels_of(smaller), "top_k": 1}
    assert set(kernels_of(smaller)) >= {1, 2}  # this test needs layers that lose kernels, and some that keep several
    before = dynamic_layers(model)
    for name, layer in dynamic_layers(smaller).items():
        chosen = shares[name] > 0
        assert layer.top_k == 1
        assert torch.equal(layer.weight, before[name].weight[chosen])
        assert torch.equal(layer.excite, before[name].excite[chosen])
        assert torch.equal(layer.squeeze, before[name].squeeze)
    assert kernels_of(prune_kernels(smaller, batches())) == kernels_of(smaller)  # once is enough


def test_pruned_float64_weights_stay_exact() -> None:
    model = build_model("dynamic_resnet12", num_kernels=2, top_k=2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 + 1e-10)  # no float32 any more
    smaller = prune_kernels(model, batches())
    torch.testing.assert_close(smaller.state_dict(), model.state_dict(), rtol=0, atol=0)


def test_pruned_model_is_saved_and_loaded(model: AnyChannelModel, tmp_path: Path) -> None:
    smaller = prune_kernels(model, batches()).float()
    save(smaller, tmp_path)
    loaded, x = load(tmp_path), batches()[0].float()
    assert kernels_of(loaded) == kernels_of(smaller)
    torch.testing.assert_close(loaded(x), smaller(x), rtol=0, atol=0)


def test_larger_max_share_takes_out_more() -> None:
    model = build_model("dynamic_resnet12", num_kernels=4, top_k=2)
    shares = kernel_shares(model, batches())
    counts = {}
    for max_share in (0.0, 0.4, 1.0):
        smaller = prune_kernels(model, batches(), max_share=max_share)
        counts[max_share] = kernels_of(smaller)
        assert counts[max_share] == [max(2, int((share > max_share).sum())) for share in shares.values()]
        for name, layer in dynamic_layers(smaller).items():
            left = {tuple(row) for row in layer.excite.tolist()}
            kept = torch.tensor([tuple(row) in left for row in dynamic_layers(model)[name].excite.tolist()])
            assert shares[name][kept].min() >= shares[name].where(~kept, 0).max()  # the least chosen go first
    assert sum(counts[0.0]) > sum(counts[0.4]) > sum(counts[1.0])
    assert counts[1.0] == [2] * 22


def hooks_of(model: nn.Module) -> int:
    return sum(len(module._forward_pre_hooks) for module in model.modules())


def test_hooks_are_gone_afterwards() -> None:
    model = one_dynamic_layer(1)

    def counted() -> Iterator[Tensor]:
        yield bright(0, 1)
        assert hooks_of(model) == 1
        yield bright(2)[:, :2]

    kernel_shares(model, [bright(0, 1)])
    assert hooks_of(model) == 0
    with pytest.raises(InputShapeError, match=re.escape("resnet8 takes (N, 3, H, W)")):
        kernel_shares(model, counted())
    assert hooks_of(model) == 0


def test_networks_without_a_choice_are_refused() -> None:
    with pytest.raises(ConfigError, match="resnet8 has no dynamic convolution, so there are no kernels to choose from"):
        kernel_shares(build_model("resnet8"), batches())
    text = "has no top_k, so each image uses every kernel and none can be taken out"
    for name in ("resnet8", "dynamic_resnet12"):
        with pytest.raises(ConfigError, match=f"{name} {text}"):
            prune_kernels(build_model(name), batches())


def test_no_images_are_refused() -> None:
    model = build_model("dynamic_resnet12", top_k=2)
    with pytest.raises(ConfigError, match="there are no images to choose kernels for; an iterator can be read only"):
        prune_kernels(model, iter([]))


@pytest.mark.parametrize("seed", range(6))
def test_ties_survive_pruning(seed: int) -> None:
    """The stem's attention has one hidden unit: where it is 0, all kernels are equal. Found by a review."""
    torch.manual_seed(seed)
    model = create_model("dynamic_resnet12", num_classes=5, options={"top_k": 2}).eval()
    x = torch.randint(0, 255, (12, 3, 8, 8), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(prune_kernels(model, [x])(x), model(x), rtol=1e-5, atol=1e-6)
