"""Several processes that train one model, as `torchrun` starts them, each with its share of every batch.

All of them draw the same order, augmentation, mixtures and channels, which are functions of (seed, epoch, step), and
make the whole batch; each puts its own images through the network, and all have the logits, so the loss, of the whole
batch. What they compute together is what one process computes, but for rounding and for dropout.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from anychan.errors import AnychanError, ConfigError, RunError

__all__ = ["GO_ON", "agreed", "is_first", "joined", "local_size", "own_rows", "rank", "size", "tells", "total", "whole"]

GO_ON = "the same command goes on from its last checkpoint"
_PATIENCE = timedelta(hours=12)  # one may decode its images while another has a cache
Told = TypeVar("Told")


def is_first() -> bool:
    """Whether this is the process that writes and tells, or the only one; also before and after it is `joined`."""
    return not dist.is_torchelastic_launched() or int(os.environ["RANK"]) == 0


def rank() -> int:
    """0 for the first process, or the only one."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def local_size() -> int:
    """How many of them are on this machine."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if dist.is_initialized() else 1


@contextmanager
def joined(out: str) -> Iterator[None]:
    """Find the other processes, where `torchrun` started this one, and part in the end.

    Of all the processes' errors the first is told; the others leave silently, with code 2. SIGTERM interrupts as Ctrl-C
    does.

    Args:
        out: the run folder, for errors.

    Raises:
        RunError: when another process ended too early, or this one is interrupted.
        ConfigError: for more processes than GPUs on a machine that has some.
    """
    if not dist.is_torchelastic_launched():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # sent to the others when one ends
    try:
        _join()
        yield
        signal.signal(signal.SIGTERM, before)  # after an error it stays ignored until the process has told it
    except AnychanError as error:
        raise (error if tells() else SystemExit(2)) from error.__cause__
    except KeyboardInterrupt:
        raise (RunError(f"{out}: training was interrupted; {GO_ON}") if tells() else SystemExit(2)) from None
    except RuntimeError as error:
        if not _is_lost(error):
            raise
        lost = RunError(f"{out}: another process of this training has ended; {GO_ON}")
        raise (lost if tells() else SystemExit(2)) from None
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _join() -> None:
    if not torch.cuda.is_available():
        dist.init_process_group("gloo", timeout=_PATIENCE)
        return
    place, processes = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    devices = torch.cuda.device_count()
    if processes > devices:
        raise ConfigError(f"there are {processes} processes on this machine, but {devices} GPUs; start one a GPU")
    torch.cuda.set_device(place)
    dist.init_process_group("nccl", timeout=_PATIENCE, device_id=torch.device("cuda", place))


def _is_lost(error: RuntimeError) -> bool:
    """Whether the connection to another process broke; gloo has no kind of error for it."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def tells() -> bool:
    """Whether this process tells its error: the only process, or of several the first that asks.

    `torchrun` keeps a store of shared values outside the processes, so it outlives each of them. SIGTERM, which it
    sends to the others when one ends, is ignored from here on, or it would end a process in the middle of telling.
    """
    if not dist.is_torchelastic_launched():
        return True
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    key, own = f"anychan/tells/{os.environ['TORCHELASTIC_RESTART_COUNT']}", os.environ["RANK"]
    try:
        store = dist.TCPStore(  # type: ignore[attr-defined]
            os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, timeout=timedelta(seconds=10)
        )
        return bool(store.compare_set(key, "", own).decode() == own)
    except dist.DistError:  # it has gone: rather twice than never
        return True


def agreed(value: Told) -> Told:
    """What the first process has, in all of them."""
    if size() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def own_rows(count: int) -> slice:
    """This process's share of so many images; shares differ by one image at most."""
    return slice(count * rank() // size(), count * (rank() + 1) // size())


def whole(part: Tensor, count: int) -> Tensor:
    """(count, K) float32 from each process's own rows (n, K); gradients go back to the own rows alone.

    They are multiplied by the number of processes, because `DistributedDataParallel` divides by it: it takes each
    process's loss for that of its own images, while here each has that of all.
    """
    return _Whole.apply(part.float(), count) if size() > 1 else part  # type: ignore[no-untyped-call]


class _Whole(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, count: int) -> Tensor:
        ctx.rows = own_rows(count)
        found = part.new_zeros(count, *part.shape[1:])
        found[ctx.rows] = part
        dist.all_reduce(found)
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0][ctx.rows] * size(), None


def total(values: Tensor) -> Tensor:
    """The sum over all processes; so is its gradient, which each process adds to."""
    return _Total.apply(values)  # type: ignore[no-any-return, no-untyped-call]


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        found = values.clone()
        dist.all_reduce(found)
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        found = grads[0].clone()
        dist.all_reduce(found)
        return found
