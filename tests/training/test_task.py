import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from anychan.data.augment import cut_mix, mix_up, shrink
from anychan.data.batches import Augment, Batch, TrainBatches
from anychan.data.dataset import ImageData, load_data
from anychan.models.catalog import create_model
from anychan.randomness import derive_seed
from anychan.training.fit import build_model
from anychan.training.task import ClassificationTask, class_weights, learning_rate_factor, make_optimizer, size_of_epoch
from tests.runs import small_recipe


@pytest.fixture(scope="module")
def data(cache: object) -> ImageData:
    return load_data(small_recipe().data, seed=0)


def make_task(data: ImageData, **train: object) -> ClassificationTask:
    torch.manual_seed(1)
    model = create_model("baseline_cnn", num_classes=3, statistics=data.statistics)
    return ClassificationTask(model, small_recipe(**train), data)  # type: ignore[arg-type]


def more_outputs(data: ImageData, **train: object) -> ClassificationTask:
    """Seven logits for three classes."""
    recipe = small_recipe(**train)  # type: ignore[arg-type]
    recipe.model.num_outputs = 7
    return ClassificationTask(build_model(recipe, data), recipe, data)


def some_batch(data: ImageData) -> Batch:
    split = data.splits["train"]
    return Batch(split.tensor.permute(0, 3, 1, 2)[3:10], split.labels[3:10])


def test_class_weights_by_hand() -> None:
    weights = class_weights(torch.tensor([0, 0, 0, 2, 2, 0]), 3)
    # 4 and 2 images of 6 in 2 classes: 6 / (2 × 4) and 6 / (2 × 2)
    torch.testing.assert_close(weights, torch.tensor([0.75, 0, 1.5]))


def test_class_weights_of_equal_classes_are_one() -> None:
    torch.testing.assert_close(class_weights(torch.tensor([1, 0, 2, 2, 1, 0]), 3), torch.ones(3))


def test_learning_rate_by_hand() -> None:
    factors = [learning_rate_factor(step, steps=8, warmup=2) for step in range(9)]
    half = math.sqrt(0.5)
    expected = [1 / 3, 2 / 3, 1, (1 + math.cos(math.pi / 6)) / 2, 0.75, 0.5, 0.25, (1 - math.cos(math.pi / 6)) / 2, 0]
    assert factors == pytest.approx(expected)
    assert learning_rate_factor(1, steps=4, warmup=0) == pytest.approx((1 + half) / 2)
    assert learning_rate_factor(0, steps=4, warmup=0) == 1
    assert learning_rate_factor(3, steps=3, warmup=3) == 1  # warm-up alone: no division by zero
    floors = [learning_rate_factor(step, steps=4, warmup=1, floor=0.2) for step in (0, 1, 4, 5, 9)]
    assert floors == pytest.approx([1 / 2, 1, 0.2, 0.2, 0.2])


@pytest.mark.parametrize(("name", "kind"), [("sgd", "SGD"), ("adam", "Adam"), ("adamw", "AdamW")])
def test_optimizers_take_the_recipes_numbers(name: str, kind: str) -> None:
    model = nn.Linear(2, 3)
    config = small_recipe(optimizer=name, lr=0.3, momentum=0.7, weight_decay=0.02).train
    optimizer = make_optimizer(model, config)
    assert type(optimizer).__name__ == kind
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.3, 0.02)
    assert group.get("momentum", 0.7) == 0.7
    assert [id(parameter) for parameter in group["params"]] == [id(parameter) for parameter in model.parameters()]


def test_schedule_is_one_cosine_over_all_steps(data: ImageData) -> None:
    task = make_task(data, epochs=4, warmup_epochs=1, lr=0.6)  # 12 images by 5: 3 steps an epoch
    found = task.configure_optimizers()
    optimizer, scheduler = found["optimizer"], found["lr_scheduler"]["scheduler"]
    assert found["lr_scheduler"]["interval"] == "step"
    rates = []
    for _ in range(12):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([0.6 * learning_rate_factor(step, steps=12, warmup=3) for step in range(12)])
    assert rates.index(max(rates)) == 3
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0)


