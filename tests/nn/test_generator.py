import pytest
import torch
from torch import nn
from torch.export import Dim, export
from torch.nn import functional

from anychan.nn.fill import MeanFill, ZeroFill
from anychan.nn.generator import GeneratedConv2d, GeneratorPerCountStem, KernelGenerator
from anychan.nn.stems import Stem
from tests.builders import mask, subsets


def build() -> GeneratorPerCountStem:
    return GeneratorPerCountStem(GeneratedConv2d(3, 6), MeanFill(torch.zeros(3), torch.ones(3))).double()


def images(num_images: int = 2) -> torch.Tensor:
    constants = torch.tensor([1.0, -2.0, 5.0], dtype=torch.float64).view(1, 3, 1, 1)
    return constants + torch.randn(num_images, 3, 5, 7, dtype=torch.float64)


def trained(conv: GeneratedConv2d) -> list[bool]:
    """Which generators got a gradient."""
    return [any(p.grad is not None and bool(p.grad.any()) for p in g.parameters()) for g in conv.generators]


def test_kernel_by_hand() -> None:
    generator = KernelGenerator(1, 2, kernel_size=1)
    with torch.no_grad():
        for layer in generator.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
                layer.weight.fill_(0.5)
                layer.bias.zero_()
        generator.state_dict()["layers.5.bias"][1] = 100.0
    # 1 → 8 units of 0.5 → 16 units of 8 · 0.25 = 2 → 16 · 2 · 0.5 = 16
    torch.testing.assert_close(generator(), torch.tensor([16.0, 116.0]).view(2, 1, 1, 1))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_parameters_by_formula(count: int) -> None:
    generator = KernelGenerator(count, 32, kernel_size=3)
    assert generator().shape == (32, count, 3, 3)
    assert sum(p.numel() for p in generator.parameters()) == (1 + 1) * 8 + (8 + 1) * 16 + (16 + 1) * 32 * count * 9


def test_whole_input_is_convolved_by_the_last_generator() -> None:
    conv, x = GeneratedConv2d(3, 6, kernel_size=5).double(), images()
    expected = functional.conv2d(x, conv.generators[2](), padding=2)
    assert expected.shape == (2, 6, 5, 7)
    torch.testing.assert_close(conv(x), expected)


def test_each_count_has_its_own_kernel() -> None:
    conv, x = GeneratedConv2d(3, 6).double(), images()
    for count in (1, 2, 3):
        expected = functional.conv2d(x[:, :count], conv.generators[count - 1](), padding=1)
        torch.testing.assert_close(conv.convolve_count(x[:, :count]), expected)


def test_stem_by_count_for_every_subset_in_any_order() -> None:
    stem, x = build(), images()
    for subset in subsets(3):
        expected = stem.conv.convolve_count(x[:, list(subset)])
        torch.testing.assert_close(stem(x[:, list(subset)], index=subset), expected)
        torch.testing.assert_close(stem(x[:, list(subset[::-1])], index=subset[::-1]), expected)
        torch.testing.assert_close(stem(x, present=mask(3, subset, subset)), expected)


def test_order_of_three_channels_does_not_matter() -> None:
    stem, x = build(), images()
    torch.testing.assert_close(stem(x[:, [1, 2, 0]], index=(1, 2, 0)), stem(x))


def test_ragged_batch_equals_each_image_alone() -> None:
    stem, rows = build(), [(1, 2), (0,), (0, 1, 2), (0, 2), (2,)]
    x = images(5)
    poisoned = torch.where(mask(3, *rows)[:, :, None, None], x, torch.nan)
    together = stem(poisoned, present=mask(3, *rows))
    for number, row in enumerate(rows):
        alone = stem(x[number : number + 1, list(row)], index=row)
        torch.testing.assert_close(together[number : number + 1], alone)


def test_zeroed_channels_never_train_the_generators_for_fewer() -> None:
    conv, x = GeneratedConv2d(3, 6).double(), images()
    fill = ZeroFill(torch.zeros(3), torch.ones(3)).double()
    for subset in subsets(3):
        Stem(conv, fill)(x, present=mask(3, subset, subset)).square().sum().backward()
        Stem(conv, fill)(x[:, list(subset)], index=subset).square().sum().backward()
    assert trained(conv) == [False, False, True]


@pytest.mark.parametrize(("subset", "expected"), [((1,), [True, False, False]), ((0, 2), [False, True, False])])
def test_stem_by_count_trains_the_generator_for_its_count(subset: tuple[int, ...], expected: list[bool]) -> None:
    stem = build()
    stem(images()[:, list(subset)], index=subset).square().sum().backward()
    assert trained(stem.conv) == expected


def test_ragged_batch_trains_every_count_in_it() -> None:
    stem = build()
    stem(images(3), present=mask(3, (0,), (0, 1, 2), (2,))).square().sum().backward()
    assert trained(stem.conv) == [True, False, True]


def test_exported_for_any_batch_it_is_the_same() -> None:
    """All kernels for each image, of which one is kept, in place of a pass for each number of channels."""
    stem, rows = build(), subsets(3)
    present, free = mask(3, *rows), {0: Dim("batch")}
    x = images(len(rows)).where(present[:, :, None, None], torch.nan)
    arguments = {"index": None, "present": present[:2]}
    shapes = {"x": free, "index": None, "present": free}
    exported = export(stem, (x[:2],), arguments, dynamic_shapes=shapes, strict=False).module()
    torch.testing.assert_close(exported(x, index=None, present=present), stem(x, present=present))
