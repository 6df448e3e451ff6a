from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from anychan.data.augment import cut_mix, drop_channels, mix_up, random_crop_flip, random_resized_crop, shrink

TYPES = [torch.uint8, torch.uint16, torch.float32]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int, channels: int = 3, dtype: torch.dtype = torch.uint8) -> Tensor:
    """(N, 5, 7, C), no pixel 0, all pixels of an image different."""
    largest = 255 if dtype == torch.uint8 else 60_000
    rows = [torch.randperm(largest, generator=generator(9))[: 5 * 7 * channels] + 1 for _ in range(count)]
    return torch.stack(rows).view(count, 5, 7, channels).to(dtype)


def windows(image: Tensor, padding: int) -> dict[tuple[int, int, bool], Tensor]:
    """Every crop of one padded image, plain and flipped: the judge."""
    height, width, channels = image.shape
    padded = torch.zeros(height + 2 * padding, width + 2 * padding, channels, dtype=torch.int64)
    padded[padding : padding + height, padding : padding + width] = image.long()
    found = {}
    for top in range(2 * padding + 1):
        for left in range(2 * padding + 1):
            window = padded[top : top + height, left : left + width]
            found[top, left, False], found[top, left, True] = window, window.flip(1)
    return found


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_result_is_a_window_of_its_own_image(dtype: torch.dtype, channels: int) -> None:
    batch = images(400, channels, dtype)
    result = random_crop_flip(batch, padding=2, flip=True, generator=generator())
    assert result.dtype == dtype
    judges = windows(batch[0], 2)
    seen = []
    for image in result:
        fits = [place for place, window in judges.items() if torch.equal(image.long(), window)]
        assert len(fits) == 1
        seen += fits
    assert len(set(seen)) == 50  # all 25 places, both ways
    assert 150 < sum(flipped for *_, flipped in seen) < 250


def test_thirteen_channels_move_together() -> None:
    batch = images(50, 13, torch.uint16)
    result = random_crop_flip(batch, padding=1, flip=True, generator=generator())
    for image in result:
        assert sum(torch.equal(image.long(), window) for window in windows(batch[0], 1).values()) == 1


def test_each_image_keeps_its_place_in_the_batch() -> None:
    batch = (torch.arange(1, 31).view(30, 1, 1, 1) * torch.ones(30, 5, 7, 1)).to(torch.uint8)
    result = random_crop_flip(batch, padding=1, flip=True, generator=generator())
    assert result[:, 1:-1, 1:-1].flatten(1).float().std(1).max() == 0
    assert result[:, 2, 3, 0].tolist() == list(range(1, 31))


def test_without_padding_or_flip_nothing_moves() -> None:
    batch = images(4)
    result = random_crop_flip(batch, padding=0, flip=False, generator=generator())
    torch.testing.assert_close(result, batch, rtol=0, atol=0)


def test_flip_alone_is_exact() -> None:
    batch = images(40)
    result = random_crop_flip(batch, padding=0, flip=True, generator=generator())
    flipped = [torch.equal(image, source.flip(1)) for image, source in zip(result, batch, strict=True)]
    kept = [torch.equal(image, source) for image, source in zip(result, batch, strict=True)]
    assert [a != b for a, b in zip(flipped, kept, strict=True)] == [True] * 40
    assert 8 < sum(flipped) < 32


