"""Results of subsets kept as they are done, so that a stopped evaluation goes on where it was."""

from __future__ import annotations

import hashlib
import json
import time
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from anychan.channels import ChannelSet
from anychan.data.batches import Batch
from anychan.errors import RunError
from anychan.files import replacing
from anychan.models.base import AnyChannelModel

__all__ = ["Outcome", "PartialOutcomes", "fingerprint"]

_FORMAT = 1
_SECONDS = 2.0  # between two writes
_SHARE = 0.05  # of the time, at most, goes into writing
# correct (N,) bool, confidence (N,) float32
Outcome = tuple[npt.NDArray[np.bool_], npt.NDArray[np.float32]]


def fingerprint(
    model: AnyChannelModel,
    batches: Iterable[Batch],
    calibration: Sequence[Tensor] | None,
    channels: ChannelSet,
    *,
    flip: bool = False,
) -> str:
    """A hash of all that results depend on: contract, weights, images, their channels, labels, calibration images."""
    facts = [_FORMAT, model.contract.to_dict(), channels.identities, *(["flip"] if flip else [])]
    found = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, value in model.state_dict().items():
        found.update(name.encode())
        _add(found, value)
    for images, labels, *_ in batches:
        _add(found, images)
        _add(found, labels)
    found.update(b"calibration" if calibration is not None else b"none")
    for images in calibration or ():
        _add(found, images)
    return found.hexdigest()


def _add(found: hashlib._Hash, tensor: Tensor) -> None:
    """Type and shape too: the same bytes may mean other numbers."""
    found.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    # as bytes, because NumPy knows no bfloat16
    found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)


class PartialOutcomes:
    """Outcomes by subset, in a file that is whole at any time.

    Args:
        path: the .npz file; one of another key, or a damaged one, is not read, and written over.
        key: of `fingerprint`.
        images: N.
        channels: C of the images.

    Raises:
        RunError: when the file cannot be written.
    """

    def __init__(self, path: Path, key: str, *, images: int, channels: int) -> None:
        self.path, self._key, self._images, self._channels = path, key, images, channels
        self._done: dict[tuple[int, ...], Outcome] = self._read()
        self._unsaved = 0
        self._wait, self._written = 0.0, time.monotonic()  # a folder that cannot be written to is told at once

    def __contains__(self, index: tuple[int, ...]) -> bool:
        return index in self._done

    def __getitem__(self, index: tuple[int, ...]) -> Outcome:
        return self._done[index]

    def add(self, index: tuple[int, ...], outcome: Outcome) -> None:
        """Keep one subset's outcome; all are written at the first, and then every few seconds."""
        self._done[index] = outcome
        self._unsaved += 1
        if time.monotonic() - self._written >= self._wait:
            self.save()

    def save(self) -> None:
        """Write what is not written yet."""
        if not self._unsaved:
            return
        started = time.monotonic()
        present = np.zeros((len(self._done), self._channels), np.bool_)
        for row, index in enumerate(self._done):
            present[row, list(index)] = True
        correct, confidence = (np.stack(part) for part in zip(*self._done.values(), strict=True))
        try:
            with replacing(self.path) as partial, partial.open("wb") as file:
                np.savez(
                    file,
                    key=np.array(self._key),
                    present=np.packbits(present, axis=1),
                    correct=np.packbits(correct, axis=1),
                    confidence=confidence,
                )
        except OSError as error:
            raise RunError(f"{self.path}: results so far cannot be kept there ({error.strerror})") from None
        self._unsaved, self._written = 0, time.monotonic()
        self._wait = max(_SECONDS, (self._written - started) / _SHARE)

    def _read(self) -> dict[tuple[int, ...], Outcome]:
        try:
            # opened here, because NumPy leaves a damaged file open
            with self.path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                if str(file["key"]) != self._key:
                    return {}
                present = np.unpackbits(file["present"], axis=1, count=self._channels).astype(np.bool_)
                correct = np.unpackbits(file["correct"], axis=1, count=self._images).astype(np.bool_)
                confidence = file["confidence"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # absent, or not ours
            return {}
        rows = zip(present, correct, confidence, strict=True)
        return {tuple(np.flatnonzero(which).tolist()): (right, sure) for which, right, sure in rows}
