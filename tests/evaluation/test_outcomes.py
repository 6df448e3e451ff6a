from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from anychan.data.batches import Batch
from anychan.errors import InputShapeError
from anychan.evaluation.outcomes import subset_outcomes
from anychan.evaluation.partial import Outcome, PartialOutcomes
from tests.builders import build_model, raw_images, subsets

LABELS = torch.arange(70) % 5
SUBSETS = subsets(3)


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """So many threads for torch, and therefore subsets side by side."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def batches() -> list[Batch]:
    """One batch above and one below the number of images that a CPU takes at once."""
    torch.manual_seed(2)
    return [Batch(raw_images(n, 5, 7), LABELS[:n]) for n in (61, 9)]


@torch.no_grad()
def slow(index: tuple[int, ...]) -> Outcome:
    """By the mask, image by image, which goes another way through the model."""
    model, right, sure = build_model("resnet8", "completion"), [], []
    mask = torch.tensor([[channel in index for channel in range(3)]])
    for images, labels, _ in batches():
        for image, label in zip(images, labels, strict=True):
            logits = model(image[None], present=mask)[0]
            right.append(int(logits.argmax()) == int(label))
            sure.append(float(logits.softmax(0).max()))
    return np.array(right), np.array(sure, np.float32)


def test_outcomes_equal_the_slow_way(threads: int) -> None:
    model = build_model("resnet8", "completion")
    found = subset_outcomes(model, batches(), SUBSETS, calibration=None)
    assert torch.get_num_threads() == threads
    torch.set_num_threads(1)  # two that share a busy core wait for each other, layer by layer
    for index, (correct, confidence) in zip(SUBSETS, found, strict=True):
        expected = slow(index)
        np.testing.assert_array_equal(correct, expected[0])
        np.testing.assert_allclose(confidence, expected[1], atol=1e-6)
    assert len({tuple(correct) for correct, _ in found}) > 3


def test_own_statistics_do_not_leak_between_subsets(threads: int) -> None:
    """Side by side or one after the other, in any order: the same outcomes, and the model as it was."""
    model, calibration = build_model("resnet8", "mean"), [raw_images(16, 5, 7)]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    many = SUBSETS * 3
    found = subset_outcomes(model, batches(), many, calibration=calibration)
    torch.set_num_threads(1)
    alone = [subset_outcomes(model, batches(), [index], calibration=calibration)[0] for index in SUBSETS]
    for (correct, confidence), (expected, sure) in zip(found, alone * 3, strict=True):
        np.testing.assert_array_equal(correct, expected)
        np.testing.assert_allclose(confidence, sure, atol=1e-6)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    shared = subset_outcomes(model, batches(), SUBSETS, calibration=None)
    assert any((a[0] != b[0]).any() for a, b in zip(shared, alone, strict=True))


def test_errors_come_through(threads: int) -> None:
    model = build_model("dynamic_resnet12", "mean")  # takes 2×2 pixels or more
    with pytest.raises(InputShapeError, match="takes images of at least 2x2 pixels"):
        subset_outcomes(model, [Batch(raw_images(2, 1, 7), LABELS[:2])], SUBSETS, calibration=None)
    assert torch.get_num_threads() == threads


def test_what_is_done_is_not_done_again(tmp_path: Path, threads: int) -> None:
    """The outcome on file is taken as it stands, even where it is another than the model would give."""
    store = PartialOutcomes(tmp_path / "a.npz", "key", images=70, channels=3)
    marked = (np.zeros(70, np.bool_), np.full(70, 0.125, np.float32))
    store.add((1,), marked)
    found = subset_outcomes(build_model("resnet8"), batches(), SUBSETS, calibration=None, done=store)
    assert found[SUBSETS.index((1,))] is marked
    again = PartialOutcomes(tmp_path / "a.npz", "key", images=70, channels=3)
    assert all(index in again for index in SUBSETS)


def test_an_evaluation_that_fails_keeps_what_is_done(tmp_path: Path) -> None:
    model = build_model("resnet8")
    calls = []

    def fail_at_the_third(*_: object) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    model.get_submodule("head").register_forward_hook(fail_at_the_third)
    store = PartialOutcomes(tmp_path / "a.npz", "key", images=9, channels=3)
    with pytest.raises(KeyboardInterrupt):
        subset_outcomes(model, batches()[1:], SUBSETS, calibration=None, done=store)
    again = PartialOutcomes(tmp_path / "a.npz", "key", images=9, channels=3)
    assert [index in again for index in SUBSETS] == [True, True] + [False] * 5


def test_copies_share_their_tensors() -> None:
    """A large network must not be there once for each core."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    seen: set[int] = set()

    def note(module: nn.Module, *_: object) -> None:
        weight = module.weight
        assert isinstance(weight, torch.Tensor)
        seen.add(weight.data_ptr())

    model = build_model("resnet8")
    model.get_submodule("head.2").register_forward_hook(note)
    try:
        subset_outcomes(model, batches(), SUBSETS, calibration=None)
    finally:
        torch.set_num_threads(before)
    assert len(seen) == 1
