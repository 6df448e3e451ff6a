"""A Ray cluster of two machines of one core each, both of which are this one.

Run as a program, this is the process that starts and ends it: it leaves files open, which pytest would call an error.
"""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.runs import ROOT

_MARK = "ANYCHAN_TEST_CLUSTER"  # in the environment of all that a cluster starts
_open: list[str] = []  # marks of the clusters that there are
_ENDED = "Z"  # and not yet fetched by its parent


@dataclass(frozen=True)
class LocalCluster:
    """A running cluster."""

    address: str
    process: subprocess.Popen[str]

    def kill_node(self, node: str) -> None:
        """Kill all processes of one machine at once, by its id."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(node, file=self.process.stdin, flush=True)
        assert self.process.stdout.readline() == "killed\n"


@contextmanager
def two_nodes() -> Iterator[LocalCluster]:
    """A cluster, none of whose processes outlives it."""
    pipe, command = subprocess.PIPE, [sys.executable, "-m", "tests.local_cluster"]
    with (
        marked() as mark,
        subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=ROOT, env={**os.environ, **mark}
        ) as process,
    ):
        assert process.stdout is not None
        yield LocalCluster(process.stdout.readline().strip(), process)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors


@contextmanager
def marked() -> Iterator[dict[str, str]]:
    """What to put into the environment of a process, so that all that it starts ends in here."""
    mark = uuid.uuid4().hex
    _open.append(mark)
    yield {_MARK: mark}
    _open.remove(mark)
    deadline = time.monotonic() + 30  # Ray's own helpers notice by themselves that it has ended
    while (left := started_with(mark)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert {pid: command_line(pid) for pid in left} == {}


def _serve() -> None:
    """Tell the address, kill machines when told to, and end with standard input."""
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_worker_niceness="0")
    from ray.cluster_utils import Cluster

    node: dict[str, Any] = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    try:
        cluster.add_node(**node)
        print(cluster.address, flush=True)
        for line in sys.stdin:
            (lost,) = (found for found in cluster.list_all_nodes() if found.node_id == line.strip())
            cluster.remove_node(lost, allow_graceful=False)
            print("killed", flush=True)
    finally:
        cluster.shutdown()


def started_with(mark: str) -> list[int]:
    """Processes that have this mark in their environment, but for those that have ended."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes()
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:  # it has just gone
            continue
        if f"{_MARK}={mark}".encode() in environment and state != _ENDED and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


def command_line(pid: int) -> str:
    """Empty for a process that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def busy_workers() -> list[int]:
    """Workers of this cluster that have a piece of work in hand: Ray says so in their processes' names."""
    running = [pid for mark in _open for pid in started_with(mark)]
    return [pid for pid in running if "MapWorker" in (name := command_line(pid)) and ".submit" in name]


if __name__ == "__main__":
    _serve()
