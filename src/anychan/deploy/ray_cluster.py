"""Work shared out over the processes of a Ray cluster, its results in order; or over those of this machine."""

from __future__ import annotations

import gc
import logging
import os
import pickle
import socket
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from anychan.errors import AnychanError, ConfigError, RunError

__all__ = ["Cluster", "Work", "check_ray", "open_cluster", "pieces_of_work"]

# A worker asks Ray for half a core, so that those of a lost machine can start again on a machine that is left.
_CORES_ASKED = 0.5
_RESTARTS = 8  # of one worker: more often means that it dies of what it is given
_PIECES = 8  # that each worker gets at least, so that all end at about the same time
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".*",  # fits every line: what Ray says of lost workers stays out of a table on stdout
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # or it warns of a change to come
    "RAY_worker_niceness": "0",  # of 15, what Ray would take, a worker stands still beside anything else that computes
}


class Work(Protocol):
    """What a worker does, again and again; made once a worker."""

    def __call__(self, piece: Any, /) -> Any:
        """One piece of it; the same piece always gives the same."""


@dataclass(frozen=True)
class Cluster:
    """What there is to compute with.

    Args:
        workers: processes: one a GPU, or one a core where there is no GPU.
        cores: of each.
        gpus: of each, 0 or 1.
    """

    workers: int
    cores: int
    gpus: int

    def map(self, make: Callable[..., Work], arguments: tuple[Any, ...], pieces: Iterable[Any]) -> Generator[Any]:
        """The result of each piece, once and in order; those of a worker that was lost are done anew.

        Args:
            make: called with the arguments once in each worker, in this process's working folder.
            arguments: picklable.
            pieces: picklable, and small: all of them are held.

        Raises:
            AnychanError: the one that a piece raised, when its turn comes; a RunError when the cluster fails.
        """
        import ray

        try:
            yield from self._results(make, arguments, pieces)
        except ray.exceptions.RayTaskError:
            raise  # a bug, with its traceback
        except ray.exceptions.RayError as error:
            raise RunError(f"the Ray cluster lost its workers ({_first_line(error)}); run it again") from None

    def _results(self, make: Callable[..., Work], arguments: tuple[Any, ...], pieces: Iterable[Any]) -> Iterator[Any]:
        import pyarrow
        import ray.data

        tables = [pyarrow.table({"piece": [pickle.dumps(piece)]}) for piece in enumerate(pieces)]
        mapped = ray.data.from_arrow(tables).map_batches(
            _Worker,
            fn_constructor_args=(make, arguments, str(Path.cwd())),
            batch_size=None,
            batch_format="pyarrow",
            concurrency=min(self.workers, len(tables)),
            num_cpus=_CORES_ASKED,
            num_gpus=self.gpus,
            max_restarts=_RESTARTS,
            max_task_retries=-1,
        )
        due = 0
        for table in _tables(mapped):
            for cell in table["result"]:
                number, result = pickle.loads(cell.as_py())
                if number != due:
                    raise RunError(f"the Ray cluster gave piece {number} of the work where {due} was due; run it again")
                if isinstance(result, AnychanError):
                    raise result
                yield result
                due += 1
        if due != len(tables):
            raise RunError(f"the Ray cluster gave {due} of {len(tables)} pieces of the work; run it again")


def _tables(dataset: Any) -> Generator[Any]:
    """A dataset's blocks as they come.

    At the end, or at an error, what runs it ends here: Ray's core ends a process in which anything calls it after its
    shutdown.
    """
    import ray

    bundles = None
    try:
        bundles = dataset.iter_internal_ref_bundles()
        for bundle in bundles:
            yield from ray.get(list(bundle.block_refs))
    finally:
        bundle = bundles = None  # without it, its executor ends
        gc.collect()
        for thread in threading.enumerate():
            if thread.name.startswith("StreamingExecutor"):
                thread.join()


