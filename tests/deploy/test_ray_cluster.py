import os
import signal
import sys
import time

import pytest
from ray.exceptions import RayTaskError

from anychan.deploy import ray_cluster
from anychan.deploy.ray_cluster import check_ray, open_cluster, pieces_of_work
from anychan.errors import ConfigError, DataError, RunError
from tests.local_cluster import busy_workers, two_nodes

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")  # Ray warns of what it sets


class Slow:
    """Tells who did a piece, after a while."""

    def __init__(self, seconds: float, refused: int | None = None) -> None:
        self._seconds, self._refused = seconds, refused
        if seconds < 0:
            raise DataError("there is no such time")

    def __call__(self, piece: int) -> tuple[int, int]:
        time.sleep(self._seconds)
        if piece == self._refused:
            raise DataError(f"piece {piece} is damaged")
        return piece, os.getpid()


def test_pieces_are_consecutive_and_never_empty() -> None:
    assert [(part.start, part.stop) for part in pieces_of_work(10, 1, most=4)] == [(n, n + 1) for n in range(10)]
    assert [len(part) for part in pieces_of_work(100, 2, most=64)] == [6] * 16 + [4]
    assert [len(part) for part in pieces_of_work(1000, 2, most=40)] == [40] * 25
    assert list(pieces_of_work(0, 2, most=4)) == []


def test_killed_worker_is_replaced_and_its_piece_done_anew(ray_address: str) -> None:
    with open_cluster(ray_address) as cluster:
        assert (cluster.workers, cluster.cores, cluster.gpus) == (2, 1, 0)
        found, killed = [], 0
        for result in cluster.map(Slow, (0.1,), range(60)):
            found.append(result)
            known = [pid for pid in busy_workers() if pid in {pid for _, pid in found}] if not killed else []
            if known:  # it has done a piece and holds another one
                killed = known[0]
                os.kill(killed, signal.SIGKILL)
        assert killed
        assert [piece for piece, _ in found] == list(range(60))
        assert len({pid for _, pid in found} - {killed}) >= 1


def test_errors_of_a_piece_come_as_themselves_and_in_their_turn(ray_address: str) -> None:
    with open_cluster(ray_address) as cluster:
        results = cluster.map(Slow, (0.01, 7), range(20))
        assert [next(results)[0] for _ in range(7)] == list(range(7))
        with pytest.raises(DataError, match=r"^piece 7 is damaged$"):
            next(results)
        with pytest.raises(DataError, match=r"^there is no such time$"):
            next(cluster.map(Slow, (-1.0,), range(3)))
        with pytest.raises(RayTaskError, match="TypeError: '<' not supported between instances of 'str' and 'int'"):
            next(cluster.map(Slow, ("a bug, with its traceback",), range(3)))


class Deadly:
    """Ends its process with any piece."""

    def __call__(self, piece: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_piece_that_kills_every_worker_ends_the_run(ray_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "_RESTARTS", 1)
    with open_cluster(ray_address) as cluster, pytest.raises(RunError, match=r"^the Ray cluster lost its workers \("):
        next(cluster.map(Deadly, (), range(3)))


@pytest.mark.slow
def test_lost_machine_is_done_without() -> None:
    import ray

    with two_nodes() as nodes, open_cluster(nodes.address) as cluster:
        mine = ray.get_runtime_context().get_node_id()
        (other,) = (node["NodeID"] for node in ray.nodes() if node["NodeID"] != mine)
        found = []
        for result in cluster.map(Slow, (0.1,), range(60)):
            found.append(result)
            if len(found) == 10:
                nodes.kill_node(other)
        assert [piece for piece, _ in found] == list(range(60))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "no-such-host.invalid:6379"])
def test_nobody_answers(address: str) -> None:
    said = rf"^{address}: no Ray cluster answers there; start one by `ray start --head`$"
    with pytest.raises(RunError, match=said), open_cluster(address):
        pass


def test_address_that_is_none() -> None:
    with pytest.raises(RunError, match=r"^head: the Ray cluster cannot be joined \("), open_cluster("head"):
        pass


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    check_ray()
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"^--engine ray needs Ray: pip install 'anychan\[ray\]'$"):
        check_ray()
