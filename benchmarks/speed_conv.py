"""Dynamic convolution beside a static one and its peers, shape by shape; attention on all sides."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from hardware import device, synchronize
from results_file import ResultFile, select
from torch import Tensor, nn
from torch.nn import functional

from anychan.nn.dynamic_conv import DynamicConv2d
from anychan.profiling.turns import time_in_turns

__all__ = ["LAYERS", "PEERS", "CondConv", "Grouped", "StaticConv", "finalists", "layers", "measure", "ratios"]

# C, O, side of the image, stride: DynamicResNet12's 3×3 convolutions at 84×84
LAYERS = (
    (3, 64, 84, 1),
    (64, 64, 42, 2),
    (64, 64, 21, 1),
    (64, 128, 21, 2),
    (128, 128, 11, 1),
    (128, 256, 11, 2),
    (256, 256, 6, 1),
)
PEERS = ("each", "condconv", "grouped")
KERNELS, BATCH = 4, 32
LARGE = 64  # images of more pixels a side have the second, smaller number of rounds
TRIAL_ROUNDS, ROUNDS = (20, 10), (200, 60)
CLOSE = 1.3  # peers that take longer than so many times the fastest one's trial are not timed again
FORMATS = {"channels_first": torch.contiguous_format, "channels_last": torch.channels_last}
Rows = list[dict[str, Any]]


class _WithAttention(nn.Module):
    """Holds an attention of our dynamic convolution's kind; `forward` gives its result too, to be a gradient's start.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // 4, 1)
        self.squeeze = nn.Parameter(torch.randn(hidden, channels) / channels**0.5)
        self.excite = nn.Parameter(torch.randn(KERNELS, hidden) / hidden**0.5)

    def attention(self, x: Tensor) -> Tensor:
        """(N, K)."""
        hidden = functional.relu(functional.linear(x.mean((2, 3)), self.squeeze))
        return functional.softmax(functional.linear(hidden, self.excite) / 30, 1)


