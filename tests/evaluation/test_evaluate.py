import re
from itertools import combinations
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from anychan.channels import Channel, ChannelSet
from anychan.data.batches import Batch, EvalBatches
from anychan.data.dataset import load_data
from anychan.errors import ChannelError
from anychan.evaluation.calibration import expected_calibration_error
from anychan.evaluation.choice import random_orders, sampled_subsets
from anychan.evaluation.evaluate import evaluate_splits, evaluate_subsets
from anychan.evaluation.paired import mcnemar
from anychan.evaluation.shapley import sampled_worth
from anychan.evaluation.subsets import SubsetReport, SubsetRow
from anychan.models.base import AnyChannelModel
from anychan.models.catalog import create_model, model_from_contract
from anychan.presets import RGB, SENTINEL2
from tests.builders import build_model
from tests.runs import small_recipe

LABELS = torch.arange(24) % 5


@pytest.fixture
def model() -> AnyChannelModel:
    return build_model("resnet8", "completion")


@pytest.fixture
def images() -> Tensor:
    return 20 * torch.randn(24, 3, 9, 7, dtype=torch.float64)


def batched(images: Tensor) -> list[Batch]:
    return [Batch(*pair) for pair in zip(images.split(7), LABELS.split(7), strict=True)]


def test_report_equals_the_slow_way(model: AnyChannelModel, images: Tensor) -> None:
    """Each subset by itself, image by image, by the mask, which goes another way through the model."""
    report = evaluate_subsets(model, batched(images))
    assert report.possible == 7
    assert report.batch_norm == "shared"
    expected = [chosen for size in (3, 2, 1) for chosen in combinations(range(3), size)]
    assert [row.channels for row in report.rows] == [tuple("RGB"[i] for i in chosen) for chosen in expected]
    for row, chosen in zip(report.rows, expected, strict=True):
        mask = torch.tensor([[position in chosen for position in range(3)]])
        garbage = torch.where(mask[0, :, None, None], images, torch.nan)
        right = [
            int(model(image[None], present=mask).argmax()) == label
            for image, label in zip(garbage, LABELS.tolist(), strict=True)
        ]
        assert row.correct.tolist() == right
        assert row.accuracy == sum(right) / 24
    assert len({tuple(row.correct.tolist()) for row in report.rows}) > 3  # the subsets do differ


def test_chosen_subsets_may_come_in_any_order(model: AnyChannelModel, images: Tensor) -> None:
    chosen = [RGB.select("B,R"), RGB.select("G")]
    report = evaluate_subsets(model, batched(images), subsets=chosen)
    whole = evaluate_subsets(model, batched(images))
    assert [row.channels for row in report.rows] == [("R", "B"), ("G",)]
    for row in report.rows:
        assert torch.equal(row.correct, whole.row(row.channels).correct)
    assert torch.equal(whole.row(["B", "R"]).correct, whole.rows[2].correct)


def test_unknown_channel_is_named(model: AnyChannelModel, images: Tensor) -> None:
    strange = ChannelSet([Channel("NIR", "camera")])
    with pytest.raises(ChannelError, match=re.escape("channel 'camera:NIR' is not one of R, G, B")):
        evaluate_subsets(model, batched(images), subsets=[strange])


def test_own_statistics_equal_the_direct_computation(model: AnyChannelModel, images: Tensor) -> None:
    calibration = [30 * torch.randn(8, 3, 9, 7, dtype=torch.float64) + shift for shift in (0, 40, -90)]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    report = evaluate_subsets(model, batched(images), calibration=calibration)
    assert report.batch_norm == "own"
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    for row in report.rows:
        index = list(RGB.indices(row.channels))
        expected = with_own_statistics(model, [part[:, index] for part in calibration], tuple(index))
        logits = expected(images[:, index], index=tuple(index))
        assert torch.equal(row.correct, logits.argmax(1) == LABELS)
    shared = evaluate_subsets(model, batched(images))
    assert any(not torch.equal(a.correct, b.correct) for a, b in zip(report.rows, shared.rows, strict=True))


