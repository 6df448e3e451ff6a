"""Lightning checkpoints without pickle: tensors in safetensors, everything else as JSON in the same file's header.

One file, written under a temporary name, synced and renamed, so that a checkpoint is whole or absent; with a checksum,
for what disks and copies do to it later.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import CheckpointIO
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from anychan.errors import RunError
from anychan.files import replacing

__all__ = ["SafeCheckpointIO", "checksum", "newest_whole", "read_checkpoint", "write_checkpoint"]

_HEADER, _CHECKSUM = "anychan_checkpoint", "crc32"


def write_checkpoint(checkpoint: dict[str, Any], path: Path, *, previous: Path | None = None) -> None:
    """Write nested dicts, lists, tuples, tensors and plain values.

    Args:
        checkpoint: the values.
        path: the file.
        previous: what the file that was there is called afterwards; default: it is gone.

    Raises:
        RunError: when the folder cannot be written to, or a value is of another kind.
    """
    tensors: dict[str, Tensor] = {}
    header = json.dumps(_encode(checkpoint, tensors))
    try:
        path.parent.mkdir(exist_ok=True)  # a run folder that was moved is not made anew
        with replacing(path) as partial:
            save_file(tensors, partial, metadata={_HEADER: header, _CHECKSUM: checksum(header, tensors)})
            if previous is not None and path.exists():
                path.replace(previous)
    except OSError as error:
        raise RunError(f"{path}: the checkpoint cannot be written ({error.strerror})") from None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `write_checkpoint` wrote; tensors on the CPU.

    Raises:
        RunError: when the file is absent, damaged or no checkpoint.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            header = metadata[_HEADER]
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata[_CHECKSUM] != checksum(header, tensors):
            raise ValueError("its checksum is another")
        result = _decode(json.loads(header), tensors)
    except FileNotFoundError:
        raise RunError(f"{path}: there is no checkpoint here") from None
    except (SafetensorError, KeyError, ValueError, TypeError, OSError, RecursionError) as error:
        raise RunError(f"{path}: the checkpoint is damaged or not ours ({error}); delete it to start anew") from None
    if not isinstance(result, dict):
        raise RunError(f"{path}: the checkpoint is damaged or not ours; delete it to start anew")
    return result


def newest_whole(paths: Sequence[Path]) -> tuple[Path, list[str]]:
    """The first of some checkpoints, the newest first, that is whole; and a warning of each damaged one before it.

    Raises:
        RunError: when none is.
    """
    errors: list[RunError] = []
    for path in filter(Path.exists, paths):
        try:
            read_checkpoint(path)
        except RunError as error:
            errors.append(error)
            continue
        return path, [f"warning: {error}, or let it be: {path.name}, the one before, is whole" for error in errors]
    raise errors[0] if errors else RunError(f"{paths[0]}: there is no checkpoint here")


def checksum(header: str, tensors: Mapping[str, Tensor]) -> str:
    """CRC-32 of a text and of tensors' names, number types, shapes and values, as 8 hexadecimal digits."""
    found = zlib.crc32(header.encode())
    for name, tensor in sorted(tensors.items()):
        found = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), found)
        found = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, found)
    return f"{found:08x}"


def _encode(value: Any, tensors: dict[str, Tensor]) -> Any:
    """JSON with four marks, since JSON knows neither tensors nor tuples nor keys that are numbers."""
    if isinstance(value, Tensor):
        key = str(len(tensors))
        tensors[key] = value.detach().cpu().clone().contiguous()  # a copy: safetensors refuses shared memory
        return {"__tensor__": key}
    if isinstance(value, dict):
        return {"__dict__": [[_encode(k, tensors), _encode(v, tensors)] for k, v in value.items()]}
    if isinstance(value, tuple):
        return {"__tuple__": [_encode(item, tensors) for item in value]}
    if isinstance(value, list):
        return [_encode(item, tensors) for item in value]
    if isinstance(value, Path):
        return {"__path__": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise RunError(f"a checkpoint cannot hold a {type(value).__name__}; keep tensors and plain values in it")


def _decode(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    ((mark, content),) = value.items()
    if mark == "__tensor__":
        return tensors[content]
    if mark == "__dict__":
        return {_decode(k, tensors): _decode(v, tensors) for k, v in content}
    if mark == "__tuple__":
        return tuple(_decode(item, tensors) for item in content)
    if mark == "__path__":
        return Path(content)
    raise ValueError(f"unknown mark {mark!r}")


class SafeCheckpointIO(CheckpointIO):
    """Plugs `write_checkpoint` and `read_checkpoint` into a Lightning trainer."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint; `storage_options` are the keywords of `write_checkpoint`."""
        write_checkpoint(checkpoint, Path(path), **(storage_options or {}))

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint onto the CPU, from where Lightning moves it; `weights_only` has no pickle to bar."""
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Delete a checkpoint if it is there."""
        Path(path).unlink(missing_ok=True)
