"""Runs whose numbers end: which step is named, and that nothing of it is kept."""

from pathlib import Path

import pytest
import torch

from anychan.errors import RunError
from anychan.training import finite, fit
from anychan.training.checkpoint_io import read_checkpoint
from anychan.training.task import ClassificationTask
from tests.runs import small_recipe


def run(out: Path, monkeypatch: pytest.MonkeyPatch, *, damage: str, epoch: int, step: int) -> str:
    """Train with one step whose loss, or whose gradients alone, are not finite; what is said."""
    step_of = ClassificationTask.training_step

    def damaged(task: ClassificationTask, batch: object, number: int) -> torch.Tensor:
        loss = step_of(task, batch, number)  # type: ignore[arg-type]
        if (task.current_epoch, number) != (epoch, step):
            return loss
        if damage == "loss":
            return loss * float("inf")
        loss.register_hook(lambda gradient: gradient * float("nan"))
        return loss

    monkeypatch.setattr(ClassificationTask, "training_step", damaged)
    with pytest.raises(RunError) as caught:
        fit.fit(small_recipe(epochs=3, batch_size=4, checkpoint_seconds=0), out)
    return str(caught.value)


@pytest.mark.parametrize("damage", ["loss", "gradients"])
@pytest.mark.parametrize(("epoch", "step"), [(0, 0), (1, 1), (2, 2)], ids=["first", "middle", "last"])
def test_step_and_images_are_named(
    damage: str, epoch: int, step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = run(tmp_path, monkeypatch, damage=damage, epoch=epoch, step=step)
    assert f"step {step + 1} of epoch {epoch + 1}, on images/" in said
    assert said.count("images/") == 4
    last = tmp_path / "checkpoints" / "last.ckpt"
    assert last.exists() == bool(epoch or step)
    if last.exists():
        kept = read_checkpoint(last)
        assert kept["global_step"] == 3 * epoch + step
        assert all(value.isfinite().all() for value in kept["state_dict"].values())


def test_many_images_are_not_all_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finite, "_NAMES", 2)
    assert "2 more; lower" in run(tmp_path, monkeypatch, damage="loss", epoch=0, step=0)