class StaticConv(_WithAttention):
    """One convolution, and an attention that it does not use: the unit."""

    def __init__(self, channels: int, maps: int, stride: int) -> None:
        super().__init__(channels)
        self.conv = nn.Conv2d(channels, maps, 3, stride, 1, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps and attention."""
        return self.conv(x), self.attention(x)


class CondConv(_WithAttention):
    """timm's `CondConv2d` (Yang et al. 2019, arXiv 1904.04971), which takes its routing weights from outside."""

    def __init__(self, channels: int, maps: int, stride: int) -> None:
        from timm.layers import CondConv2d

        super().__init__(channels)
        self.conv = CondConv2d(channels, maps, 3, stride, 1, num_experts=KERNELS)

    def forward(self, x: Tensor) -> Tensor:
        """Maps."""
        maps: Tensor = self.conv(x, self.attention(x))
        return maps


class Grouped(_WithAttention):
    """The arithmetic of the dynamic convolution in widest use: kernels mixed by one product, a group an image.

    Source: Dynamic_conv2d of github.com/kaijieshi7/Dynamic-convolution-Pytorch at 4befa50, written anew. The original
    takes channels-first images alone.
    """

    def __init__(self, channels: int, maps: int, stride: int) -> None:
        super().__init__(channels)
        self.shape, self.stride = (maps, channels, 3, 3), stride
        self.weight = nn.Parameter(torch.randn(KERNELS, maps, channels, 3, 3) / (9 * channels) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Maps."""
        images, (maps, *rest) = len(x), self.shape
        mixed = torch.mm(self.attention(x), self.weight.view(KERNELS, -1)).view(images * maps, *rest)
        y = functional.conv2d(x.reshape(1, -1, *x.shape[2:]), mixed, None, self.stride, 1, groups=images)
        return y.view(images, maps, *y.shape[2:])


def layers(channels: int, maps: int, stride: int) -> dict[str, nn.Module]:
    """Ours, the unit, and the peers, for one shape."""
    shape = {"kernel_size": 3, "stride": stride, "padding": 1, "num_kernels": KERNELS}
    return {
        "static": StaticConv(channels, maps, stride),
        "ours": DynamicConv2d(channels, maps, **shape),  # type: ignore[arg-type]
        "each": DynamicConv2d(channels, maps, **shape, backend="each"),
        "condconv": CondConv(channels, maps, stride),
        "grouped": Grouped(channels, maps, stride),
    }


def _step(layer: nn.Module, x: Tensor) -> None:
    """Forward and backward; gradients of weights, attention and input."""
    found = layer(x)
    outputs = found if isinstance(found, tuple) else (found,)
    inputs = [x, *layer.parameters()]
    torch.autograd.grad(outputs, inputs, [torch.ones_like(output) for output in outputs])
    synchronize()


def measure(results: ResultFile, *, rounds: int | None = None, shapes: int | None = None) -> None:
    """Time all contenders in turns, on images of both memory formats; then those again that could be the fastest.

    The trial says each one's better format, and the second timing, of many rounds, what is compared.

    Args:
        results: where a row for each shape, contender and format goes.
        rounds: of both timings, to rehearse.
        shapes: the first so many only.
    """
    for channels, maps, side, stride in LAYERS[:shapes]:
        torch.manual_seed(0)
        calls: dict[tuple[str, str], Callable[[], None]] = {}
        for name, layer in layers(channels, maps, stride).items():
            for form, memory in FORMATS.items():
                x = torch.randn(BATCH, channels, side, side, device=device()).contiguous(memory_format=memory)
                calls[name, form] = partial(_step, layer.to(device()), x.requires_grad_())
        title, large = f"{channels} to {maps} channels, {side}×{side}", side > LARGE
        trial = time_in_turns([calls], rounds or TRIAL_ROUNDS[large], title=title)
        last = {pair: calls[pair] for pair in finalists(trial)}
        times = time_in_turns([last], rounds or ROUNDS[large], title=f"{title}, the fastest")
        key = {"kind": "conv", "in": channels, "out": maps, "side": side, "stride": stride}
        rows = [
            {**key, "contender": name, "format": form, "trial_ms": _rounded(trial[name, form])}
            | ({"times_ms": _rounded(times[name, form])} if (name, form) in times else {})
            for name, form in calls
        ]
        results.add(*rows, instead_of=key)


def _rounded(times: list[float]) -> list[float]:
    return [round(value, 3) for value in times]


def finalists(trial: dict[tuple[str, str], list[float]]) -> list[tuple[str, str]]:
    """Contender and better format of ours, of the unit, and of the peers that are close to the fastest one."""
    median = {pair: statistics.median(times) for pair, times in trial.items()}
    best = [min((pair for pair in trial if pair[0] == name), key=median.__getitem__) for name, _ in trial]
    fastest = min(median[pair] for pair in best if pair[0] in PEERS)
    return [pair for pair in dict.fromkeys(best) if pair[0] not in PEERS or median[pair] <= CLOSE * fastest]


def _paired(rows: Rows, contender: str) -> list[float]:
    """Ratios of ours over a contender, each in its better format: of the last timing, or of the trial if out there."""
    times: dict[str, list[float]] = {}
    timing = "times_ms" if any("times_ms" in row for row in select(rows, contender=contender)) else "trial_ms"
    for name in ("ours", contender):
        found = [row[timing] for row in select(rows, contender=name) if timing in row]
        times[name] = min(found, key=statistics.median)
    return [mine / theirs for mine, theirs in zip(times["ours"], times[contender], strict=True)]


def ratios(rows: Rows) -> list[dict[str, Any]]:
    """For each shape: ours over static, and over each peer, medians of the rounds' ratios, all in their best format."""
    found = []
    for channels, maps, side, stride in LAYERS:
        of_shape = select(rows, kind="conv", **{"in": channels, "out": maps, "side": side, "stride": stride})
        if not of_shape:
            continue
        over = {name: _paired(of_shape, name) for name in ("static", *PEERS)}
        static = next(row["times_ms"] for row in select(of_shape, contender="static") if "times_ms" in row)
        found.append(
            {
                **{"in": channels, "out": maps, "side": side, "stride": stride},
                "over": {name: statistics.median(values) for name, values in over.items()},
                "quartiles": {name: statistics.quantiles(values, n=4)[::2] for name, values in over.items()},
                "static_ms": statistics.median(static),
            }
        )
    return found
