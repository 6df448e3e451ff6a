"""Our ResNets against torchvision's, weights copied by name.

torchvision lives in a folder of its own (see tests/torchvision_shim/sitecustomize.py):

    pip install --no-deps --target .venv/torchvision torchvision
    PYTHONPATH=tests/torchvision_shim:.venv/torchvision python -m pytest -m torchvision
"""

import re
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from anychan.models.base import AnyChannelModel
from anychan.models.catalog import create_model


def find_torchvision() -> Any:
    try:
        return import_module("torchvision.models")
    except (ImportError, RuntimeError):  # RuntimeError: it is there, but the operators that the shim defines are not
        return None


TORCHVISION = find_torchvision()
pytestmark = [
    pytest.mark.torchvision,
    pytest.mark.skipif(
        TORCHVISION is None,
        reason="torchvision cannot be imported; put tests/torchvision_shim and .venv/torchvision on PYTHONPATH",
    ),
]


def our_name(theirs: str) -> str:
    """torchvision's name of a weight → ours."""
    if theirs.startswith("fc."):
        return theirs.replace("fc.", "head.2.")
    if theirs.startswith("layer"):
        return re.sub(r"^layer(\d)", lambda found: f"body.stages.{int(found[1]) - 1}", theirs)
    return f"body.{theirs}" if theirs.startswith("bn1.") else theirs.replace("conv1.", "stem.conv.")


def both(name: str) -> tuple[AnyChannelModel, nn.Module]:
    """Ours and theirs in float64, with one set of random weights and batch-norm statistics."""
    theirs = getattr(TORCHVISION, name)(num_classes=50).double()
    for key, value in theirs.state_dict().items():
        if "running_var" in key:
            value.uniform_(0.5, 2)
        elif value.ndim == 1:
            value.normal_(0.5, 0.2)
    ours = create_model(name, num_classes=50, offset=[0.0] * 3, scale=[1.0] * 3).double()
    ours.load_state_dict({our_name(key): value for key, value in theirs.state_dict().items()})
    return ours, theirs


def assert_equal(ours: Tensor, theirs: Tensor) -> None:
    assert theirs.std() > 1e-3
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10 * float(theirs.detach().abs().max()))


@pytest.mark.parametrize("size", [(64, 64), (97, 83)])
@pytest.mark.parametrize("name", ["resnet18", "resnet34"])
def test_logits_are_torchvisions(name: str, size: tuple[int, int]) -> None:
    ours, theirs = both(name)
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    assert_equal(ours.eval()(x), theirs.eval()(x))
    assert_equal(ours.train()(x), theirs.train()(x))  # batch statistics
    assert_equal(ours.eval()(x), theirs.eval()(x))  # running statistics after that step
