import torch
from torch import Tensor
from torch.nn import functional

from anychan.nn.affine import Fold
from anychan.nn.dynamic_stem import HIDDEN, KERNELS, DynamicStem, MixedConv2d
from anychan.nn.fill import MeanFill
from anychan.nn.stems import StemConv2d
from tests.builders import mask, subsets


def build(*convs: StemConv2d) -> DynamicStem:
    torch.manual_seed(2)
    convs = convs or (StemConv2d(3, 6, 3, stride=2, padding=1), StemConv2d(3, 2, 1, 2, bias=False))
    return DynamicStem(convs, MeanFill(torch.zeros(3), torch.ones(3))).double()


def judge(stem: DynamicStem, x: Tensor, subset: tuple[int, ...]) -> Tensor:
    """One image at a time, its kernels added up one by one."""
    maps = []
    for image in x:
        hidden = stem.squeeze.bias.clone()
        for channel in subset:
            hidden = hidden + stem.squeeze.weight[:, channel] * image[channel].mean() + stem.presence.weight[:, channel]
        logits = stem.excite.weight @ hidden.clamp(min=0)
        attention = logits.exp() / logits.exp().sum()
        row = []
        for conv in stem.conv:
            assert isinstance(conv, MixedConv2d)
            kernels = [weight.view(conv.shape)[:, list(subset)] for weight in conv.weight]
            kernel = sum(share * each for share, each in zip(attention, kernels, strict=True))
            given = image[None, list(subset)]
            row.append(functional.conv2d(given, kernel, conv.bias, conv.stride, conv.padding))
        maps.append(torch.cat(row, 1))
    return torch.cat(maps)


def test_mixes_kernels_by_what_is_seen_for_every_subset() -> None:
    stem, x = build(), 2 + torch.randn(2, 3, 5, 7, dtype=torch.float64)
    for subset in subsets(3):
        expected = judge(stem, x, subset)
        assert expected.shape == (2, 8, 3, 4)
        index = subset[::-1]
        torch.testing.assert_close(stem(x[:, list(index)], index=index), expected, rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(stem(x, present=mask(3, subset, subset)), expected, rtol=1e-11, atol=1e-11)


def test_attention_sees_which_channels_there_are() -> None:
    """Images of zeros look alike, whatever is absent: only the mask tells."""
    stem = build(StemConv2d(3, 6, 1))
    (mixed,) = stem.conv
    assert isinstance(mixed, MixedConv2d)
    seen: list[Tensor] = []
    mixed.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    x = torch.zeros(7, 3, 5, 7, dtype=torch.float64)
    stem(x, present=mask(3, *subsets(3)))
    (attention,) = seen
    torch.testing.assert_close(attention.sum(1), torch.ones(7, dtype=torch.float64))
    distances = torch.cdist(attention, attention) + torch.eye(7)
    assert distances.min() > 1e-4


def test_sizes_and_initial_scale_are_those_of_the_first_layer() -> None:
    conv = StemConv2d(3, 64, 7, stride=4, padding=3)
    conv.weight.data.mul_(5)
    mixed = MixedConv2d(conv)
    assert mixed.weight.shape == (KERNELS, 64, 3 * 49)
    torch.testing.assert_close(mixed.weight.std(), conv.weight.std(), rtol=0.05, atol=0)
    assert mixed.bias is conv.bias
    y = mixed(torch.randn(2, 1, 9, 7), torch.full((2, KERNELS), 0.25), Fold((1,)))
    assert y.shape == (2, 64, 3, 2)


def test_parameters_by_formula() -> None:
    stem = build()
    kernels = KERNELS * (6 * 3 * 9 + 2 * 3)
    attention = (3 + 1) * HIDDEN + 3 * HIDDEN + HIDDEN * KERNELS
    assert sum(parameter.numel() for parameter in stem.parameters()) == kernels + 6 + attention
