import re
from itertools import combinations

import pytest
import torch
from torch import Tensor, nn

from anychan.channels import Channel, ChannelSet
from anychan.data.batches import Batch, EvalBatches
from anychan.data.dataset import load_data
from anychan.errors import ChannelError
from anychan.evaluation.subsets import (
    SubsetReport,
    SubsetRow,
    default_subsets,
    evaluate_subsets,
)
from anychan.models.base import AnyChannelModel
from anychan.models.catalog import create_model, model_from_contract
from anychan.presets import LANDSAT5, RGB, SENTINEL2
from tests.builders import build_model
from tests.runs import anonymous, small_recipe

LABELS = torch.arange(24) % 5


@pytest.fixture
def model() -> AnyChannelModel:
    return build_model("resnet8", "completion")


@pytest.fixture
def images() -> Tensor:
    return 20 * torch.randn(24, 3, 9, 7, dtype=torch.float64)


def batched(images: Tensor) -> list[Batch]:
    return [Batch(*pair) for pair in zip(images.split(7), LABELS.split(7), strict=True)]


def names(subsets: list[ChannelSet]) -> list[str]:
    return [subset.label for subset in subsets]


def test_rgb_has_seven_subsets_the_largest_first() -> None:
    assert names(default_subsets(RGB)) == ["R+G+B", "R+G", "R+B", "G+B", "R", "G", "B"]


def test_seven_channels_have_all_subsets() -> None:
    found = default_subsets(LANDSAT5)
    assert len(found) == len(set(found)) == 127
    assert [len(subset) for subset in found] == sorted((len(subset) for subset in found), reverse=True)


def test_thirteen_channels_have_a_chosen_few() -> None:
    found = names(default_subsets(SENTINEL2))
    everything = SENTINEL2.names
    assert found[:2] == ["+".join(everything), "B04+B03+B02"]
    assert found[2:15] == ["+".join(name for name in everything if name != left_out) for left_out in everything]
    assert found[15:] == list(everything)


def test_eight_channels_without_colours_have_no_rgb_row() -> None:
    found = default_subsets(anonymous(8))
    assert [len(subset) for subset in found] == [8] + [7] * 8 + [1] * 8


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


def test_rows_as_plain_values() -> None:
    row = SubsetRow(("R", "B"), torch.tensor([True, False, True, True]))
    low, high = row.interval
    assert (low, high) == pytest.approx((0.3006, 0.9544), abs=5e-5)
    expected = {"channels": ["R", "B"], "accuracy": 0.75, "low": low, "high": high, "n": 4}
    assert row.to_dict() == expected
    report = SubsetReport((row,), 7, "own")
    assert report.to_dict() == {"batch_norm": "own", "possible_subsets": 7, "subsets": [expected]}
