import itertools
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from anychan.data.batches import Augment, Batch, EvalBatches, TrainBatches, calibration_images
from anychan.data.dataset import Split

ALL = Augment(crop_padding=1, flip=True, channel_drop=0.5, crop_scale=0.6)


def numbered(count: int, channels: int = 3) -> Split:
    """(N, 4, 5, C) uint16: pixel = 1000 × image + 10 × channel + 1 + noise of a few; label = image modulo 4."""
    values = 1000 * np.arange(count)[:, None] + 10 * np.arange(channels) + 1
    noise = np.random.default_rng(0).integers(0, 9, (count, 4, 5, channels))
    pixels = (values[:, None, None, :] + noise).astype(np.uint16)
    return Split(pixels, torch.arange(count) % 4, tuple(f"{number}.tif" for number in range(count)))


def train(
    split: Split, *, batch_size: int = 4, augment: Augment | None = None, seed: int = 0, epoch: int = 0
) -> list[Batch]:
    chosen = Augment() if augment is None else augment
    return list(TrainBatches(split, batch_size=batch_size, augment=chosen, seed=seed, epoch=epoch))


def numbers(batch: Batch) -> list[int]:
    """Which image each one is."""
    return (batch.images.long().amax((1, 2, 3)) // 1000).tolist()


def equal(first: list[Batch], second: list[Batch]) -> bool:
    return all(
        torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels) for a, b in zip(first, second, strict=True)
    )


@given(st.integers(1, 30), st.integers(1, 11), st.integers(0, 5), st.integers(0, 5))
def test_each_image_comes_once_an_epoch(count: int, batch_size: int, seed: int, epoch: int) -> None:
    split = numbered(count)
    batches = TrainBatches(split, batch_size=batch_size, augment=Augment(), seed=seed, epoch=epoch)
    found = list(batches)
    assert len(found) == len(batches)
    assert [len(batch.labels) for batch in found[:-1]] == [batch_size] * (len(found) - 1)
    assert len(found[-1].labels) > 1 or batch_size == 1 or count == 1
    assert len(found[-1].labels) <= batch_size + 1
    assert sorted(itertools.chain(*map(numbers, found))) == list(range(count))
    for batch in found:
        assert batch.labels.tolist() == [number % 4 for number in numbers(batch)]


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"),
    [
        (12, 4, [4, 4, 4]),
        (11, 4, [4, 4, 3]),
        (13, 4, [4, 4, 5]),
        (5, 4, [5]),
        (3, 4, [3]),
        (1, 4, [1]),
        (3, 1, [1, 1, 1]),
    ],
)
def test_last_single_image_joins_the_batch_before(count: int, batch_size: int, sizes: list[int]) -> None:
    assert [len(batch.labels) for batch in train(numbered(count), batch_size=batch_size)] == sizes


def test_batches_are_raw_and_channels_last() -> None:
    split = numbered(9, channels=13)
    for batch in train(split, augment=ALL):
        assert batch.images.dtype == torch.uint16
        assert batch.images.shape[1:] == (13, 4, 5)
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
    (batch,) = train(split, batch_size=9)
    for image, number in zip(batch.images, numbers(batch), strict=True):
        assert torch.equal(image, torch.from_numpy(split.images[number]).permute(2, 0, 1))


def test_batches_follow_seed_and_epoch_alone() -> None:
    split = numbered(30)
    first = train(split, augment=ALL, seed=3, epoch=2)
    torch.rand(7)  # a global state that has moved on
    np.random.default_rng().random()
    assert equal(train(split, augment=ALL, seed=3, epoch=2), first)
    for seed, epoch in ((3, 1), (2, 2), (4, 2), (3, 3)):
        other = train(split, augment=ALL, seed=seed, epoch=epoch)
        assert not equal(other, first)
        assert [numbers(batch) for batch in other] != [numbers(batch) for batch in first]


def test_two_readers_of_one_epoch_do_not_disturb_each_other() -> None:
    batches = TrainBatches(numbered(30), batch_size=4, augment=ALL, seed=0, epoch=0)
    for one, two in zip(batches, batches, strict=True):
        assert equal([one], [two])


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("given", [0, 3, 10])
def test_an_epoch_goes_on_in_its_middle(given: int, ahead: bool) -> None:
    def made(epoch: int) -> TrainBatches:
        return TrainBatches(numbered(40), batch_size=4, augment=ALL, seed=1, epoch=epoch, ahead=ahead)

    first, again, other = made(2), made(2), made(3)
    begun = list(islice(first, given))
    state = first.state_dict()
    again.load_state_dict(state)
    other.load_state_dict(state)
    assert len(again) == len(first) == 10
    assert equal([*begun, *again], list(made(2)))
    assert again.state_dict() == {"epoch": 2, "given": 10}
    assert equal(list(other), list(made(3)))


def test_batches_made_ahead_are_the_same_and_no_more_than_asked_for() -> None:
    made: list[int] = []

    class Noted(Augment):
        def __call__(self, images: Tensor, seed: int) -> Tensor:
            made.append(seed)
            return super().__call__(images, seed)

    batches = TrainBatches(numbered(40), batch_size=4, augment=Noted(2, True), seed=1, epoch=2, ahead=True)
    assert equal(list(batches), train(numbered(40), augment=Augment(2, True), seed=1, epoch=2))
    del made[:]
    first = iter(batches)
    next(first)
    del first  # as when training is interrupted: what waits in the thread is let go
    assert len(made) <= 4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_batches_made_on_a_gpu_are_the_same() -> None:
    on_gpu = TrainBatches(numbered(40), batch_size=4, augment=ALL, seed=1, epoch=2, ahead=True, device="cuda")
    found = [batch._replace(images=batch.images.cpu()) for batch in on_gpu]
    assert equal(found, train(numbered(40), augment=ALL, seed=1, epoch=2))


