"""Every error that a user can meet.

    AnychanError
    ├── ChannelError      unknown, missing, repeated or contradicting channels      (ValueError)
    ├── ConfigError       a recipe key, option or model name that does not exist    (ValueError)
    ├── ContractError     a saved model that does not fit what is asked of it       (ValueError)
    ├── DataError         a split line, label, image or folder that cannot be used  (ValueError)
    ├── HubError          a model that the Hugging Face Hub does not give or take   (RuntimeError)
    ├── InputShapeError   a tensor of a shape the model cannot take                 (ValueError)
    ├── RunError          a run folder that cannot be written, resumed or read      (RuntimeError)
    └── StorageError      a file that a disk does not take: full, read-only, gone   (OSError)

Each message is one sentence: what was given, where, what is allowed and what to do. The command line catches
`AnychanError` once, prints the message and exits with code 2.
"""

import os
from pathlib import Path

__all__ = [
    "AnychanError",
    "ChannelError",
    "ConfigError",
    "ContractError",
    "DataError",
    "HubError",
    "InputShapeError",
    "RunError",
    "StorageError",
]


class AnychanError(Exception):
    """The root: catch this to catch every error that anychan raises on purpose."""


class ChannelError(AnychanError, ValueError):
    """A channel is unknown, missing, repeated, or contradicts another of the same identity."""


class ConfigError(AnychanError, ValueError):
    """A recipe key, an option or a model name does not exist or has a value that is not allowed."""


class ContractError(AnychanError, ValueError):
    """A saved model's contract is damaged, of another version, or does not fit the data."""


class DataError(AnychanError, ValueError):
    """A split file, label, image or folder cannot be used."""


class HubError(AnychanError, RuntimeError):
    """The Hugging Face Hub cannot be reached, or does not give or take a model."""


class InputShapeError(AnychanError, ValueError):
    """A tensor has a shape that the model cannot take."""


class RunError(AnychanError, RuntimeError):
    """A run folder cannot be written, resumed or read."""


class StorageError(AnychanError, OSError):
    """A file cannot be written: the disk is full or read-only, or the folder is gone.

    Args:
        path: the file, by its final name.
        number: the system's error number, `errno`.
    """

    def __init__(self, path: Path, number: int) -> None:
        super().__init__(number, os.strerror(number), str(path))

    def __str__(self) -> str:
        return f"{self.filename}: the file cannot be written ({self.strerror})"
