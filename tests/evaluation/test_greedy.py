import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from anychan.data.batches import Batch
from anychan.errors import ConfigError
from anychan.evaluation.evaluate import evaluate_subsets
from anychan.evaluation.greedy import greedy_search
from anychan.evaluation.outcomes import subset_outcomes
from anychan.models.base import AnyChannelModel
from anychan.models.catalog import create_model
from anychan.nn.batch_norm import measure_batch_norm
from tests.runs import anonymous

LABELS = torch.arange(24) % 3


IMAGES = 20 * torch.randn(24, 5, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def model() -> AnyChannelModel:
    torch.manual_seed(0)
    model = create_model("resnet8", channels=anonymous(5), num_classes=3, stem="mean").eval()
    measure_batch_norm(model, [IMAGES])  # fresh statistics would give every image one class
    return model


@pytest.fixture(scope="module")
def batches() -> list[Batch]:
    return [Batch(IMAGES[:14], LABELS[:14]), Batch(IMAGES[14:], LABELS[14:])]


def accuracies(model: AnyChannelModel, batches: list[Batch]) -> dict[frozenset[str], float]:
    report = evaluate_subsets(model, batches, subsets=list(model.channels.subsets()))
    return {frozenset(row.channels): row.accuracy for row in report.rows}


def test_each_step_adds_the_best_channel(model: AnyChannelModel, batches: list[Batch]) -> None:
    """Against a plain search through a table of all 31 subsets."""
    table = accuracies(model, batches)
    found = greedy_search(model, batches, model.channels, up_to=4)
    inside: list[str] = []
    for step in range(4):
        best = max(
            (name for name in model.channels.names if name not in inside),
            key=lambda name: table[frozenset([*inside, name])],
        )
        inside.append(best)
        assert found.path[step].names == tuple(sorted(inside))
        assert found.accuracies[step] == pytest.approx(table[frozenset(inside)])
    assert found.added == tuple(inside)
    assert (found.looked_at, found.n) == (5 + 4 + 3 + 2, 24)
    assert len(set(table.values())) > 5  # subsets do differ


def test_plain_values(model: AnyChannelModel, batches: list[Batch]) -> None:
    found = greedy_search(model, batches, model.channels, up_to=2).to_dict()
    assert (found["method"], found["subsets_looked_at"], found["validation_n"]) == ("greedy", 9, 24)
    assert [len(step["channels"]) for step in found["steps"]] == [1, 2]
    assert found["steps"][0]["channels"] == [found["steps"][0]["added"]]


def test_own_statistics_are_measured_for_what_is_looked_at(model: AnyChannelModel, batches: list[Batch]) -> None:
    calibration: list[Tensor] = [100 + 50 * torch.randn(16, 5, 8, 8, generator=torch.Generator().manual_seed(2))]
    found = greedy_search(model, batches, model.channels, up_to=1, calibration=calibration)
    own = evaluate_subsets(model, batches, subsets=list(found.path), calibration=calibration)
    assert found.accuracies[0] == pytest.approx(own.rows[0].accuracy)
    singles = [(position,) for position in range(5)]
    outcomes = subset_outcomes(model, batches, singles, calibration=calibration)
    assert found.accuracies[0] == pytest.approx(max(float(correct.mean()) for correct, _ in outcomes))


def test_a_search_with_flips_looks_at_mirror_images_too(
    model: AnyChannelModel, batches: list[Batch], tmp_path: Path
) -> None:
    path = tmp_path / "a.npz"
    plain = greedy_search(model, batches, model.channels, up_to=5, partial=path)
    found = greedy_search(model, batches, model.channels, up_to=5, flip=True, partial=path)
    report = evaluate_subsets(model, batches, subsets=list(found.path), flip=True)
    assert list(found.accuracies) == [pytest.approx(report.row(subset.names).accuracy) for subset in found.path]
    assert found.accuracies != plain.accuracies


def test_a_stopped_search_goes_on(model: AnyChannelModel, batches: list[Batch], tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    first = greedy_search(model, batches, model.channels, up_to=1, partial=path)
    written = path.read_bytes()
    again = greedy_search(model, batches, model.channels, up_to=1, partial=path)
    assert again == first
    assert path.read_bytes() == written  # nothing was evaluated
    longer = greedy_search(model, batches, model.channels, up_to=3, partial=path)
    assert longer == greedy_search(model, batches, model.channels, up_to=3)


@pytest.mark.parametrize("up_to", [0, 6])
def test_impossible_sizes_are_refused(model: AnyChannelModel, batches: list[Batch], up_to: int) -> None:
    message = f"a search up to {up_to} channels was asked for, but there are 1 to 5"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        greedy_search(model, batches, model.channels, up_to=up_to)
