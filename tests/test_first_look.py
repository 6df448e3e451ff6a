"""examples/first_look.ipynb: committed without outputs, and each cell runs."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.runs import ROOT

PAGE = ROOT / "examples" / "first_look.ipynb"


@pytest.fixture
def notebook() -> nbformat.NotebookNode:
    read: nbformat.NotebookNode = nbformat.read(PAGE, as_version=4)  # type: ignore[no-untyped-call]
    return read


def test_it_is_a_notebook_without_outputs(notebook: nbformat.NotebookNode) -> None:
    nbformat.validate(notebook)
    assert 10 <= len(notebook.cells) <= 15
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) >= 6
    for cell in code:
        assert cell.outputs == []
        assert cell.execution_count is None
        compile(cell.source, cell.id, "exec")
    assert not re.search(r"/(home|root|work|tmp|Users)\b", PAGE.read_text(encoding="utf-8"))


def texts(outputs: list[nbformat.NotebookNode]) -> str:
    """All that is shown as text."""
    return "".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs)


@pytest.mark.slow
def test_it_runs(notebook: nbformat.NotebookNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    client = NotebookClient(notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": tmp_path}})
    client.execute()  # a cell's error is raised
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    said = texts(outputs)
    found = {
        name: float(share)
        for name, share in re.findall(r"^(\S.*?) +([\d.]+)% \([\d.]+% to [\d.]+%\)$", said, re.MULTILINE)
    }
    assert len(found) == 4
    assert found["all 13 bands"] > 40  # guessing gives 10
    assert found["red, green, blue"] > 20
    assert "10 bands: " in said
    assert "absent: B08, B09, B8A" in said
    assert re.search(r"^1\.\d MB; from red, green and blue: \w+$", said, re.MULTILINE)
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert "Warning" not in said
