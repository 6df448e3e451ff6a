"""One run folder, and what users, crashes and disks do to it, in any order: it always ends with the same bits."""

import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from anychan.errors import AnychanError
from anychan.evaluation.run import load_run
from anychan.models.pretrained import load
from anychan.recipe import Recipe
from anychan.report.compare import compare_runs
from anychan.report.finish import finish_run
from anychan.report.page.write import write_page
from anychan.training.checkpoint_io import read_checkpoint
from anychan.training.fit import Finish, fit
from anychan.training.run_folder import RunFolder
from tests.runs import read_metrics, small_recipe
from tests.stops import STOPS, stopped_at

RECIPES = {
    "average of weights": small_recipe(
        epochs=2, checkpoint_seconds=0, ema=0.8, mixup=0.3, flip=True, monitor="val_loss", channel_sampling="uniform"
    ),
    # best at the first epoch, stopped after the second
    "early stopping": small_recipe(
        epochs=6, checkpoint_seconds=0, optimizer="adam", lr=0.003, schedule="none", patience=1, batch_size=5
    ),
}
OTHER = small_recipe(epochs=2, seed=1)
CHECKPOINTS = ("last", "previous", "best")
TIMES = ("seconds", "images_per_second")
WRITES = 55  # a run's syncs and renames, and a few more
FINISHED = "a finished run is here; give another folder with --out, or delete this one"
READERS: dict[str, Callable[[Path], object]] = {
    "load": load,
    "load_run": load_run,
    "compare": lambda folder: compare_runs([folder]),
    "metrics": lambda folder: RunFolder(folder).load_metrics(),
}
SLOW_READERS = {**READERS, "report": lambda folder: write_page([str(folder)], out=f"{folder}.html")}


def without_times(folder: Path) -> list[dict[str, float]]:
    return [{key: value for key, value in row.items() if key not in TIMES} for row in read_metrics(folder)]


