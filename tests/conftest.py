"""Settings for every test: one thread, float32, a seed of its own."""

import pytest
import torch
from hypothesis import settings

# Its sitecustomize.py is for PYTHONPATH; pytest must not import it as a test.
collect_ignore = ["torchvision_shim"]

torch.set_num_threads(1)
settings.register_profile("anychan", deadline=None)  # a busy machine is no bug
settings.load_profile("anychan")


@pytest.fixture(autouse=True)
def _repeatable() -> None:
    torch.set_default_dtype(torch.float32)
    torch.manual_seed(0)