def with_own_statistics(model: AnyChannelModel, batches: list[Tensor], index: tuple[int, ...]) -> AnyChannelModel:
    """A copy of the model whose batch norms hold the mean over batches of their inputs' mean and variance."""
    copy = model_from_contract(model.contract).double()
    copy.load_state_dict(model.state_dict())
    norms = [module for module in copy.modules() if isinstance(module, nn.BatchNorm2d)]
    seen: list[list[tuple[Tensor, Tensor]]] = [[] for _ in norms]
    for norm, moments in zip(norms, seen, strict=True):
        norm.register_forward_hook(
            lambda _, args, __, moments=moments: moments.append(
                (args[0].mean((0, 2, 3)).detach(), args[0].var((0, 2, 3)).detach())
            )
        )
    copy.train()
    for batch in batches:
        copy(batch, index=index)
    for norm, moments in zip(norms, seen, strict=True):
        norm.running_mean = torch.stack([mean for mean, _ in moments]).mean(0)
        norm.running_var = torch.stack([variance for _, variance in moments]).mean(0)
    return copy.eval()


def test_model_is_put_into_eval_mode(model: AnyChannelModel, images: Tensor) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    evaluate_subsets(model, batched(images))
    assert not model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_dropped_channels_are_seen_as_zeros() -> None:
    data = load_data(small_recipe().data, seed=0)
    model = create_model("resnet8", num_classes=3, statistics=data.statistics).eval()
    batches = EvalBatches(data.splits["test"], channel_drop=1.0)
    (row,) = evaluate_subsets(model, batches, subsets=[RGB]).rows
    (batch,) = batches
    assert int((batch.images == 0).all(3).all(2).sum()) == 6
    assert torch.equal(row.correct, model(batch.images).argmax(1) == batch.labels)


def test_p_values_are_against_the_full_set(model: AnyChannelModel, images: Tensor) -> None:
    report = evaluate_subsets(model, batched(images))
    full = report.rows[0].correct
    assert report.full is report.rows[0]
    for row in report.rows:
        lost, won = int((full & ~row.correct).sum()), int((row.correct & ~full).sum())
        assert row.p_value == float(mcnemar([lost], [won])[0])
    assert len({row.p_value for row in report.rows}) > 2
    part = evaluate_subsets(model, batched(images), subsets=[RGB.select("R,G"), RGB.select("G")])
    assert part.full is None
    assert [row.p_value for row in part.rows] == [None, None]


def test_confidences_are_the_softmax_of_the_selection(model: AnyChannelModel, images: Tensor) -> None:
    report = evaluate_subsets(model, batched(images), subsets=[RGB.select("B,R")])
    logits = model.select("R,B")(images[:, [0, 2]])
    (row,) = report.rows
    assert row.confidence is not None
    torch.testing.assert_close(row.confidence, logits.softmax(1).amax(1).float().detach())
    assert row.calibration_error == expected_calibration_error(row.confidence.numpy(), row.correct.numpy())


def test_shapley_values_start_from_the_commonest_training_class(model: AnyChannelModel, images: Tensor) -> None:
    train = torch.tensor([0, 3, 3, 1, 3, 0])
    report = evaluate_subsets(model, batched(images), train_labels=train)
    worth = report.shapley
    assert worth is not None
    assert report.no_shapley is None
    assert worth.none == float((LABELS == 3).double().mean())
    assert worth.all == report.rows[0].accuracy
    assert worth.channels == ("R", "G", "B")
    a = {"".join(row.channels): row.accuracy for row in report.rows}
    gains = [a["G"] - worth.none, a["G"] - worth.none, a["RG"] - a["R"], a["GB"] - a["B"]]
    gains += [a["RGB"] - a["RB"]] * 2  # the six orders in which G can come
    assert worth["G"] == pytest.approx(sum(gains) / 6, abs=1e-12)
    assert worth.values.sum() == pytest.approx(worth.all - worth.none, abs=1e-12)
    unlabelled = evaluate_subsets(model, batched(images))
    assert unlabelled.shapley is None
    assert unlabelled.no_shapley == "no training labels were given to guess from without any channel"


