import subprocess
import sys

from anychan import __version__


def test_python_runs_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "anychan", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"anychan {__version__}\n"
    done = subprocess.run([sys.executable, "-m", "anychan", "train"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "anychan: --out is required\n"
