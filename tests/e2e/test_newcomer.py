"""A newcomer: a fresh virtual environment, the wheel built from the repo, the quick start's commands, nothing else."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest

from anychan import __version__
from tests.runs import RGB_SPLIT, ROOT

QUICK_START = ROOT / "docs" / "quickstart.md"
SETTING_UP = re.compile(r"(pip|git|cd|source|make|python3? -m (venv|pip)) |\.venv|#|$")
PACKAGE = ROOT / "src" / "anychan"


def shell_blocks(page: str) -> list[str]:
    """The page's blocks of commands, less those that only set up: the environment is made here."""
    blocks = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    return [block for block in blocks if not all(SETTING_UP.match(line) for line in block.splitlines())]


def package_files() -> list[Path]:
    """Every file of the package, relative to its folder."""
    paths = [path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return sorted(path.relative_to(PACKAGE) for path in paths)


def test_blocks_that_set_up_are_left_out() -> None:
    page = "```bash\npython -m venv .venv\npip install x\n```\n```python\n>>> 1\n```\n```bash\npython a.py  # x\n\n```"
    assert shell_blocks(page) == ["python a.py  # x\n\n"]


def test_every_file_of_the_package_is_packed() -> None:
    """By the patterns of pyproject.toml; the slow test looks into a wheel."""
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["anychan"]
    data = [str(path) for path in package_files() if path.suffix != ".py"]
    assert len(data) >= 10
    assert [path for path in data if not any(fnmatch(path, pattern) for pattern in patterns)] == []
    assert [pattern for pattern in patterns if not any(fnmatch(path, pattern) for path in data)] == []


@dataclass(frozen=True)
class Newcomer:
    """Somebody with the wheel and an empty folder.

    Args:
        wheel: the file that was installed.
        folder: where commands are run.
        environment: of the commands.
    """

    wheel: Path
    folder: Path
    environment: Mapping[str, str]

    def run(self, block: str) -> str:
        """What the commands of a block print; one that fails fails the test, with all that was printed."""
        command = ["bash", "-eu", "-o", "pipefail", "-c", f"set -x\n{block}"]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1500,
            check=False,
        )
        assert done.returncode == 0, f"exit code {done.returncode} of\n{block}\n{done.stdout}"
        return done.stdout


def test_a_command_that_fails_shows_what_it_said(tmp_path: Path) -> None:
    newcomer = Newcomer(tmp_path, tmp_path, os.environ)
    assert newcomer.run("echo one\necho two") == "+ echo one\none\n+ echo two\ntwo\n"
    with pytest.raises(AssertionError, match=r"exit code 3 of\n(?s:.*)\n *help\n"):
        newcomer.run("echo help\n(exit 3)\necho never")


def checked(command: list[object], **options: object) -> None:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def build_wheel(folder: Path) -> Path:
    """From a copy of the sources, because setuptools would take what an earlier build left beside them."""
    source = folder / "source"
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    checked([sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder / "dist", source])
    (wheel,) = (folder / "dist").iterdir()
    return wheel


@pytest.fixture(scope="module")
def newcomer() -> Iterator[Newcomer]:
    """Removed at once, as it takes 1.5 GB."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        wheel = build_wheel(folder)
        own = {
            key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_", "ANYCHAN_"))
        }
        checked([sys.executable, "-m", "venv", folder / "venv"], env=own)
        install = ["-m", "pip", "install", "--constraint", ROOT / "constraints.txt", wheel]
        checked([folder / "venv" / "bin" / "python", *install], env=own, cwd=folder)
        home = folder / "home"  # the cache too
        (home / "work").mkdir(parents=True)
        own = {key: value for key, value in own.items() if not key.startswith("XDG_")}
        path = os.pathsep.join([str(folder / "venv" / "bin"), os.defpath])
        yield Newcomer(wheel, home / "work", {**own, "HOME": str(home), "PATH": path, "OMP_NUM_THREADS": "1"})


@pytest.mark.slow
def test_wheel_holds_the_package_and_no_more(newcomer: Newcomer) -> None:
    names = {Path(name) for name in zipfile.ZipFile(newcomer.wheel).namelist()}
    ours = {Path("anychan", path) for path in package_files()}
    assert {name for name in names if ".dist-info" not in name.parts[0]} == ours
    assert {name.parts[0] for name in names - ours} == {f"anychan-{__version__}.dist-info"}


@pytest.mark.slow
def test_what_is_imported_is_what_was_installed(newcomer: Newcomer) -> None:
    said = newcomer.run("python -c 'import anychan.nn; print(anychan.__file__)'")
    assert str(newcomer.wheel.parents[1] / "venv") in said
    installed = newcomer.run("python -m pip list")
    assert not re.search(r"^(pytest|mypy|onnx|gradio|timm|torchvision) ", installed, re.MULTILINE)


@pytest.mark.slow
def test_quick_start(newcomer: Newcomer) -> None:
    blocks = shell_blocks(QUICK_START.read_text(encoding="utf-8"))
    assert len(blocks) >= 4
    began = time.monotonic()
    said = "".join(newcomer.run(block) for block in blocks)
    assert time.monotonic() - began < 600  # the page says ten minutes, most of them reading
    assert "Traceback" not in said
    assert str(ROOT) not in said
    assert (newcomer.folder.parent / ".cache" / "anychan").is_dir()


@pytest.mark.slow
def test_other_doors(newcomer: Newcomer) -> None:
    """What needs files of the package, or none at all: help, catalogue, table of times, tiles, model, templates."""
    assert "predict" in newcomer.run("anychan --help")
    assert "dynamic_resnet12" in newcomer.run("python -m anychan models")
    newcomer.run("python -c 'import anychan; anychan.Predictor(\"demo\")'")
    shutil.copytree(RGB_SPLIT / "images", newcomer.folder / "images")
    assert "written: images/channels.yaml" in newcomer.run("anychan data describe images")
    train = "--train.epochs 1 --train.warmup_epochs 0 --data.size 16 --model.name baseline_cnn --out runs/first"
    newcomer.run(
        f"anychan train --data.path images {train}\nanychan report runs/first\nanychan predict runs/first images"
    )
    assert "<html" in (newcomer.folder / "runs" / "first" / "report.html").read_text()
    newcomer.run("anychan share runs/first --out shared")
    assert (newcomer.folder / "shared" / "README.md").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("verb", "extra"), [("serve demo", "page"), ("export demo --out model.onnx", "export")])
def test_what_is_not_installed_is_named(newcomer: Newcomer, verb: str, extra: str) -> None:
    said = newcomer.run(f"anychan {verb} || echo exit code $?")
    assert f"pip install 'anychan[{extra}]'" in said
    assert "exit code 2" in said