def test_violations_are_those_of_the_rows(model: AnyChannelModel, images: Tensor) -> None:
    report = evaluate_subsets(model, batched(images))
    assert report.violations.pairs == 9
    rows = [SubsetRow(("R",), torch.ones(30, dtype=torch.bool)), SubsetRow(("R", "G"), torch.arange(30) < 10)]
    (found,) = SubsetReport(tuple(rows), 7, "shared").violations.found
    assert (found.channels, found.added, found.lost, found.won, found.p_value) == (("R", "G"), "G", 20, 0, 2.0**-20)


def test_samples_are_added_and_their_mean_is_estimated(images: Tensor) -> None:
    model = create_model("resnet8", channels=SENTINEL2, num_classes=5).eval()
    many = images.float().repeat(1, 5, 1, 1)[:, :13]
    named = [SENTINEL2, SENTINEL2.select(["B8A"])]
    report = evaluate_subsets(model, batched(many), subsets=named, sample=6, seed=3)
    drawn = [subset.names for subset in sampled_subsets(SENTINEL2, 6, seed=3)]
    assert [row.channels for row in report.rows] == [SENTINEL2.names, ("B8A",), *drawn]
    assert report.sampled == tuple(range(2, 8))
    values = [row.accuracy for row in report.rows[2:]]
    mean = sum(values) / 6
    spread = sum((value - mean) ** 2 for value in values) / 5
    assert report.sample_mean == pytest.approx((mean, (spread / 6 * (1 - 6 / 8191)) ** 0.5))
    assert report.to_dict()["sample"]["n"] == 6
    again = evaluate_subsets(model, batched(many), subsets=[*named, SENTINEL2.select(drawn[1])], sample=6, seed=3)
    assert again.sampled == (3, 2, 4, 5, 6, 7)  # a subset that was named too is evaluated once and counts in both
    assert again.sample_mean == pytest.approx(report.sample_mean)


def test_a_sample_of_all_has_no_error(model: AnyChannelModel, images: Tensor) -> None:
    report = evaluate_subsets(model, batched(images), subsets=[], sample=7)
    assert report.sample_mean is not None
    assert report.sample_mean[0] == pytest.approx(sum(row.accuracy for row in report.rows) / 7)
    assert report.sample_mean[1] == 0
    assert evaluate_subsets(model, batched(images), subsets=[], sample=1).sample_mean is None


def test_splits_in_one_go_equal_each_alone(model: AnyChannelModel, images: Tensor) -> None:
    splits = {"test": batched(images), "val": batched(images + 5)[:2]}
    calibration = [images - 3]
    found = evaluate_splits(model, splits, calibration=calibration)
    assert [report.rows[0].n for report in found.values()] == [24, 14]
    for name, report in found.items():
        alone = evaluate_subsets(model, splits[name], calibration=calibration)
        for row, expected in zip(report.rows, alone.rows, strict=True):
            assert torch.equal(row.correct, expected.correct)
            assert (row.channels, row.p_value) == (expected.channels, expected.p_value)


def test_batches_may_come_from_an_iterator(model: AnyChannelModel, images: Tensor) -> None:
    report = evaluate_subsets(model, iter(batched(images)))
    assert [row.n for row in report.rows] == [24] * 7


