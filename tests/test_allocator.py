import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import torch
from anychan.allocator import keep_freed_memory
from anychan.cli import main
{before}
for _ in range(5):
    torch.ones(12_000_000)  # 48 MB
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(60):  # something small may come to lie where the last one was, so a few have new pages
    torch.ones(12_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library manages memory its way")


def page_faults(before: str, **environment: str) -> int:
    """New pages that 60 tensors of 48 MB take after the first five."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    code = FAULTS.format(before=before)
    done = subprocess.run(
        [sys.executable, "-c", code], env={**inherited, **environment}, capture_output=True, text=True, check=True
    )
    return int(done.stdout.splitlines()[-1])


def test_freed_memory_is_used_again() -> None:
    kept, returned = page_faults("keep_freed_memory()"), page_faults("")
    assert kept < 0.05 * returned


def test_training_keeps_it() -> None:
    returned = page_faults("main(['models'])")
    assert page_faults("main(['train', '--out', 'absent/run', '--data.path', 'absent.zip'])") < 0.05 * returned


@pytest.mark.parametrize(
    "variables",
    [{"MALLOC_MMAP_THRESHOLD_": "1000000"}, {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=1000000"}],
    ids=str,
)
def test_environment_variables_win(variables: dict[str, str]) -> None:
    assert page_faults("keep_freed_memory()", **variables) > 0.5 * page_faults("", **variables)
