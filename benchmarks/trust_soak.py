"""The page's HTTP interface under mixed good and bad requests: nothing lost, nothing told, no memory kept.

python benchmarks/trust_soak.py --requests 1000
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from results_file import claim, select

import anychan
from anychan.deploy.page_examples import demo_tiles
from anychan.deploy.predictor import Predictor
from anychan.presets import SENTINEL2

__all__ = ["BAD", "main", "soak", "soak_claims"]

MODEL, MAX_MIB = "demo", 1
CLIENTS, WARM_UP = 4, 400  # as many as fill the sessions that the server keeps
JSON = {"Content-Type": "application/json"}
Row = dict[str, Any]


class Answer(NamedTuple):
    """What came back: whether the server refused, and all that it said."""

    refused: bool
    text: str


class Client:
    """Plain HTTP, a connection a request."""

    def __init__(self, port: int) -> None:
        self._port = port

    def ask(self, path: str, body: bytes | None = None, kind: dict[str, str] | None = None) -> Answer:
        """GET, or POST of a body; a connection that breaks is no answer, and an error here."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
        try:
            connection.request("GET" if body is None else "POST", path, body, kind or {})
            answer = connection.getresponse()
            return Answer(answer.status >= 400, answer.read().decode())
        finally:
            connection.close()

    def upload(self, name: str, content: bytes) -> Answer:
        """A file; the answer's text is a list with its place."""
        head = f'--b\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode()
        kind = {"Content-Type": "multipart/form-data; boundary=b"}
        return self.ask("/gradio_api/upload", head + content + b"\r\n--b--\r\n", kind)

    def call(self, *data: Any) -> Answer:
        """The endpoint with these values; the text is the event's data."""
        begun = self.ask("/gradio_api/call/classify", json.dumps({"data": data}).encode(), JSON)
        if begun.refused:
            return begun
        said = self.ask(f"/gradio_api/call/classify/{json.loads(begun.text)['event_id']}").text
        lines = [line for line in said.splitlines() if line]
        return Answer(lines[-2] != "event: complete", lines[-1].removeprefix("data: "))

    def classify(self, name: str, content: bytes, channels: Any = None, without: Any = ()) -> Answer:
        """Upload and call."""
        uploaded = self.upload(name, content)
        if uploaded.refused:
            return uploaded
        place = json.loads(uploaded.text)[0]
        return self.call({"path": place, "meta": {"_type": "gradio.FileData"}}, channels, list(without))


def _png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


def _npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _file(path: str) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


