"""Whole networks in turns: dynamic convolution by two backends, any-channel input beside none and beside ChannelViT."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from hardware import device, synchronize
from results_file import ResultFile
from torch import Tensor, nn

from anychan.models.catalog import create_model
from anychan.presets import SENTINEL2
from anychan.profiling.turns import time_in_turns
from anychan.training.precision import resolve_precision

__all__ = ["PAIRS", "any_channel", "channel_vit", "dynamic_resnet12", "measure", "one_band_stem", "training_step"]

ROUNDS = 20
Calls = dict[str, Callable[[], Any]]


class _TrainingStep:
    """One step on a resident batch: forward, backward, optimizer.

    Args:
        model: takes the images.
        images: (N, C, H, W).
        precision: `"bf16"` or `"float32"`.
    """

    def __init__(self, model: nn.Module, images: Tensor, precision: str) -> None:
        self._model = model.to(device(), memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self._images = images.to(device()).contiguous(memory_format=torch.channels_last)
        self._labels = torch.arange(len(images), device=device()) % 10
        self._optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
        self._bf16 = precision == "bf16"

    def __call__(self) -> None:
        with torch.autocast(device(), torch.bfloat16, enabled=self._bf16):
            loss = nn.functional.cross_entropy(self._model(self._images), self._labels)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        synchronize()


def _raw(images: int, side: int) -> Tensor:
    return torch.randint(0, 256, (images, 3, side, side), dtype=torch.uint8)


def dynamic_resnet12(precision: str, *, images: int = 32, side: int = 84) -> Calls:
    """A training step of DynamicResNet12 with the planner's backends, and with K convolutions everywhere."""
    steps: Calls = {}
    for name, backend in (("ours", "auto"), ("theirs", "each")):
        torch.manual_seed(0)
        model = create_model("dynamic_resnet12", num_classes=10, options={"backend": backend})
        steps[name] = _TrainingStep(model, _raw(images, side), precision)
    return steps


def training_step(name: str, precision: str, *, images: int, side: int) -> Callable[[], None]:
    """A training step of a network of the catalogue."""
    return _TrainingStep(create_model(name, num_classes=10), _raw(images, side), precision)


def any_channel(precision: str, *, images: int = 128, side: int = 64) -> Calls:
    """A training step of `resnet18` on all channels, and of the same layers without stem and normalisation.

    The plain network has an ordinary first convolution, and images that were made floats and normalised beforehand.
    """
    torch.manual_seed(0)
    model, raw = create_model("resnet18", num_classes=10), _raw(images, side)
    plain = nn.Sequential(nn.Conv2d(3, 64, 7, 2, 3, bias=False), deepcopy(model.body), deepcopy(model.head))
    return {
        "ours": _TrainingStep(model, raw, precision),
        "theirs": _TrainingStep(plain, (raw.float() - 127) / 64, precision),
    }


def one_band_stem(precision: str, *, images: int = 128, side: int = 64) -> Calls:
    """`resnet18`'s stem forward on one of 13 bands, and on all 13."""
    torch.manual_seed(0)
    stem = create_model("resnet18", channels=SENTINEL2, num_classes=10).stem.eval()
    stem = stem.to(device(), memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.no_grad()
    def forward(index: tuple[int, ...], x: Tensor) -> None:
        with torch.autocast(device(), torch.bfloat16, enabled=precision == "bf16"):
            stem(x, index=index)
        synchronize()

    found: Calls = {}
    for name, index in (("ours", (3,)), ("theirs", tuple(range(13)))):
        x = torch.randn(images, len(index), side, side, device=device())
        found[name] = partial(forward, index, x.contiguous(memory_format=torch.channels_last))
    return found


def channel_vit(precision: str, *, images: int = 128, side: int = 64) -> Calls:
    """A training step of `resnet18`, and of a ChannelViT with as many MACs: six blocks, patches of a quarter."""
    torch.manual_seed(0)
    options = {"depth": 6, "width": 198, "patch_size": side // 4, "image_size": side}
    models = {
        "ours": create_model("resnet18", num_classes=10),
        "theirs": create_model("channel_vit_tiny", num_classes=10, options=options),
    }
    raw = _raw(images, side)
    return {name: _TrainingStep(model, raw, precision) for name, model in models.items()}


PAIRS: dict[str, Callable[..., Calls]] = {
    "dynamic_resnet12": dynamic_resnet12,
    "any_channel": any_channel,
    "one_band_stem": one_band_stem,
    "channel_vit": channel_vit,
}


def measure(results: ResultFile, *, rounds: int = ROUNDS, **sizes: int) -> None:
    """Time each pair in turns, in float32 and in what training would choose here.

    Args:
        results: where a row for each pair and precision goes.
        rounds: of each.
        sizes: of the images, other than each pair's own, to rehearse.
    """
    for name, pair in PAIRS.items():
        for precision in dict.fromkeys(("float32", resolve_precision("auto"))):
            times = time_in_turns([pair(precision, **sizes)], rounds, title=f"{name}, {precision}")
            key = {"kind": "pair", "pair": name, "precision": precision}
            in_ms = {f"{who}_ms": [round(value, 3) for value in found] for who, found in times.items()}
            results.add({**key, **in_ms}, instead_of=key)
