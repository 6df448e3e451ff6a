"""One model on many subsets of its channels: which images it gets right, and how sure it is."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from queue import SimpleQueue

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from anychan.channels import ChannelSet
from anychan.data.batches import Batch
from anychan.evaluation.accuracy import classified
from anychan.evaluation.flip import with_flips
from anychan.evaluation.partial import Outcome, PartialOutcomes
from anychan.models.base import AnyChannelModel, Selection
from anychan.nn.batch_norm import measure_batch_norm

__all__ = ["placed", "subset_outcomes"]

# Feature maps of so many small images fit a core's cache: 24 ms of processor time a subset where 60 images at once
# took 29 (resnet8, 32x32 pixels)
_CPU_IMAGES = 32
Index = tuple[int, ...]


def subset_outcomes(
    model: AnyChannelModel,
    batches: Sequence[Batch],
    subsets: Sequence[Index],
    *,
    channels: ChannelSet | None = None,
    calibration: Sequence[Tensor] | None,
    flip: bool = False,
    done: PartialOutcomes | None = None,
) -> list[Outcome]:
    """The outcome of each subset, with a progress bar.

    On a CPU, subsets run side by side, a thread each, because one subset's small layers keep no two cores busy.

    Args:
        model: the model, in eval mode.
        batches: images with all channels, and labels.
        subsets: positions of the channels of each subset, in the order in which images are to be cut.
        channels: those of the images, in their order; default: the model's.
        calibration: batches of training images with all channels to measure batch-norm statistics on; `None` keeps
            those that a selection starts with.
        flip: classify each image together with its mirror image (see `with_flips`), at twice the work.
        done: outcomes that are there already are taken from it, new ones are added.

    Raises:
        ChannelError: for a channel of the images that the model does not know.
    """
    places = model.channels.indices(model.channels if channels is None else channels)
    device = next(model.parameters()).device
    held = [Batch(placed(batch[0], device), batch[1].to(device)) for batch in batches]
    if device.type == "cpu":
        held = [Batch(*part) for batch in held for part in zip(*(x.split(_CPU_IMAGES) for x in batch[:2]), strict=True)]
    training = None if calibration is None else [placed(images, device) for images in calibration]

    def evaluate(own: AnyChannelModel, index: Index) -> Outcome:
        selection, columns = Selection(own, tuple(places[i] for i in index)), list(index)
        if training is not None:
            measure_batch_norm(selection, (images[:, columns] for images in training))
        classify = with_flips(selection) if flip else selection
        correct, confidence = classified(classify, (Batch(x[:, columns], labels) for x, labels, _ in held))
        return correct.numpy(), confidence.numpy()

    found: dict[Index, Outcome] = {}
    if done is not None:
        found = {index: done[index] for index in subsets if index in done}
    todo = list(dict.fromkeys(index for index in subsets if index not in found))
    try:
        with closing(_side_by_side(model, evaluate, todo)) as results:
            for index, outcome in zip(todo, _progress(results, len(todo)), strict=True):
                found[index] = outcome
                if done is not None:
                    done.add(index, outcome)
    finally:
        if done is not None:
            done.save()
    return [found[index] for index in subsets]


def placed(images: Tensor, device: torch.device) -> Tensor:
    """Images on a device, in a number type whose channels it can choose from."""
    images = images.to(device)
    return images.float() if images.dtype == torch.uint16 else images  # PyTorch cannot index uint16 on a GPU


def _side_by_side(
    model: AnyChannelModel, evaluate: Callable[[AnyChannelModel, Index], Outcome], todo: Sequence[Index]
) -> Generator[Outcome]:
    """Results in order; each thread has a copy of the modules, which selections rearrange, but not of the tensors."""
    threads = torch.get_num_threads()
    workers = min(threads, len(todo)) if next(model.parameters()).is_cpu else 1
    if workers <= 1:
        yield from (evaluate(model, index) for index in todo)
        return
    tensors = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    copies: SimpleQueue[AnyChannelModel] = SimpleQueue()
    for _ in range(workers):
        copies.put(copy.deepcopy(model, dict(tensors)))

    def work(index: Index) -> Outcome:
        own = copies.get()
        try:
            return evaluate(own, index)
        finally:
            copies.put(own)

    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(threads // workers,))
    try:
        yield from pool.map(work, todo)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # the workers' setting is a thread's own, but new threads would inherit it


def _progress(results: Iterator[Outcome], total: int) -> Iterator[Outcome]:
    console = Console(stderr=True)
    hidden = not console.is_terminal
    yield from track(results, "evaluating subsets", total=total, console=console, transient=True, disable=hidden)
