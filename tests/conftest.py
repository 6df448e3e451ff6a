"""Settings for every test: one thread, float32, a seed and a cache of its own; runs and data that many tests share."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

from tests.command import Command
from tests.runs import small_recipe

# Its sitecustomize.py is for PYTHONPATH; pytest must not import it as a test.
collect_ignore = ["torchvision_shim"]

torch.set_num_threads(1)
settings.register_profile("anychan", deadline=None)  # a busy machine is no bug
settings.load_profile("anychan")


@pytest.fixture(autouse=True)
def _repeatable() -> None:
    torch.set_default_dtype(torch.float32)
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where images are cached, so that no test touches the user's cache; commands started by tests see it too."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANYCHAN_CACHE", str(folder))
        yield folder


@pytest.fixture
def own_parts() -> Iterator[None]:
    """A test may register models, stems and readers; none is left after it."""
    from anychan.data import readers
    from anychan.models import catalog
    from anychan.nn.fill import FILLS

    registries: list[dict[str, Any]] = [catalog._MODELS, FILLS, readers._OWN]
    before = [dict(registry) for registry in registries]
    yield
    for registry, kept in zip(registries, before, strict=True):
        registry.clear()
        registry.update(kept)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder that only this test uses."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("ANYCHAN_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """A benchmark data set by its file's name; a test that asks for an absent one is skipped."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("ANYCHAN_TEST_DATA", default))

    def find(name: str) -> Path:
        if not (folder / name).exists():
            pytest.skip(f"{name} is not in {folder}; set ANYCHAN_TEST_DATA to the folder that holds it")
        return folder / name

    return find


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run on rgb_split, to read only."""
    from anychan.training.fit import fit

    folder = tmp_path_factory.mktemp("runs") / "finished"
    fit(small_recipe(epochs=6), folder)
    return folder


@pytest.fixture(scope="session")
def reported_runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folders of two tested runs on rgb_split, to read only; the first was evaluated, too."""
    from anychan.report.asked import Evaluation
    from anychan.report.evaluate import report_run
    from anychan.report.finish import finish_run
    from anychan.training.fit import fit

    folder = tmp_path_factory.mktemp("reported")
    fit(small_recipe(epochs=3, channel_sampling="uniform"), folder / "sampled", finish=finish_run)
    fit(small_recipe(epochs=1), folder / "plain", finish=finish_run)
    report_run(str(folder / "sampled"), Evaluation())
    return folder / "sampled", folder / "plain"


@pytest.fixture
def run_copy(finished_run: Path, tmp_path: Path) -> Path:
    """A finished run's folder, to change at will."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)
