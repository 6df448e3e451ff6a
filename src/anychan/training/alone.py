"""One process, or one group of them, trains in a run folder at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from anychan.data.cache import cache_folder
from anychan.errors import RunError

__all__ = ["alone"]


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep other trainings of this machine out of a run folder; the system lets go for a process that is killed.

    The lock lies in the user's cache folder, since the run folder may not be there yet, and holds what a run is. Where
    it cannot be made, nothing is kept out.

    Raises:
        RunError: when another process is training there.
    """
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]
    with ExitStack() as held:
        try:
            folder = cache_folder() / "runs"
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(FileLock(folder / f"{name}.lock").acquire(timeout=0))
        except Timeout:
            raise RunError(
                f"{path}: another process is training here; wait for its end, or give another folder with --out"
            ) from None
        except OSError:
            pass
        yield
