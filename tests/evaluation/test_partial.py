import re
from pathlib import Path

import numpy as np
import pytest
import torch

from anychan.data.batches import Batch
from anychan.errors import RunError
from anychan.evaluation.partial import Outcome, PartialOutcomes, fingerprint
from anychan.presets import RGB
from tests.builders import build_model


def outcome(seed: int, n: int = 11) -> Outcome:
    rng = np.random.default_rng(seed)
    return rng.random(n) < 0.5, rng.random(n).astype(np.float32)


def opened(path: Path, key: str = "key", *, images: int = 11, channels: int = 9) -> PartialOutcomes:
    return PartialOutcomes(path, key, images=images, channels=channels)


def test_outcomes_come_back_to_the_bit(tmp_path: Path) -> None:
    path = tmp_path / "subsets.partial.npz"
    store, subsets = opened(path), [(0,), (0, 3, 8), tuple(range(9))]
    for seed, index in enumerate(subsets):
        assert index not in store
        store.add(index, outcome(seed))
    store.save()
    again = opened(path)
    for seed, index in enumerate(subsets):
        assert index in again
        for found, expected in zip(again[index], outcome(seed), strict=True):
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)
    assert (1,) not in again
    again.add((1,), outcome(7))
    again.save()
    assert all(index in opened(path) for index in [*subsets, (1,)])
    assert list(tmp_path.iterdir()) == [path]


def test_results_of_something_else_are_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    store = opened(path)
    store.add((0,), outcome(0))
    store.save()
    other = opened(path, "another key")
    assert (0,) not in other
    other.add((1,), outcome(1))
    other.save()
    assert (0,) not in opened(path)


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 half a zip"])
def test_damaged_files_are_written_over(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    store = opened(path)
    assert (0,) not in store
    store.add((0,), outcome(0))
    store.save()
    assert (0,) in opened(path)
    path.write_bytes(path.read_bytes()[:-40])
    assert (0,) not in opened(path)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, key=np.array("key"), present=np.array([{"a": 1}], dtype=object))
    assert (0,) not in opened(path)


def test_nothing_new_writes_nothing(tmp_path: Path) -> None:
    opened(tmp_path / "a.npz").save()
    assert list(tmp_path.iterdir()) == []


def test_it_is_written_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("anychan.evaluation.partial.time.monotonic", lambda: clock[0])
    path = tmp_path / "a.npz"
    store = opened(path)
    for number, (seconds, written) in enumerate(((0, 1), (1, 1), (1.9, 1), (2.1, 4), (3, 4))):
        clock[0] = 100 + seconds
        store.add((number,), outcome(0))
        again = opened(path)
        assert sum((index,) in again for index in range(9)) == written


def test_folders_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    store = opened(tmp_path / "absent" / "a.npz")
    message = f"{tmp_path}/absent/a.npz: results so far cannot be kept there (No such file or directory)"
    with pytest.raises(RunError, match=f"^{re.escape(message)}$"):
        store.add((0,), outcome(0))


def test_whatever_results_depend_on_changes_the_key() -> None:
    model = build_model("resnet8", "completion")
    images, labels = torch.randint(0, 9, (4, 3, 5, 7)), torch.arange(4)
    batches = [Batch(images, labels)]
    first = fingerprint(model, batches, None, RGB)
    assert fingerprint(build_model("resnet8", "completion"), [Batch(images.clone(), labels)], None, RGB) == first
    changed = images.clone()
    changed[3, 2, 4, 6] += 1
    others = [
        fingerprint(build_model("resnet8", "mean"), batches, None, RGB),
        fingerprint(model, [Batch(changed, labels)], None, RGB),
        fingerprint(model, [Batch(images, labels.flip(0))], None, RGB),
        fingerprint(model, [Batch(images.to(torch.int32), labels)], None, RGB),
        fingerprint(model, batches, [images], RGB),
        fingerprint(model, batches, [changed], RGB),
        fingerprint(model, batches, None, RGB.select("B,G,R")),
    ]
    norm = model.get_submodule("body.bn1")
    norm.running_mean[0] += 1  # type: ignore[operator, index]
    others.append(fingerprint(model, batches, None, RGB))
    assert len({first, *others}) == 9


def test_half_precision_has_a_key() -> None:
    model = build_model("resnet8", "mean").bfloat16()
    assert len(fingerprint(model, [Batch(torch.zeros(0, 3, 5, 7), torch.zeros(0))], None, RGB)) == 64
