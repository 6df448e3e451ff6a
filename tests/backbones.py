"""Networks to adapt, as users write them: a CNN of any size, a transformer of one; and timm and torchvision."""

from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor, nn


class OwnCNN(nn.Module):
    """Its parts are defined from the last to the first, and run the other way round."""

    def __init__(self, in_channels: int = 3, num_classes: int = 5) -> None:
        super().__init__()
        self.last = nn.Linear(8, num_classes)
        self.dropout = nn.Dropout(0.5)
        self.second = nn.Sequential(nn.Conv2d(6, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.norm = nn.BatchNorm2d(6)
        self.first = nn.Conv2d(in_channels, 6, (3, 5), stride=2, padding=(1, 2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.norm(self.first(x)).relu())
        return self.last(self.dropout(x.mean((2, 3))))  # type: ignore[no-any-return]


class OwnViT(nn.Module):
    """Patches of 4x4 pixels, positions for 8x12 pixels, and the check of sizes that ViTs have."""

    img_size = (8, 12)

    def __init__(self, num_classes: int = 5) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.positions = nn.Parameter(0.1 * torch.randn(6, 8))
        self.blocks = nn.Sequential(*(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) for _ in range(2)))
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2:] != self.img_size:
            raise AssertionError("another size")
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        return self.head(self.norm(self.blocks(tokens + self.positions)).mean(1))  # type: ignore[no-any-return]


class TwoNames(nn.Module):
    """Its first and last layers have a name of their own, and one in a sequence, by which they run."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)
        self.features = nn.Sequential(self.conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(5, 5)
        self.net = nn.Sequential(self.features, self.fc)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)  # type: ignore[no-any-return]


def find(module: str) -> Any:
    """A library's module, or `None` where it is not installed, or not for this PyTorch."""
    try:
        return import_module(module)
    except (ImportError, RuntimeError):
        return None


TIMM, TORCHVISION = find("timm"), find("torchvision.models")
needs_libraries = [
    pytest.mark.torchvision,
    pytest.mark.skipif(
        TIMM is None or TORCHVISION is None,
        reason="timm or torchvision cannot be imported; put tests/torchvision_shim and .venv/torchvision on PYTHONPATH",
    ),
]