# What is asked of the server with a good tile at hand, each to be refused.
BAD: dict[str, Callable[[Client, bytes], Answer]] = {
    "broken image": lambda client, tile: client.classify("a.png", b"no image"),
    "truncated tile": lambda client, tile: client.classify("a.tif", tile[: len(tile) // 2]),
    "text": lambda client, tile: client.classify("notes.txt", b"no image"),
    "pickle": lambda client, tile: client.classify("a.npy", _npy(np.array([{}], object))),
    "lying header": lambda client, tile: client.classify("a.npy", _npy(np.zeros(9)).replace(b"(9,)", b"(99999999,)")),
    "pixel bomb": lambda client, tile: client.classify("a.png", _png(20_000, 20_000)),
    "too many pixels": lambda client, tile: client.classify("a.png", _png(5000, 5000)),
    "too large": lambda client, tile: client.upload("a.png", bytes(MAX_MIB * 2**20 + 1)),
    "far too large": lambda client, tile: client.upload("a.png", bytes(8 * MAX_MIB * 2**20)),
    "unknown channel": lambda client, tile: client.classify("a.tif", tile, None, ["thermal"]),
    "other channels": lambda client, tile: client.classify("a.tif", tile, "R,G,B"),
    "all channels off": lambda client, tile: client.classify("a.tif", tile, None, SENTINEL2.labels),
    "numbers for names": lambda client, tile: client.classify("a.tif", tile, 5, [3]),
    "no JSON": lambda client, tile: client.ask("/gradio_api/call/classify", b'{"data": [', JSON),
    "deep JSON": lambda client, tile: client.ask("/gradio_api/call/classify", b"[" * 100_000, JSON),
    "large JSON": lambda client, tile: client.ask(
        "/gradio_api/call/classify", b'{"data": []}' + b" " * 2_000_000, JSON
    ),
    "no list": lambda client, tile: client.ask("/gradio_api/call/classify", b'{"data": 3}', JSON),
    "too few values": lambda client, tile: client.call(),
    "no file": lambda client, tile: client.call(None, None, []),
    "path": lambda client, tile: client.call(_file("/etc/passwd"), None, []),
    "bare path": lambda client, tile: client.call({"path": "/etc/passwd"}, None, []),
    "path that climbs": lambda client, tile: client.call(_file("../../../../etc/passwd"), None, []),
    "address": lambda client, tile: client.call(_file("http://127.0.0.1:9/a.png"), None, []),
    "file route": lambda client, tile: client.ask("/gradio_api/file=/etc/passwd"),
    "proxy route": lambda client, tile: client.ask("/gradio_api/proxy=http://127.0.0.1:9/"),
    "unknown endpoint": lambda client, tile: client.ask("/gradio_api/call/other", b'{"data": []}', JSON),
    "unknown page": lambda client, tile: client.ask("/other"),
}


@contextmanager
def _server(folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The command in a process of its own, and its port; uploads and what it tells its terminal go to a folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--port", str(port), "--max-mib", str(MAX_MIB)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GRADIO_TEMP_DIR": str(folder / "uploads")}
    with (folder / "told.txt").open("w") as told:
        command = [sys.executable, "-m", "anychan", "serve", MODEL, *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=told, text=True, env=environment)
    try:
        if process.stdout is None or not process.stdout.readline():
            raise RuntimeError((folder / "told.txt").read_text())
        yield process, port
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def _memory_mib(process: subprocess.Popen[str]) -> float:
    """Resident memory; Linux only."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class _Mix:
    """Draws requests, sends them and judges the answers.

    Args:
        port: the server's.
        folder: a place that no answer to a bad request may name.
        seed: of the draw.
    """

    def __init__(self, port: int, folder: Path, seed: int) -> None:
        self._client, self._random = Client(port), random.Random(seed)
        self._bad = cycle(BAD)
        self._secrets = [str(folder), str(Path(anychan.__file__).parent), sys.prefix, str(Path.home()), str(Path.cwd())]
        self._secrets = [*{place for place in self._secrets if len(place) > 1}, "Traceback", "site-packages", " at 0x"]
        predictor = Predictor(MODEL)
        tiles = demo_tiles(predictor.model.contract, folder)
        subsets = [[], ["B08"], ["B02", "B03", "B04"]]
        self._good = [(tile.read_bytes(), off, predictor(tile, without=off)) for tile in tiles for off in subsets]

    def send(self, count: int) -> Row:
        """So many requests from several clients at once: how many were good and bad, and which went wrong."""
        kinds = ["" if at % 2 else next(self._bad) for at in range(count)]
        self._random.shuffle(kinds)
        chosen = [self._random.choice(self._good) for _ in kinds]
        with ThreadPoolExecutor(CLIENTS) as clients:
            right = list(clients.map(self._holds, kinds, chosen))
        wrong = sorted({kind or "good" for kind, holds in zip(kinds, right, strict=True) if not holds})
        lost = sum(not kind and not holds for kind, holds in zip(kinds, right, strict=True))
        good = kinds.count("")
        counts = {"good": good, "bad": count - good, "lost": lost, "let_in": right.count(False) - lost}
        return {**counts, "wrong": wrong}

    def _holds(self, kind: str, chosen: tuple[bytes, list[str], Any]) -> bool:
        tile, off, expected = chosen
        try:
            if kind:
                answer = BAD[kind](self._client, tile)
                return answer.refused and not any(secret in answer.text for secret in self._secrets)
            answer = self._client.classify("tile.tif", tile, None, off)
        except (OSError, http.client.HTTPException):  # the connection broke
            return False
        if answer.refused:
            return False
        (found,) = json.loads(answer.text)
        same = found["label"] == expected.label and found["channels"] == list(expected.channels)
        return bool(same and abs(found["confidence"] - expected.confidence) < 1e-5)


def soak(requests: int, *, seed: int = 0, warm_up: int = WARM_UP) -> Row:
    """Start the server, send the warm-up and then the requests, and measure its memory before and after these.

    Args:
        requests: how many, half of them good.
        seed: of the draw.
        warm_up: requests before the first measurement, which are judged, too.

    Returns:
        A row of kind "soak": `good` and `bad` requests, warm-up included; good ones that were `lost`: not answered as
        the Predictor does; bad ones that were `let_in`: not refused, or told a place on the server; the kinds that went
        `wrong`; resident memory in MiB before and after.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with _server(folder) as (process, port):
            mix = _Mix(port, folder, seed)
            first = mix.send(warm_up)
            before = _memory_mib(process)
            then = mix.send(requests)
            after = _memory_mib(process)
    counts = {name: first[name] + then[name] for name in ("good", "bad", "lost", "let_in")}
    wrong = sorted({*first["wrong"], *then["wrong"]})
    return {"kind": "soak", **counts, "wrong": wrong, "before_mib": round(before, 1), "after_mib": round(after, 1)}


def soak_claims(rows: list[Row]) -> list[Row]:
    """No good request is lost and no bad one let in; memory grows by a twentieth at most."""
    found = select(rows, kind="soak")
    if not found:
        return []
    return [
        claim("soak_lost_requests", max(row["lost"] + row["let_in"] for row in found), "<=", 0),
        claim("soak_memory_growth", round(max(row["after_mib"] / row["before_mib"] for row in found), 4), "<=", 1.05),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run once, print the row and the claims, and write nothing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    row = soak(options.requests, seed=options.seed)
    print(json.dumps(row))
    for entry in soak_claims([row]):
        print(json.dumps(entry))


if __name__ == "__main__":
    main()