class _Worker:
    """A process of the cluster. An error of ours is a result: Ray would wrap it, and its order would be lost."""

    def __init__(self, make: Callable[..., Work], arguments: tuple[Any, ...], folder: str) -> None:
        self._work: Work | Exception
        try:
            _go_to(folder)
            self._work = make(*arguments)
        except Exception as error:  # told with the first piece
            self._work = error

    def __call__(self, table: Any) -> Any:
        import pyarrow

        found = [pickle.dumps(self._done(*pickle.loads(cell.as_py()))) for cell in table["piece"]]
        return pyarrow.table({"result": pyarrow.array(found, pyarrow.large_binary())})

    def _done(self, number: int, piece: Any) -> tuple[int, Any]:
        try:
            if isinstance(self._work, Exception):
                raise self._work
            return number, self._work(piece)
        except AnychanError as error:
            return number, error


def _go_to(folder: str) -> None:
    """Names of files mean here what they mean where the command runs, also in messages."""
    try:
        os.chdir(folder)
    except OSError:
        raise RunError(f"{folder}: a worker has no such folder; all machines must share the storage") from None


def pieces_of_work(count: int, workers: int, *, most: int) -> Iterator[range]:
    """Consecutive numbers below `count`, in pieces of at most so many; in small ones, where there is little to do."""
    step = max(1, min(most, count // (_PIECES * workers)))
    return (range(start, min(count, start + step)) for start in range(0, count, step))


def check_ray() -> None:
    """See that Ray is there.

    Raises:
        ConfigError: when it is not installed.
    """
    if any(find_spec(package) is None for package in ("ray", "pyarrow")):
        raise ConfigError("--engine ray needs Ray: pip install 'anychan[ray]'")


@contextmanager
def open_cluster(address: str | None) -> Iterator[Cluster]:
    """Join a cluster, or start Ray on this machine and end it afterwards; use the one that is open, if there is one.

    Args:
        address: of the head, such as `10.0.0.1:6379`; `None`: that of the environment variable RAY_ADDRESS, or else
            this machine.

    Raises:
        RunError: when no cluster answers.
    """
    os.environ.update({**_SETTINGS, **os.environ})  # read as Ray is imported
    import ray
    import ray.data

    if ray.is_initialized():
        yield _found()
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    _check_answers(address)
    local = {"include_dashboard": False} if address == "local" else {}
    with _without_messages():
        try:
            _join(address, log_to_driver=False, logging_level=logging.ERROR, **local)
            yield _found()
        finally:
            ray.shutdown()


def _join(address: str, **options: Any) -> None:
    import ray

    try:
        ray.init(address, **options)
    except ConnectionError:
        raise _no_answer(address) from None
    except (ValueError, RuntimeError) as error:  # no address; another version of Ray or Python there
        raise RunError(f"{address}: the Ray cluster cannot be joined ({_first_line(error)})") from None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _check_answers(address: str) -> None:
    """Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if "://" in address or not port.isdigit():  # another kind of address, or a word, which Ray knows
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=20).close()
    except OSError:
        raise _no_answer(address) from None


def _no_answer(address: str) -> RunError:
    return RunError(f"{address}: no Ray cluster answers there; start one by `ray start --head`")


def _found() -> Cluster:
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # a bug comes with its traceback by itself
    there = ray.cluster_resources()
    cores, gpus = max(1, int(there.get("CPU", 1))), int(there.get("GPU", 0))
    workers = gpus or cores
    return Cluster(workers, max(1, cores // workers), min(1, gpus))


@contextmanager
def _without_messages() -> Iterator[None]:
    """Ray's C++ writes to this process's standard error, even that a worker started anew; ours stays as it is."""
    if sys.__stderr__ is None or sys.stderr is not sys.__stderr__:  # somebody else's already
        yield
        return
    sys.__stderr__.flush()
    ours = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nowhere, os.fdopen(os.dup(ours), "w", buffering=1) as stream:
            os.dup2(nowhere.fileno(), 2)
            with redirect_stderr(stream):
                yield
    finally:
        os.dup2(ours, 2)
        os.close(ours)