def test_cooldown_stays_where_the_cosine_ends(data: ImageData) -> None:
    task = make_task(data, epochs=5, warmup_epochs=1, cooldown_epochs=2, lr=0.6, min_lr=0.06)
    found = task.configure_optimizers()
    rates = []
    for _ in range(15):  # 3 steps an epoch
        rates.append(found["optimizer"].param_groups[0]["lr"])
        found["optimizer"].step()
        found["lr_scheduler"]["scheduler"].step()
    assert rates[3] == pytest.approx(0.6)
    assert rates[6] == pytest.approx((0.6 + 0.06) / 2)
    assert min(rates[4:9]) > 0.06
    assert rates[9:] == pytest.approx([0.06] * 6)


def test_without_schedule_there_is_an_optimizer_alone(data: ImageData) -> None:
    assert isinstance(make_task(data, schedule="none", optimizer="adam").configure_optimizers(), torch.optim.Adam)


def test_train_loss_is_smoothed_and_weighted(data: ImageData) -> None:
    split = data.splits["train"]
    uneven = dataclasses.replace(
        data, sources={"": {**data.splits, "train": dataclasses.replace(split, labels=split.labels // 2)}}
    )
    task, batch = make_task(uneven, label_smoothing=0.2, class_weights="balanced"), some_batch(uneven)
    task.model.eval()
    loss = task.training_step(batch, 0)
    logp = torch.log_softmax(task.model(batch.images), 1)
    weight = class_weights(uneven.splits["train"].labels, 3)
    assert weight.tolist() == [0.75, 1.5, 0]  # 8 images of class 0 and 4 of class 1
    target = 0.8 * functional.one_hot(batch.labels, 3) + 0.2 / 3
    expected = -(target * logp * weight).sum() / weight[batch.labels].sum()
    torch.testing.assert_close(loss, expected)


def test_validation_loss_is_plain(data: ImageData) -> None:
    task, batch = make_task(data, label_smoothing=0.2, class_weights="balanced"), some_batch(data)
    task.eval()
    small = Batch(batch.images[:2], batch.labels[:2])
    task.validation_step(batch, 0)
    task.validation_step(small, 1)
    with torch.no_grad():
        pairs = [(task.model(part.images), part.labels) for part in (batch, small)]
    each = [functional.cross_entropy(logits, labels, reduction="sum") for logits, labels in pairs]
    right = [(logits.argmax(1) == labels).sum() for logits, labels in pairs]
    loss, accuracy = task.epoch_metrics("val")
    assert loss == pytest.approx(float(sum(each)) / 9)
    assert accuracy == pytest.approx(float(sum(right)) / 9)


def test_step_sees_its_channels_alone(data: ImageData) -> None:
    task, batch = make_task(data, channel_sampling="uniform"), some_batch(data)
    task.model.eval()
    steps = {}
    for step in range(40):
        (index,) = task.channels_of_step(step)
        steps[index] = step
    assert len(steps) == 7
    step = steps[(0, 2)]
    absent = batch.images.clone()
    absent[:, 1] = 255 - absent[:, 1]
    losses = [task.training_step(Batch(images, batch.labels), step) for images in (batch.images, absent)]
    torch.testing.assert_close(losses[0], losses[1], rtol=0, atol=0)
    logits = task.model.select("R,B")(batch.images[:, [0, 2]])
    torch.testing.assert_close(losses[0], functional.cross_entropy(logits, batch.labels))


@pytest.mark.parametrize("train", [{}, {"sandwich": 2}])
@pytest.mark.parametrize("sampling", ["uniform", "uniform_size", "weighted"])
def test_channels_follow_seed_and_step(data: ImageData, sampling: str, train: dict[str, int]) -> None:
    weights = {"R": 1.0, "G,B": 3.0, "R,G,B": 1.0} if sampling == "weighted" else None
    task = make_task(data, channel_sampling=sampling, subset_weights=weights, **train)
    first = [task.channels_of_step(step) for step in range(50)]
    torch.rand(3)
    assert [task.channels_of_step(step) for step in range(50)] == first
    task.recipe = dataclasses.replace(task.recipe, seed=1)
    assert [task.channels_of_step(step) for step in range(50)] != first


def test_a_sandwich_begins_with_all_channels(data: ImageData) -> None:
    task = make_task(data, channel_sampling="uniform", sandwich=3)
    steps = [task.channels_of_step(step) for step in range(60)]
    assert all(step[0] == (0, 1, 2) for step in steps)
    assert all(len(step) == 4 for step in steps)
    assert {subset for step in steps for subset in step[2:]} == {(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)}
    assert {step[1] for step in steps} == {(0,), (1,), (2,)}  # the smallest


@pytest.mark.parametrize(("distill", "never_hurt"), [(0.0, 0.0), (0.3, 0.0), (1.0, 0.0), (0.0, 0.7), (0.25, 0.5)])
@pytest.mark.parametrize("cutmix", [0.0, 1.0])
def test_loss_of_a_sandwich_by_hand(data: ImageData, distill: float, never_hurt: float, cutmix: float) -> None:
    losses = {"distill": distill, "never_hurt": never_hurt, "label_smoothing": 0.1, "cutmix": cutmix}
    task, batch = make_task(data, channel_sampling="uniform", sandwich=2, **losses), some_batch(data)
    task.model.eval()
    images, labels = batch.images, batch.labels
    target = functional.one_hot(labels, 3).float()
    if cutmix:
        generator = torch.Generator().manual_seed(derive_seed(0, "cutmix", 0, 5))
        torch.rand(1, generator=generator)
        images, partners, share = cut_mix(images, generator=generator)
        target = share * target + (1 - share) * target[partners]
    shares, target = target, 0.9 * target + 0.1 / 3
    passes = [index or () for index in task.channels_of_step(5)]
    whole, *fewer = (torch.log_softmax(task.model(images[:, list(i)], index=i), 1) for i in passes)
    expected = -(target * whole).sum(1).mean()
    for logp in fewer:
        expected = expected - (1 - distill) * (target * logp).sum(1).mean()
        expected = expected - distill * (whole.exp() * logp).sum(1).mean()
        hurt = (shares * (logp - whole)).sum(1)
        expected = expected + never_hurt * hurt.clamp(min=0).mean()
    torch.testing.assert_close(task.training_step(batch, 5), expected / 3)
    assert task.epoch_metrics("fit")[1] == pytest.approx(float((whole.argmax(1) == labels).float().mean()))


def test_without_sampling_all_channels_are_there(data: ImageData) -> None:
    assert make_task(data).channels_of_step(0) == [None]


@pytest.mark.parametrize(("names", "index"), [(["R", "B"], (0, 2)), (["B", "R"], (2, 0)), (["G"], (1,))])
def test_fixed_channels_are_all_that_is_seen(data: ImageData, names: list[str], index: tuple[int, ...]) -> None:
    task, batch = make_task(data, channels=names), some_batch(data)
    task.model.eval()
    assert all(task.channels_of_step(step) == [index] for step in range(9))
    absent = batch.images.clone()
    for channel in {0, 1, 2} - set(index):
        absent[:, channel] = 255 - absent[:, channel]
    logits = task.model.select(names)(batch.images[:, list(index)])
    expected = functional.cross_entropy(logits, batch.labels)
    for images in (batch.images, absent):
        torch.testing.assert_close(task.training_step(Batch(images, batch.labels), 3), expected)
        task.validation_step(Batch(images, batch.labels), 0)
        loss, accuracy = task.epoch_metrics("val")
        assert loss == pytest.approx(expected.item())
        assert accuracy == pytest.approx(float((logits.argmax(1) == batch.labels).float().mean()))
    assert not torch.allclose(task.model(batch.images), logits)


@pytest.mark.parametrize(("name", "mix"), [("cutmix", cut_mix), ("mixup", mix_up)])
def test_mixed_images_have_both_labels(
    data: ImageData, name: str, mix: Callable[..., tuple[Tensor, Tensor, float]]
) -> None:
    task, batch = make_task(data, label_smoothing=0.2, **{name: 1.0}), some_batch(data)
    task.model.eval()
    for step in range(5):
        generator = torch.Generator().manual_seed(derive_seed(0, "cutmix", 0, step))
        torch.rand(1, generator=generator)  # whether to mix
        images, partners, share = mix(batch.images.float(), generator=generator)
        logp = torch.log_softmax(task.model(images), 1)
        labels = share * functional.one_hot(batch.labels, 3) + (1 - share) * functional.one_hot(
            batch.labels[partners], 3
        )
        expected = -((0.8 * labels + 0.2 / 3) * logp).sum(1).mean()
        torch.testing.assert_close(task.training_step(batch, step), expected)
        loss, accuracy = task.epoch_metrics("fit")
        assert loss == pytest.approx(expected.item())
        assert accuracy == pytest.approx(float((logp.argmax(1) == batch.labels).float().mean()))


def test_cutmix_is_the_share_of_steps_that_mix(data: ImageData) -> None:
    batch, losses = some_batch(data), {}
    before = batch.images.clone()
    for probability in (0.0, 0.25, 1.0):
        task = make_task(data, cutmix=probability)
        task.model.eval()
        plain = functional.cross_entropy(task.model(batch.images), batch.labels)
        losses[probability] = [task.training_step(batch, step).item() for step in range(100)]
        mixed = sum(loss != pytest.approx(plain.item(), rel=1e-6) for loss in losses[probability])
        # of those that mix, a few draw a box without a pixel
        assert mixed == 0 if probability == 0 else 60 * probability < mixed <= 150 * probability
    for loss, never, always in zip(losses[0.25], losses[0.0], losses[1.0], strict=True):
        assert loss in (never, always)
    assert torch.equal(batch.images, before)


def test_a_step_mixes_in_one_way_at_most(data: ImageData) -> None:
    batch = some_batch(data)

    def losses(**train: float) -> list[float]:
        task = make_task(data, **train)
        task.model.eval()
        return [task.training_step(batch, step).item() for step in range(100)]

    plain, cut, mixed = losses(), losses(cutmix=1.0), losses(mixup=1.0)
    some = losses(cutmix=0.25), losses(cutmix=0.25, mixup=0.5)
    for step in range(100):
        assert some[1][step] in (plain[step], cut[step], mixed[step])
        if some[0][step] != plain[step]:
            assert some[1][step] == cut[step]  # MixUp leaves CutMix as it was
    counts = [sum(pair[0] == pair[1] for pair in zip(some[1], way, strict=True)) for way in (plain, cut, mixed)]
    assert all(abs(count - expected) <= 20 for count, expected in zip(counts, (25, 25, 50), strict=True))


def test_channels_are_mixed_and_then_chosen(data: ImageData) -> None:
    task, batch = make_task(data, cutmix=1.0, channels=["G"]), some_batch(data)
    task.model.eval()
    other = batch.images.clone()
    other[:, [0, 2]] = 255 - other[:, [0, 2]]
    losses = [task.training_step(Batch(images, batch.labels), 1) for images in (batch.images, other)]
    torch.testing.assert_close(losses[0], losses[1], rtol=0, atol=0)


def test_epochs_share_the_sizes() -> None:
    assert [size_of_epoch([8, 12, 16], epoch, epochs=6) for epoch in range(6)] == [8, 8, 12, 12, 16, 16]
    assert [size_of_epoch([8, 16], epoch, epochs=5) for epoch in range(5)] == [8, 8, 8, 16, 16]
    assert [size_of_epoch([8, 16], epoch, epochs=2) for epoch in range(2)] == [8, 16]


@pytest.mark.parametrize("mixing", ["none", "cutmix", "mixup"])
def test_images_are_mixed_and_then_resized(data: ImageData, mixing: str) -> None:
    sizes = {"progressive_sizes": [8, 16], "epochs": 2}
    task, batch = make_task(data, **sizes, **({} if mixing == "none" else {mixing: 1.0})), some_batch(data)
    task.model.eval()
    images, partners, share = batch.images, torch.arange(7), 1.0
    if mixing != "none":
        generator = torch.Generator().manual_seed(derive_seed(0, "cutmix", 0, 4))
        torch.rand(1, generator=generator)
        mix = cut_mix if mixing == "cutmix" else mix_up
        images, partners, share = mix(images.float(), generator=generator)
    logp = torch.log_softmax(task.model(shrink(images, 8)), 1)
    labels = share * functional.one_hot(batch.labels, 3) + (1 - share) * functional.one_hot(batch.labels[partners], 3)
    torch.testing.assert_close(task.training_step(batch, 4), -(labels * logp).sum(1).mean())
    task.validation_step(batch, 0)  # at full size
    plain = functional.cross_entropy(task.model(batch.images), batch.labels)
    assert task.epoch_metrics("val")[0] == pytest.approx(plain.item())


def test_more_outputs_than_classes(data: ImageData) -> None:
    task, batch = more_outputs(data, label_smoothing=0.2), some_batch(data)
    task.model.eval()
    logits = task.model(batch.images)
    assert logits.shape == (7, 7)
    target = 0.8 * functional.one_hot(batch.labels, 7) + 0.2 / 7  # outputs without a class are smoothed over too
    expected = -(target * torch.log_softmax(logits, 1)).sum(1).mean()
    torch.testing.assert_close(task.training_step(batch, 0), expected)
    task.epoch_metrics("fit")
    with torch.no_grad():
        task.model.head[-1].bias[5] = 1e3  # type: ignore[index]
    for split, step in (("fit", task.training_step), ("val", task.validation_step)):
        step(batch, 0)
        assert task.epoch_metrics(split)[1] == 0  # an output without a class is always wrong


def test_balanced_weights_with_more_outputs(data: ImageData) -> None:
    task, batch = more_outputs(data, class_weights="balanced"), some_batch(data)
    task.model.eval()
    assert task.loss.weight is not None
    assert task.loss.weight.tolist() == [1, 1, 1, 0, 0, 0, 0]  # 4 images of each class
    logits = task.model(batch.images)
    torch.testing.assert_close(task.training_step(batch, 0), functional.cross_entropy(logits, batch.labels))


def test_global_randomness_starts_from_the_step(data: ImageData) -> None:
    task, batch = make_task(data), some_batch(data)
    numbers = []
    for step in (0, 1, 0):
        torch.rand(step + 1)
        task.training_step(batch, step)
        numbers.append(float(torch.rand(1)))
    assert numbers[0] == numbers[2] != numbers[1]


def test_batches_are_those_of_recipe_and_epoch(data: ImageData) -> None:
    task = make_task(data, crop_padding=2, flip=True, channel_drop=0.3, crop_scale=0.7, batch_size=5)
    batches = task.train_dataloader()
    assert (batches.batch_size, batches.seed, batches.epoch) == (5, 0, 0)
    expected = TrainBatches(data.splits["train"], batch_size=5, augment=task.augment, seed=0, epoch=0)
    for found, wanted in zip(batches, expected, strict=True):
        assert torch.equal(found.images, wanted.images)
    assert task.augment == Augment(crop_padding=2, flip=True, channel_drop=0.3, crop_scale=0.7)
    validation = torch.cat([batch.labels for batch in task.val_dataloader()])
    assert torch.equal(validation, data.splits["val"].labels)
