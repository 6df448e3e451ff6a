"""`anychan.nn` without the rest: its public names, their examples, and its layers in an ordinary training loop."""

import doctest
import io
import subprocess
import sys
from importlib import import_module

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import anychan.nn
from anychan.nn import (
    CompletionFill,
    DropBlock2d,
    DropPath,
    DynamicConv2d,
    LocalGate,
    Normalize,
    SqueezeExcite,
    Stem,
    StemConv2d,
)
from tests.builders import training_statistics
from tests.test_structure import LAYERS, ruff_order

NAMES = anychan.nn.__all__


def test_public_names_are_sorted_and_all_there_are() -> None:
    assert sorted(NAMES, key=ruff_order) == NAMES
    found = {
        name for name, value in vars(anychan.nn).items() if getattr(value, "__module__", "").startswith("anychan.nn.")
    }
    assert found == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_public_name_comes_from_its_home(name: str) -> None:
    value = getattr(anychan.nn, name)
    assert name in import_module(value.__module__).__all__


@pytest.mark.parametrize("name", NAMES)
def test_example_needs_nothing_but_itself(name: str) -> None:
    """Copied into an empty file; `--doctest-modules` would find names that its module happens to import."""
    text = getattr(anychan.nn, name).__doc__
    assert "Example:" in text
    example = doctest.DocTestParser().get_doctest(text, {}, name, None, None)
    assert any(line.source.startswith("from anychan.nn import ") for line in example.examples)
    assert example.examples[-1].want  # shows what comes out
    said = io.StringIO()
    assert doctest.DocTestRunner().run(example, out=said.write).failed == 0, said.getvalue()


def test_import_takes_nothing_from_above_and_no_heavy_package() -> None:
    code = "import sys, anychan.nn; print(*sys.modules)"
    names = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    ours = {name.split(".")[1] for name in names if name.startswith("anychan.")}
    assert "nn" in ours
    assert ours <= set(LAYERS[LAYERS.index("nn") :])
    assert {"pytorch_lightning", "matplotlib", "rasterio", "scipy"} & set(names) == set()


class Subset(nn.Module):
    """A stem told once which channels its images have."""

    def __init__(self, stem: Stem, index: tuple[int, ...]) -> None:
        super().__init__()
        self.stem, self.index = stem, index

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.stem(x, index=self.index)
        return maps


def network() -> nn.Sequential:
    """One of the user's own, for channels 3 and 1 of four."""
    statistics = training_statistics(4)
    mean, std = torch.from_numpy(statistics.mean).float(), torch.from_numpy(statistics.std).float()
    stem = Stem(StemConv2d(4, 16, 3, padding=1), CompletionFill(mean, std, statistics))
    conv = DynamicConv2d(16, 16, kernel_size=3, stride=2, padding=1)
    gates = [SqueezeExcite(16, reduction=4), LocalGate(16), DropBlock2d(0.1, block_size=3), DropPath(0.1)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2)]
    normalize = Normalize(mean[[3, 1]].tolist(), std[[3, 1]].tolist())
    return nn.Sequential(normalize, Subset(stem, (3, 1)), nn.BatchNorm2d(16), nn.ReLU(), conv, *gates, *head)


def test_layers_in_an_ordinary_training_loop() -> None:
    model, labels = network(), torch.arange(16) % 2
    x = torch.randn(16, 2, 8, 8) + labels[:, None, None, None] * 5  # brighter images are class 1
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for _ in range(20):
        loss = functional.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())
    again = network()
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(again.eval()(x), model.eval()(x), rtol=0, atol=0)