def test_results_on_file_are_gone_on_from(
    model: AnyChannelModel, images: Tensor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.npz"
    some = evaluate_subsets(model, batched(images), subsets=[RGB.select("R"), RGB.select("G,B")], partial=path)
    assert capsys.readouterr().err == ""
    whole = evaluate_subsets(model, batched(images), partial=path)
    assert capsys.readouterr().err == f"{path}: 2 of 7 subsets were evaluated before; going on\n"
    assert [row["accuracy"] for row in whole.table] == [
        row["accuracy"] for row in evaluate_subsets(model, batched(images)).table
    ]
    assert torch.equal(whole.row("R").correct, some.row("R").correct)
    evaluate_subsets(model, batched(images + 1), partial=path)
    assert capsys.readouterr().err == ""  # other images


def test_flips_are_the_mean_of_both_images(
    model: AnyChannelModel, images: Tensor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each subset by itself, image by image; results without flips are not taken for it."""
    path = tmp_path / "a.npz"
    plain = evaluate_subsets(model, batched(images), partial=path)
    found = evaluate_subsets(model, batched(images), flip=True, partial=path)
    assert capsys.readouterr().err == ""
    for row in found.rows:
        selection, both = model.select(row.channels), []
        columns = [RGB.index(name) for name in row.channels]
        for image in images[:, columns]:
            pair = [selection(each[None])[0].softmax(0) for each in (image, image.flip(2))]
            both.append((pair[0] + pair[1]) / 2)
        mean = torch.stack(both).detach()
        assert torch.equal(row.correct, mean.argmax(1) == LABELS)
        assert row.confidence is not None
        torch.testing.assert_close(row.confidence, mean.amax(1).float())
    assert any(not torch.equal(a.correct, b.correct) for a, b in zip(found.rows, plain.rows, strict=True))
    assert (plain.to_dict()["flip"], found.to_dict()["flip"]) == (False, True)
    assert (plain.how, found.how) == (
        "shared batch-norm statistics",
        "shared batch-norm statistics, images and their mirror images",
    )
    evaluate_subsets(model, batched(images), flip=True, partial=path)
    assert capsys.readouterr().err == f"{path}: 7 of 7 subsets were evaluated before; going on\n"


def eight_channels(many: Tensor) -> tuple[AnyChannelModel, list[Batch]]:
    model = create_model("resnet8", channels=SENTINEL2.select(SENTINEL2.names[:8]), num_classes=5).eval()
    return model, batched(many.float().repeat(1, 3, 1, 1)[:, :8])


def test_orders_add_their_nested_subsets_and_give_shapley_values(images: Tensor, tmp_path: Path) -> None:
    model, batches = eight_channels(images)
    named, train = [model.channels], torch.tensor([1, 1, 0])
    path = tmp_path / "a.npz"
    report = evaluate_subsets(model, batches, subsets=named, orders=3, seed=5, train_labels=train, partial=path)
    orders = [tuple(model.channels.names[i] for i in order) for order in random_orders(8, 3, seed=5)]
    assert report.orders == tuple(orders)
    nested = {frozenset(order[:size]) for order in orders for size in range(1, 9)}
    assert {frozenset(row.channels) for row in report.rows} == nested
    assert len(report.rows) == len(nested) < 3 * 8  # all channels are shared
    correct = torch.stack([row.correct for row in report.rows]).numpy()
    expected = sampled_worth(
        model.channels.names, [row.channels for row in report.rows], correct, (LABELS == 1).numpy(), orders
    )
    assert report.shapley is not None
    assert report.shapley.values.tolist() == expected.values.tolist()
    assert report.no_shapley is None
    more = evaluate_subsets(model, batches, subsets=named, orders=4, seed=5, train_labels=train, partial=path)
    assert more.orders[:3] == report.orders
    whole = evaluate_subsets(model, batches, subsets=list(model.channels.subsets()), orders=3, train_labels=train)
    assert whole.shapley is not None
    assert whole.shapley.orders is None  # exact where all were evaluated


def test_more_orders_go_on_from_fewer(images: Tensor, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, batches = eight_channels(images)
    path = tmp_path / "a.npz"
    few = evaluate_subsets(model, batches, subsets=[], orders=2, partial=path)
    evaluate_subsets(model, batches, subsets=[], orders=4, partial=path)
    assert f"{path}: {len(few.rows)} of " in capsys.readouterr().err


def test_images_may_hold_some_of_the_models_channels(model: AnyChannelModel, images: Tensor, tmp_path: Path) -> None:
    given = RGB.select("B,R")
    cut = [Batch(batch.images[:, [2, 0]], batch.labels) for batch in batched(images)]
    path = tmp_path / "a.npz"
    report = evaluate_subsets(model, cut, channels=given, partial=path)
    assert [row.channels for row in report.rows] == [("B", "R"), ("B",), ("R",)]
    assert (report.possible, report.full) == (3, report.rows[0])
    whole = evaluate_subsets(model, batched(images), partial=path)
    for row in report.rows:
        assert torch.equal(row.correct, whole.row(row.channels).correct)
    strange = ChannelSet([*given, Channel("NIR", "camera")])
    with pytest.raises(ChannelError, match=re.escape("channel 'camera:NIR' is not one of R, G, B")):
        evaluate_subsets(model, batched(images), channels=strange)
