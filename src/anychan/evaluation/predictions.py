"""What a model says of each image of its data: a class and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from anychan.channels import ChannelSet
from anychan.data.batches import EvalBatches
from anychan.data.dataset import ImageData, Split
from anychan.encoding import Encoding
from anychan.evaluation.outcomes import placed
from anychan.models.base import AnyChannelModel

__all__ = ["Predicted", "predict_split"]


@dataclass(frozen=True, eq=False)
class Predicted:
    """One source's images, and what the model says of them.

    Args:
        split: the images (N, H, W, C) with their labels and names.
        channels: those that the model was shown, in its order.
        columns: positions of these among the images' C.
        encodings: what each of these channels' numbers mean.
        label: (N,) int64, the class of the largest logit; one beyond the classes means nothing.
        confidence: (N,) float32, its softmax value. Both are on the CPU.
    """

    split: Split
    channels: ChannelSet
    columns: tuple[int, ...]
    encodings: tuple[Encoding, ...]
    label: Tensor
    confidence: Tensor


def predict_split(
    model: AnyChannelModel, data: ImageData, *, split: str = "test", channels: Sequence[str] | None = None
) -> list[Predicted]:
    """Classify a split's images, each source's with its own channels, with the statistics saved for these.

    Args:
        model: from `load_run`; it is put into eval mode.
        data: from `load_run`.
        split: `"test"`, `"val"` or `"train"`.
        channels: show the model these alone; default: all that a source has.

    Raises:
        ChannelError: for a channel that a source does not have, or the model does not know.
    """
    return [_predict(model, data.source(name), split, channels) for name in data.sources]


@torch.no_grad()
def _predict(model: AnyChannelModel, data: ImageData, split: str, channels: Sequence[str] | None) -> Predicted:
    shown = data.channels if channels is None else data.channels.select(channels)
    index = sorted(model.channels.indices(shown))
    shown = ChannelSet((model.channels[i] for i in index), source=model.channels.source)
    columns = list(data.channels.indices(shown))
    selection = model.eval().select(shown)
    device = next(model.parameters()).device
    labels, confidences = [], []
    for batch in EvalBatches(data.splits[split]):
        logits = selection(placed(batch.images[:, columns], device))
        labels.append(logits.argmax(1).cpu())
        confidences.append(logits.float().softmax(1).amax(1).cpu())
    encodings = tuple(data.encodings[column] for column in columns)
    found = torch.cat(labels), torch.cat(confidences)
    return Predicted(data.splits[split], shown, tuple(columns), encodings, *found)