def test_more_augmentation_leaves_the_order_alone() -> None:
    split = numbered(30)
    orders = [
        [numbers(batch) for batch in train(split, augment=augment)]
        for augment in (Augment(), Augment(flip=True), Augment(crop_padding=1), Augment(channel_drop=0.4))
    ]
    assert all(order == orders[0] for order in orders)


def test_steps_are_augmented_apart() -> None:
    """Equal images at every step: equal results would mean one seed for all steps."""
    split = Split(np.repeat(numbered(1).images, 64, 0), torch.zeros(64, dtype=torch.int64), ("a",) * 64)
    found = [batch.images for batch in train(split, batch_size=16, augment=ALL)]
    assert len({images.numpy().tobytes() for images in found}) == 4


def test_augment_does_what_it_says() -> None:
    images = numbered(40).tensor
    assert Augment()(images, 0) is images
    flipped = Augment(flip=True)(images, 0)
    same = (flipped == images).flatten(1).all(1)
    assert torch.equal(flipped[~same], images.flip(2)[~same])
    assert 8 < int(same.sum()) < 32
    dropped = Augment(channel_drop=1.0)(images, 0)
    assert ((dropped == 0).all(2).all(1).sum(1) == 1).all()
    cropped = Augment(crop_padding=3)(images, 0)
    assert int((cropped == 0).any(3).flatten(1).any(1).sum()) > 30  # black from beyond the border
    whole = torch.arange(64).view(1, 8, 8, 1).expand(40, -1, -1, -1).to(torch.float32)
    enlarged = Augment(crop_scale=0.5)(whole, 0)
    assert ((enlarged.amax((1, 2, 3)) - enlarged.amin((1, 2, 3))) < 63).all()
    assert torch.equal(ALL(images, 5), ALL(images, 5))
    assert not torch.equal(ALL(images, 5), ALL(images, 6))


def test_evaluation_keeps_the_order() -> None:
    split = numbered(11)
    batches = EvalBatches(split, batch_size=4)
    found = list(batches)
    assert [len(batch.labels) for batch in found] == [4, 4, 3]
    assert len(batches) == 3
    assert list(itertools.chain(*map(numbers, found))) == list(range(11))
    assert torch.equal(torch.cat([batch.labels for batch in found]), split.labels)
    whole = torch.cat([batch.images for batch in found])
    assert torch.equal(whole, split.tensor.permute(0, 3, 1, 2))


def drops(**options: float) -> Tensor:
    batches = EvalBatches(numbered(200), batch_size=50, **options)  # type: ignore[arg-type]
    return torch.cat([(batch.images == 0).all(3).all(2) for batch in batches])  # (N, C)


def test_evaluation_drop_is_the_same_for_every_model() -> None:
    first = drops(channel_drop=0.5, seed=1)
    assert torch.equal(drops(channel_drop=0.5, seed=1), first)
    assert not torch.equal(drops(channel_drop=0.5, seed=2), first)
    assert 60 < int(first.sum()) < 140
    assert int(first.sum(1).max()) == 1
    steps = first.view(4, 50, 3)
    assert not torch.equal(steps[0], steps[1])
    assert int(drops().sum()) == 0


@pytest.mark.parametrize("augment", [Augment(), ALL])
def test_memory_map_is_never_written_to(tmp_path: Path, augment: Augment) -> None:
    split = numbered(12)
    np.save(tmp_path / "images.npy", split.images)
    mapped = Split(np.load(tmp_path / "images.npy", mmap_mode="c"), split.labels, split.names)
    for batch in train(mapped, augment=augment):
        batch.images.zero_()
    for batch in EvalBatches(mapped, channel_drop=1.0):
        batch.images.zero_()
    np.testing.assert_array_equal(mapped.images, split.images)


def test_calibration_images_are_whole_batches_of_training_images() -> None:
    split = Split(
        torch.arange(10).view(10, 1, 1, 1).repeat(1, 2, 3, 4).to(torch.uint8).numpy(),
        torch.zeros(10, dtype=torch.int64),
        tuple("abcdefghij"),
    )
    found = calibration_images(split, seed=0, batch_size=4)
    assert [tuple(batch.shape) for batch in found] == [(4, 4, 2, 3)] * 2  # the smaller third would count too much
    numbers = torch.cat(found)[:, 0, 0, 0].tolist()
    assert len(set(numbers)) == 8
    again, other = calibration_images(split, seed=0, batch_size=4), calibration_images(split, seed=1, batch_size=4)
    assert torch.equal(torch.cat(again), torch.cat(found))
    assert not torch.equal(torch.cat(other), torch.cat(found))
    assert len(calibration_images(split, seed=0, batch_size=4, images=4)) == 1
    assert len(calibration_images(split, seed=0, batch_size=4, images=1)) == 1
    assert [len(batch) for batch in calibration_images(split, seed=0)] == [10]


def test_calibration_images_are_augmented_as_asked() -> None:
    split = numbered(9)
    found = calibration_images(split, augment=ALL, seed=3, batch_size=4)
    expected = train(split, augment=ALL, seed=3)
    assert len(found) == 2
    for images, batch in zip(found, expected, strict=False):
        assert torch.equal(images, batch.images)
    assert not torch.equal(found[0], calibration_images(split, seed=3, batch_size=4)[0])
