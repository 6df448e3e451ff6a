"""ONNX Runtime beside PyTorch, on random raw images of several sizes, in batches of several sizes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from anychan.channels import ChannelSet
from anychan.contract import Contract
from anychan.errors import ContractError
from anychan.models.base import AnyChannelModel
from anychan.profiling.engines import TOLERANCE
from anychan.profiling.turns import progress
from anychan.report.tables import print_table, subset_text

__all__ = ["Difference", "print_differences", "verify"]

_BATCHES = (1, 2, 5)
_NO_DATA = 0.05  # share of pixels, where a channel has a number for it
_SIZE = 32  # for a model that was never trained on images


@dataclass(frozen=True)
class Difference:
    """How far ONNX Runtime is from PyTorch on one subset, or on a mixture of them.

    Args:
        channels: names.
        batches: numbers of images.
        sizes: of the images, (height, width).
        logit: the largest of PyTorch's, without its sign.
        absolute: the largest difference.
        relative: the largest difference over the largest logit of its batch; NaN where ONNX Runtime gave NaN.
    """

    channels: str
    batches: tuple[int, ...]
    sizes: tuple[tuple[int, int], ...]
    logit: float
    absolute: float
    relative: float


@torch.no_grad()
def verify(content: bytes, model: AnyChannelModel, channels: ChannelSet | None) -> list[Difference]:
    """Compare a file with the model that it was written of, which runs in float32 as the file does.

    Absent channels are NaN for ONNX Runtime, and numbers for PyTorch.

    Args:
        content: of the file.
        model: the model, in eval mode.
        channels: those of the file's images; `None`: all, and a mask.

    Raises:
        ContractError: when ONNX Runtime cannot run it.
    """
    model = deepcopy(model).cpu().float()
    with _told(model.name):
        session = _session(content)
    given = channels or model.channels
    selection = None if channels is None else model.select(channels)
    masks = {subset_text(given.labels, model.channels.labels): torch.ones(1, len(given)).bool()}
    masks |= _parts(given) if channels is None else {}
    sizes, generator = _sizes(model), torch.Generator().manual_seed(0)
    found = []
    for name, rows in progress(list(masks.items()), "comparing with PyTorch"):
        worst = torch.zeros(3)  # logit, absolute, relative
        for number, size in product(_BATCHES, sizes):
            present = rows[torch.arange(number) % len(rows)]
            x = _raw_images(model.contract, given, (number, *size), generator)
            inputs = {"images": x.where(present[:, :, None, None], torch.nan).numpy(), "present": present.numpy()}
            if selection is not None:
                del inputs["present"]
            with _told(model.name):
                logits = torch.from_numpy(session.run(None, inputs)[0])
            expected = model(x, present=present) if selection is None else selection(x)
            worst = worst.maximum(_differences(logits, expected[:, : len(model.contract.classes)]))  # NaN stays
        found.append(Difference(name, _BATCHES, sizes, *worst.tolist()))
    return found


def print_differences(found: list[Difference], name: str) -> None:
    """Print a row for each subset.

    Raises:
        ContractError: where one is beyond `TOLERANCE`.
    """
    table = Table(title=f"{name}: largest difference between ONNX Runtime and PyTorch")
    for title in ("channels", "images", "pixels", "largest logit", "difference", "of the largest logit"):
        table.add_column(title, justify="left" if title == "channels" else "right")
    for row in found:
        counts = ", ".join(map(str, row.batches))
        pixels = ", ".join(f"{height}x{width}" for height, width in row.sizes)
        values = (f"{value:.2g}" for value in (row.logit, row.absolute, row.relative))
        table.add_row(row.channels, counts, pixels, *values)
    print_table(table)
    for row in found:
        if not row.relative <= TOLERANCE:  # NaN is no agreement
            raise ContractError(
                f"{name} gives other logits in ONNX Runtime than in PyTorch on {row.channels}: they differ by "
                f"{row.relative:.2g} of the largest, where {TOLERANCE:g} is allowed; no file was written"
            )


@contextmanager
def _told(name: str) -> Iterator[None]:
    """What ONNX Runtime raises, as a sentence."""
    try:
        yield
    except Exception as error:  # its kinds have no root of their own
        reason = str(error).strip().partition("\n")[0]
        raise ContractError(f"ONNX Runtime cannot run {name} ({reason}); no file was written") from None


def _session(content: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _parts(channels: ChannelSet) -> dict[str, Tensor]:
    """The first and the last channel alone, and a batch whose images have unlike subsets: name → (n, C) bool."""
    if len(channels) == 1:
        return {}
    alone = torch.eye(len(channels)).bool()
    mixed = torch.cat([alone[:1], ~alone[:1], torch.ones_like(alone[:1])])
    return {channels.labels[0]: alone[:1], channels.labels[-1]: alone[-1:], "a subset an image": mixed}


def _sizes(model: AnyChannelModel) -> tuple[tuple[int, int], ...]:
    """The smallest, the one of training, and one that is neither square nor even."""
    if model.fixed_size is not None:
        return (model.fixed_size,)
    step, rule = model.size_step, model.contract.resize
    smallest = -(-model.min_size // step) * step
    usual = max(smallest, -(-(rule.size if rule else _SIZE) // step) * step)
    return (smallest, smallest), (usual, usual), (usual + 5 * step, smallest + 2 * step)


def _raw_images(
    contract: Contract, given: ChannelSet, shape: tuple[int, int, int], generator: torch.Generator
) -> Tensor:
    """(N, S, H, W) float32: noise as wide as the channels' own, in the training images' number type."""
    number, height, width = shape
    index = list(contract.channels.indices(given))
    offset, scale = (torch.tensor(values)[index, None, None] for values in (contract.offset, contract.scale))
    x = offset + scale * torch.randn(number, len(given), height, width, generator=generator)
    if contract.dtype in ("uint8", "uint16"):
        x = x.round().clamp(0, torch.iinfo(getattr(torch, contract.dtype)).max)
    for place, position in enumerate(index):
        no_data = contract.encodings[position].no_data
        if no_data is not None:
            x[:, place][torch.rand(number, height, width, generator=generator) < _NO_DATA] = no_data
    return x


def _differences(found: Tensor, expected: Tensor) -> Tensor:
    """(3,) the largest logit, the largest difference, and this over that."""
    largest, difference = expected.abs().max(), (found - expected).abs().max()
    return torch.stack([largest, difference, difference / largest])