def test_same_seed_same_moves_whatever_the_images_are() -> None:
    batch = images(20)
    first, again = (random_crop_flip(batch, padding=2, flip=True, generator=generator(5)) for _ in range(2))
    other = random_crop_flip(batch, padding=2, flip=True, generator=generator(6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    wide = random_crop_flip(batch.repeat(1, 1, 1, 5).to(torch.uint16), padding=2, flip=True, generator=generator(5))
    assert torch.equal(wide[..., 3:6].to(torch.uint8), first)


@given(st.integers(1, 6), st.integers(0, 4), st.booleans(), st.integers(0, 3))
def test_draws_depend_on_the_number_of_images_alone(count: int, padding: int, flip: bool, seed: int) -> None:
    one, two = generator(seed), generator(seed)
    random_crop_flip(torch.zeros(count, 2, 3, 1), padding=padding, flip=flip, generator=one)
    random_crop_flip(torch.zeros(count, 9, 4, 13), padding=padding, flip=not flip, generator=two)
    assert torch.equal(torch.rand(3, generator=one), torch.rand(3, generator=two))


def test_sources_stay_as_they_are() -> None:
    batch = images(30)
    before = batch.clone()
    random_crop_flip(batch, padding=0, flip=False, generator=generator()).zero_()
    random_crop_flip(batch, padding=2, flip=True, generator=generator()).zero_()
    drop_channels(batch, probability=1, generator=generator()).zero_()
    drop_channels(batch, probability=0, generator=generator()).zero_()
    cut_mix(batch, generator=generator())[0].zero_()
    mix_up(numbers := batch.float(), generator=generator())[0].zero_()
    assert torch.equal(batch, before)
    assert torch.equal(numbers, before)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_drop_sets_one_channel_to_zero(dtype: torch.dtype, probability: float) -> None:
    count, channels = 3000, 4
    batch = images(1, channels, dtype).expand(count, -1, -1, -1)
    result = drop_channels(batch, probability=probability, generator=generator())
    assert result.dtype == dtype
    empty = (result == 0).all(2).all(1)  # (N, C)
    kept = ~empty[:, None, None, :].expand_as(result)
    assert torch.equal(result.long()[kept], batch.long()[kept])  # other channels are untouched, and hold no 0
    dropped = empty.sum(1)
    assert int(dropped.max()) <= 1
    expected = count * probability
    assert abs(int(dropped.sum()) - expected) <= 5 * (count * probability * (1 - probability)) ** 0.5
    for channel in range(channels):
        share = probability / channels
        assert abs(int(empty[:, channel].sum()) - count * share) <= 5 * (count * share * (1 - share)) ** 0.5


def test_drop_follows_its_generator() -> None:
    batch = images(30)
    results = [drop_channels(batch, probability=0.5, generator=generator(seed)) for seed in (1, 1, 2)]
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def distinct(count: int, height: int = 5, width: int = 7, dtype: torch.dtype = torch.float32) -> Tensor:
    """(N, 3, H, W), stored channels last; no value comes twice."""
    values = torch.arange(count * height * width * 3).view(count, height, width, 3)
    return values.permute(0, 3, 1, 2).to(dtype)


@pytest.mark.parametrize(("dtype", "count"), [(torch.uint8, 2), (torch.uint16, 9), (torch.float32, 9)])
def test_mixed_image_is_its_own_outside_one_box(dtype: torch.dtype, count: int) -> None:
    batch, shares = distinct(count, dtype=dtype), set()
    for seed in range(60):
        mixed, partners, share = cut_mix(batch, generator=generator(seed))
        assert mixed.dtype == dtype
        assert mixed.is_contiguous(memory_format=torch.channels_last)
        assert sorted(partners.tolist()) == list(range(count))
        boxes = []
        for image, own, partner in zip(mixed.long(), batch.long(), partners.tolist(), strict=True):
            foreign = (image != own).any(0)  # (H, W)
            assert torch.equal(image, torch.where(foreign, batch[partner].long(), own))
            if torch.equal(own, batch[partner].long()):
                assert not foreign.any()
                continue
            assert torch.equal(foreign, foreign.any(1)[:, None] & foreign.any(0))  # its rows times its columns
            for line in (foreign.any(0), foreign.any(1)):
                assert int(line.int().diff().abs().sum()) <= 2  # without a gap
            assert share == pytest.approx(1 - float(foreign.float().mean()))
            boxes.append(foreign)
        assert all(torch.equal(box, boxes[0]) for box in boxes)
        shares.add(share)
    assert len(shares) > 10


def test_box_is_drawn_as_the_paper_says() -> None:
    """Its area is uniform, its shape the image's, its middle uniform: by integration, it covers 77/240 on average."""
    shares, batch = [], distinct(2, 50, 70)
    for seed in range(2000):
        mixed, _, share = cut_mix(batch, generator=generator(seed))
        shares.append(share)
        foreign = (mixed[0] != batch[0]).any(0)
        height, width = int(foreign.any(1).sum()), int(foreign.any(0).sum())
        if height and not (foreign[[0, -1]].any() or foreign[:, [0, -1]].any()):
            assert abs(height / 50 - width / 70) < 1 / 50 + 1 / 70
    assert 1 - sum(shares) / 2000 == pytest.approx(77 / 240, abs=0.025)
    assert min(shares) < 0.1
    assert max(shares) > 0.99


def test_weighted_sums_of_pairs() -> None:
    batch, shares = distinct(9), []
    for seed in range(400):
        mixed, partners, share = mix_up(batch, generator=generator(seed))
        torch.testing.assert_close(mixed, share * batch + (1 - share) * batch[partners])
        assert mixed.is_contiguous(memory_format=torch.channels_last)
        assert sorted(partners.tolist()) == list(range(9))
        shares.append(share)
    quarters = torch.tensor(shares).histc(4, 0, 1).tolist()
    assert all(70 < count < 130 for count in quarters)  # uniform: 100 ± 9


def test_one_image_is_mixed_with_itself() -> None:
    batch = distinct(1)
    for seed in range(9):
        for mix in (cut_mix, mix_up):
            mixed, partners, share = mix(batch, generator=generator(seed))
            assert torch.equal(mixed, batch)
            assert partners.tolist() == [0]
            assert 0 <= share <= 1


@pytest.mark.parametrize("mix", [cut_mix, mix_up])
def test_mixing_follows_its_generator_alone(mix: Callable[..., tuple[Tensor, Tensor, float]]) -> None:
    batch = distinct(9)
    torch.rand(3)
    first, again, other = (mix(batch, generator=generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert first[2] == again[2] != other[2]
    assert not torch.equal(first[1], other[1])
    wide = mix(batch.repeat(1, 5, 1, 1), generator=generator(1))[0]
    assert torch.equal(wide[:, 3:6], first[0])


@pytest.mark.parametrize("dtype", TYPES)
def test_smaller_images_are_pillows(dtype: torch.dtype) -> None:
    batch = images(2, dtype=dtype).permute(0, 3, 1, 2)
    found = shrink(batch, 3)
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=torch.channels_last)
    planes = [Image.fromarray(plane.float().numpy()) for image in batch for plane in image]
    expected = np.stack([np.asarray(plane.resize((3, 3), Image.Resampling.BILINEAR)) for plane in planes])
    torch.testing.assert_close(found.flatten(0, 1), torch.from_numpy(expected), rtol=1e-5, atol=1e-3)


def test_images_of_that_size_stay_as_they_are() -> None:
    batch = distinct(2, 5, 5, torch.uint8)
    assert shrink(batch, 5) is batch


def ramps(count: int, height: int = 40, width: int = 60) -> Tensor:
    """(N, H, W, 3) float: each place's own row, its own column, and a sum that only one place of both has."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    image = torch.stack([rows, columns, rows + 2 * columns], 2).float()
    return image.expand(count, -1, -1, -1).contiguous()


def test_resized_crop_is_a_rectangle_of_the_image_drawn_as_it_says() -> None:
    result = random_resized_crop(ramps(4000), scale=0.3, generator=generator())
    assert result.shape == (4000, 40, 60, 3)
    inner = result[:, 10:-10, 10:-10]  # where no place is beyond the outermost pixels' centres
    torch.testing.assert_close(inner[..., 2], inner[..., 0] + 2 * inner[..., 1], rtol=0, atol=1e-3)
    heights = (inner[:, -1, 0, 0] - inner[:, 0, 0, 0]) / 19  # of one new pixel, in old ones
    widths = (inner[:, 0, -1, 1] - inner[:, 0, 0, 1]) / 39
    assert max(heights.max(), widths.max()) <= 1 + 1e-4
    area, ratio = heights * widths, widths / heights
    assert 0.3 - 1e-3 < area.min() < 0.31
    assert area.mean() == pytest.approx(0.65, abs=0.01)
    assert 3 / 4 - 1e-3 < ratio.min() < 0.77
    assert 1.3 < ratio.max() < 4 / 3 + 1e-3
    tops = inner[:, 0, 0, 0] - 10.5 * heights + 0.5  # of the rectangle, in pixels
    bottoms = 40 - tops - 40 * heights
    assert min(tops.min(), bottoms.min()) > -1e-3
    assert tops.mean() == pytest.approx(float(bottoms.mean()), abs=0.3)


@pytest.mark.parametrize("dtype", TYPES)
def test_resized_crops_keep_type_and_range(dtype: torch.dtype) -> None:
    batch = images(50, 4, dtype)
    before = batch.clone()
    result = random_resized_crop(batch, scale=0.1, generator=generator())
    assert result.dtype == dtype
    assert result.shape == batch.shape
    assert result.is_contiguous()
    assert result.double().min() >= before.double().min()
    assert result.double().max() <= before.double().max()
    torch.testing.assert_close(batch, before, rtol=0, atol=0)
    if dtype == torch.uint8:  # rounded, not cut
        exact = random_resized_crop(batch.float(), scale=0.1, generator=generator())
        assert (result.float() - exact).abs().max() <= 0.5


def test_resized_crop_of_the_whole_area_changes_nothing() -> None:
    batch = images(5)
    result = random_resized_crop(batch, scale=1.0, generator=generator())
    torch.testing.assert_close(result, batch, rtol=0, atol=0)


def test_resized_crops_are_drawn_by_the_number_of_images_alone() -> None:
    first, second = generator(3), generator(3)
    one = random_resized_crop(ramps(6), scale=0.5, generator=first)
    random_resized_crop(images(6, 13, torch.uint16), scale=0.5, generator=second)
    assert torch.equal(first.get_state(), second.get_state())
    again = random_resized_crop(ramps(6), scale=0.5, generator=generator(3))
    torch.testing.assert_close(one, again, rtol=0, atol=0)
