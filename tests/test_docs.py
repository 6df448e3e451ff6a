"""The pages under docs/: they build without a warning, and their commands run."""

import doctest
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from anychan.cli import main
from tests.runs import RGB_SPLIT, ROOT

PAGES = sorted((ROOT / "docs").glob("*.md"))
# The commands of these are run with the data of their sensors, in test_examples.py.
SENSORS = ("satellite", "microscopy", "hyperspectral")


def test_pages_build_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "two-reports" / "index.html").read_text()
    assert page.count("<table>") >= 8
    for source in re.findall(r'<img [^>]*src="([^"]+)"', page):
        assert (tmp_path / "two-reports" / source).exists()
    assert not re.search(r'(?:src|href)="https?://(?!localhost|squidfunk|www.mkdocs)', page)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_runs(page: Path) -> None:
    text = "\n".join(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
    examples = doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)
    assert doctest.DocTestRunner().run(examples).failed == 0


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem not in SENSORS], ids=lambda page: page.name)
def test_commands_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they stand, but for the data (three classes of drawings), the size and one epoch."""
    monkeypatch.chdir(ROOT)
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL)
    for line in "".join(blocks).splitlines():
        line = line.replace("path/to/data", str(RGB_SPLIT)).replace("runs/", f"{tmp_path}/")
        program, *words = shlex.split(line)
        assert program == "anychan"
        assert main(words + (["--train.epochs", "1"] if words[0] == "train" else [])) == 0
