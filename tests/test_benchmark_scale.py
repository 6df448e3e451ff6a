"""The benchmark of prediction at scale, on few images, and what is reckoned from its rows."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import scale_tables


@pytest.mark.slow
def test_every_row_is_measured(tmp_path: Path) -> None:
    """In a process of its own: Ray leaves files open, which pytest would call an error."""
    where = f"scale='cpu', folder=pathlib.Path({str(tmp_path)!r})"
    call = f"import pathlib, scale; scale.measure({where}, images=200, rounds=2)"
    done = subprocess.run(
        [sys.executable, "-c", call],
        cwd=Path(scale_tables.__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "lines a second" in done.stdout
    rows = json.loads((tmp_path / "scale-cpu.json").read_text())["rows"]
    assert [row["kind"] for row in rows] == ["lines", "lines", "worker", "names"]
    lines, _, worker, names = rows
    assert lines["images"] == 200
    assert lines["seconds"] > 0
    assert lines["line_bytes"] == pytest.approx(66, abs=10)
    assert 200 < worker["peak_mib"] < 2000
    assert names["length"] == 43
    assert 43 < names["bytes"] < 2000


def test_more_cores_help_until_one_process_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predict = {"kind": "predict", "files": 1000, "hardware": "x CPU, 2 cores, 2 threads"}
    (tmp_path / "speed-cpu.json").write_text(
        json.dumps({"rows": [predict | {"decode_seconds": 0.5, "compute_seconds": 2.0}]})
    )
    lines = {"kind": "lines", "images": 100, "seconds": 0.005, "line_bytes": 66.0}
    rest = [{"kind": "names", "length": 43, "bytes": 150.0}, {"kind": "worker", "peak_mib": 500.0}]
    (tmp_path / "scale-cpu.json").write_text(json.dumps({"rows": [lines, *rest]}))
    monkeypatch.setattr(scale_tables, "RESULTS", tmp_path)
    assert "| so a core does one after the other | 200 images a second |" in scale_tables.rates()
    said = scale_tables.cores()
    cells = [re.findall(r"[^|]+", line) for line in said.splitlines() if line.startswith("| ")][1:]
    found = {row[0].strip(): [cell.strip() for cell in row[1:5]] for row in cells}
    assert found["2"] == ["694.4", "400", "1", "computing"]
    assert found["64"][3] == "computing"
    assert found["128"] == found["1,024"] == ["13.9", "20,000", "40", "writing lines"]
    assert "1,389 core hours" in said
    assert "Up to 100 cores" in said
    assert "hold 15 GB for names each" in said
