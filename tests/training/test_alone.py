import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from anychan.errors import RunError
from anychan.training.alone import alone
from anychan.training.fit import fit
from tests.runs import small_recipe

HOLDER = """
import sys, time
from pathlib import Path
from anychan.training.alone import alone
with alone(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def refused(path: Path) -> str:
    return re.escape(f"{path}: another process is training here; wait for its end, or give another folder with --out")


def test_another_process_is_kept_out_until_it_is_killed(tmp_path: Path, empty_cache: Path) -> None:
    run = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(run)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(RunError, match=refused(run)):
            fit(small_recipe(), run)
        assert not run.exists()
        with alone(tmp_path / "other"):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    with alone(run):
        pass


def test_a_folder_by_another_name_is_the_same(tmp_path: Path, empty_cache: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "run")
    with alone(tmp_path / "run"), pytest.raises(RunError, match=refused(tmp_path / "link")), alone(tmp_path / "link"):
        pass


def test_an_error_inside_is_itself_and_lets_go(tmp_path: Path, empty_cache: Path) -> None:
    for _ in range(2):
        with pytest.raises(OSError, match="mine"), alone(tmp_path):
            raise OSError("mine")


def test_where_no_lock_can_be_made_training_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ANYCHAN_CACHE", str(tmp_path / "file"))
    with alone(tmp_path / "run"):
        pass