def told_by(call: Callable[[], object]) -> str:
    """The one sentence of an error of anychan's; nothing for success. No other error is one."""
    try:
        call()
    except AnychanError as error:
        told = str(error)
    else:
        told = ""
    assert "\n" not in told
    return told


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class RunFolderMachine(RuleBasedStateMachine):
    """Its folder is absent, begun, resumable (it has a checkpoint) or finished.

    Args:
        wholes: for each recipe the folder of a run that never stopped.
        readers: what reads a run folder.
        finish: as `fit` takes it.
    """

    def __init__(self, wholes: dict[str, Path], readers: dict[str, Any], finish: Finish | None = None) -> None:
        super().__init__()
        self.wholes, self.readers, self.finish = wholes, readers, finish
        self.root = Path(tempfile.mkdtemp(prefix="run-folder-"))
        self.folder = RunFolder(self.root / "run")
        self.damaged: set[bytes] = set()
        self.seen: dict[str, list[bytes]] = {}
        self.metrics_damaged = False
        self.places = 0

    @initialize(name=st.sampled_from(list(RECIPES)))
    def choose(self, name: str) -> None:
        self.recipe, self.whole = RECIPES[name], self.wholes[name]

    # what is there

    @property
    def begun(self) -> bool:
        return self.folder.recipe.exists()

    @property
    def finished(self) -> bool:
        return self.folder.result.exists()

    def resumes(self) -> list[Path]:
        return [path for path in (self.folder.last, self.folder.previous) if path.exists()]

    def is_whole(self, path: Path) -> bool:
        return path.exists() and path.read_bytes() not in self.damaged

    # what happens

    def start(self, recipe: Recipe) -> str:
        """Train; the sentence that was told, or nothing."""
        return told_by(lambda: fit(recipe, self.folder.path, finish=self.finish))

    @rule()
    def go_on(self) -> None:
        """To the end, or a sentence that names the file that is damaged."""
        finished, resumes, before = self.finished, self.resumes(), contents(self.folder.path)
        best_is_lost, whole = not self.is_whole(self.folder.best), [path for path in resumes if self.is_whole(path)]
        told = self.start(self.recipe)
        if not told:
            assert not finished
            self.check_end()
        elif told.startswith(f"{self.folder.best}: "):
            assert resumes
            assert best_is_lost
        else:
            assert told == f"{self.folder.path}: {FINISHED}" if finished else resumes and not whole, told
            assert finished or told.startswith(f"{resumes[0]}: the checkpoint is damaged or not ours")
            assert contents(self.folder.path) == before

    def check_end(self) -> None:
        for name in ("model.safetensors", "contract.json", "recipe.yaml"):
            assert (self.folder.path / name).read_bytes() == (self.whole / name).read_bytes()
        assert without_times(self.folder.path) == without_times(self.whole)
        kept = {"checkpoints/previous.ckpt"}  # not written by a run that had only its end before it
        assert contents(self.folder.path).keys() | kept == contents(self.whole).keys()
        self.metrics_damaged = False

    @rule(write=st.integers(0, WRITES), by=st.sampled_from(STOPS), torn=st.floats(0, 1))
    @precondition(lambda self: not self.finished)
    def start_and_stop(self, write: int, by: str, torn: float) -> None:
        resumed, told = any(map(self.is_whole, self.resumes())), "killed"
        with stopped_at(write, by, self.folder.path, torn=torn):
            told = self.start(self.recipe)
        if not told:
            self.check_end()
        assert not resumed or any(map(self.is_whole, self.resumes()))

    @rule()
    @precondition(lambda self: self.begun)
    def start_with_another_recipe(self) -> None:
        before = contents(self.folder.path)
        told = self.start(OTHER)
        assert told.startswith(f"{self.folder.path}: ")
        assert (FINISHED if self.finished else "an unfinished run of another recipe is here (") in told
        assert contents(self.folder.path) == before

    @rule(
        name=st.sampled_from(CHECKPOINTS),
        place=st.floats(0, 1),
        how=st.sampled_from(["flip", "cut", "delete", "older"]),
    )
    @precondition(lambda self: self.folder.best.exists() or self.resumes())
    def lose_a_checkpoint(self, name: str, place: float, how: str) -> None:
        path: Path = getattr(self.folder, name)
        if not path.exists():
            return
        content = path.read_bytes()
        at = int(place * (len(content) - 1))
        if how == "delete":
            path.unlink()
        elif how == "older":  # from a backup; of the two to go on from it is as good
            seen = self.seen.get(name, [content])
            path.write_bytes(seen[int(place * (len(seen) - 1))])
            if name == "best" and path.read_bytes() != content:
                self.damaged.add(path.read_bytes())
        else:
            rest = bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :] if how == "flip" else b""
            path.write_bytes(content[:at] + rest)
            self.damaged.add(path.read_bytes())

    @rule(place=st.floats(0, 1), how=st.sampled_from(["cut", "delete"]))
    @precondition(lambda self: self.folder.metrics.exists())
    def lose_metrics(self, place: float, how: str) -> None:
        if how == "delete":
            self.folder.metrics.unlink()
        else:
            os.truncate(self.folder.metrics, int(place * self.folder.metrics.stat().st_size))
        self.metrics_damaged = True

    @rule()
    @precondition(lambda self: self.finished)
    def delete_the_result(self) -> None:
        self.folder.result.unlink()

    @rule(name=st.sampled_from(["recipe", "metrics", "last", "best", "result"]), content=st.binary(max_size=20))
    @precondition(lambda self: self.begun and not self.finished)
    def leave_a_partial_file(self, name: str, content: bytes) -> None:
        path: Path = getattr(self.folder, name)
        if path.parent.exists():
            path.with_name(f"{path.name}.partial").write_bytes(content)

    @rule(copies=st.booleans())
    @precondition(lambda self: self.begun)
    def move(self, copies: bool) -> None:
        self.places += 1
        place = self.root / f"place {self.places}" / "run"
        place.parent.mkdir()
        if copies:
            shutil.copytree(self.folder.path, place)
        else:
            self.folder.path.rename(place)
        self.folder = RunFolder(place)

    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        """A sentence or success, and nothing changes."""
        name = data.draw(st.sampled_from(list(self.readers)))
        before = contents(self.folder.path)
        told = told_by(lambda: self.readers[name](self.folder.path))
        allowed = not self.finished or self.metrics_damaged or (name == "compare" and self.finish is None)
        assert allowed or not told, told
        assert contents(self.folder.path) == before

    # what holds

    @invariant()
    def what_was_written_is_whole(self) -> None:
        if not self.begun:
            assert not [name for name in contents(self.folder.path) if not name.endswith(".partial")]
            return
        for name in ("recipe.yaml", "contract.json", "model.safetensors"):
            path = self.folder.path / name
            assert path.exists() or not self.finished
            assert not path.exists() or path.read_bytes() == (self.whole / name).read_bytes()
        for name in CHECKPOINTS:
            path = getattr(self.folder, name)
            if self.is_whole(path):
                read_checkpoint(path)
                self.seen.setdefault(name, []).append(path.read_bytes())

    def teardown(self) -> None:
        """Whatever happened, the same command ends the run, after what its errors say was done."""
        try:
            for _ in range(3):  # two checkpoints to go on from, and the best
                if self.finished or not (told := self.start(self.recipe)):
                    break
                advice = re.search(r"delete (\S.*) to start anew$", told)
                assert advice is not None, told
                path = Path(told.partition(": ")[0] if advice[1] == "it" else advice[1])
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            if not self.finished:
                assert self.start(self.recipe) == ""
                self.check_end()
        finally:
            shutil.rmtree(self.root)


def wholes_in(folder: Path, finish: Finish | None) -> dict[str, Path]:
    for name, recipe in RECIPES.items():
        fit(recipe, folder / name, finish=finish)
    return {name: folder / name for name in RECIPES}


def run_machine(folder: Path, readers: dict[str, Any], *, examples: int, steps: int, finish: Finish | None) -> None:
    wholes = wholes_in(folder, finish)
    options = settings(
        max_examples=examples,
        stateful_step_count=steps,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],  # to shrink a failure takes minutes
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(
        lambda: RunFolderMachine(wholes, readers, finish),  # type: ignore[arg-type]  # its documentation allows it
        settings=options,
    )


def test_a_run_folder_outlives_what_is_done_to_it(tmp_path: Path) -> None:
    run_machine(tmp_path, READERS, examples=15, steps=8, finish=None)


@pytest.mark.slow
def test_a_run_folder_outlives_much_more(tmp_path: Path) -> None:
    run_machine(tmp_path, SLOW_READERS, examples=200, steps=12, finish=finish_run)
