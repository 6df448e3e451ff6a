"""By a real server over HTTP; the page behind the guard is asked in tests/e2e/test_serve.py."""

import base64
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from anychan.deploy.guard import Guard
from tests.runs import free_port

MOST = 200_000  # bytes of an upload
MULTIPART = {"Content-Type": "multipart/form-data; boundary=a"}


async def _echo(request: Request) -> JSONResponse:
    return JSONResponse({"bytes": len(await request.body())})


@contextmanager
def guarded(token: str | None = None, *, seconds: float = 60) -> Iterator[int]:
    """The port of a server that tells how many bytes came."""
    app = Guard(
        Starlette(routes=[Route("/{path:path}", _echo, methods=["GET", "POST"])]),
        token=token,
        max_bytes=MOST,
        seconds=seconds,
    )
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield port
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with guarded() as found:
        yield found


def ask(port: int, body: bytes = b"", path: str = "/", **headers: str) -> tuple[int, Any, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST" if body else "GET", path, body or None, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read()), answer.headers
    finally:
        connection.close()


def test_requests_within_the_limits_pass_whole(port: int) -> None:
    assert ask(port)[:2] == (200, {"bytes": 0})
    assert ask(port, b"x" * 2**20)[:2] == (200, {"bytes": 2**20})
    assert ask(port, b"x" * (MOST + 2**16), **MULTIPART)[:2] == (200, {"bytes": MOST + 2**16})


@pytest.mark.parametrize(("limit", "headers"), [(2**20, {}), (MOST + 2**16, MULTIPART)], ids=["JSON", "upload"])
def test_larger_requests_are_refused_once_they_came(port: int, limit: int, headers: dict[str, str]) -> None:
    told = {"detail": f"the request is larger than {limit:,} bytes, which is the most taken here"}
    for size in (limit + 1, 30 * limit):
        assert ask(port, b"x" * size, **headers)[:2] == (413, told)


def test_a_file_at_an_address_is_refused(port: int) -> None:
    told = {"detail": "an image is uploaded here, not fetched from an address"}
    for file in ({"path": "http://10.0.0.1/a.png"}, {"path": "HTTPS://example.org/a.png", "meta": {}}):
        assert ask(port, json.dumps({"data": [None, [{"file": file}]]}).encode())[:2] == (422, told)
    escaped = rb'{"data": [{"path": "h\u0074tp:\/\/10.0.0.1/a.png"}]}'
    assert ask(port, escaped)[:2] == (422, told)
    for passes in (b'{"data": [{"path": "/tmp/a.png", "url": "http://here/a.png"}, "http://x"]}', b"[" * 10**5, b"{"):
        assert ask(port, passes)[:2] == (200, {"bytes": len(passes)})


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=a"])
def test_a_slow_request_ends(kind: str) -> None:
    head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: 100\r\n\r\n".encode()
    with guarded(seconds=0.3) as port, socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(head + b"half")
        answer = b""
        while part := client.recv(1000):
            answer += part
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert answer.endswith(b'{"detail": "the request did not come within 0.3 seconds"}')


def test_a_token_is_asked_for() -> None:
    def basic(word: str) -> str:
        return f"Basic {base64.b64encode(word.encode()).decode()}"

    with guarded("schlüssel: 1") as port:
        for given in ("Bearer schlüssel: 1", "bearer  schlüssel: 1", basic("me:schlüssel: 1"), basic(":schlüssel: 1")):
            assert ask(port, Authorization=given.encode().decode("latin-1"))[0] == 200
        for given in ("", "Bearer", "Bearer schl", "schlüssel: 1", basic("schlüssel: 1:"), "Basic ü", "Digest x"):
            status, told, headers = ask(port, Authorization=given.encode().decode("latin-1"))
            assert status == 401
            assert told == {"detail": "this page asks for its token, as a password or `Authorization: Bearer TOKEN`"}
            assert headers["WWW-Authenticate"] == 'Basic realm="anychan", charset="UTF-8"'
        assert ask(port)[0] == 401
        assert ask(port, path="/gradio_api/startup-events")[0] == 200  # gradio asks itself for it
        assert ask(port, path="/gradio_api/startup-events/x")[0] == 401
