"""What stands before the page: a token if one is asked for, limits of size and time, and no addresses to fetch.

An ASGI middleware, so that the page, its files and the HTTP interface are all behind it.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

__all__ = ["Guard"]

_OPEN = "/gradio_api/startup-events"  # gradio asks itself for it; it says nothing
_JSON_BYTES = 2**20
_ENVELOPE_BYTES = 2**16  # around an upload's file; gradio itself looks at the file's size
_BODY_SECONDS = 60.0
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class _RefusedError(Exception):
    """A request that is answered here.

    Args:
        status: of HTTP.
        text: one sentence.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Guard:
    """Lets a request through to an application, or answers it with 401, 408, 413 or 422 and one sentence.

    Args:
        app: the application.
        token: what a request must bring as `Authorization: Bearer TOKEN`, or as the password of HTTP Basic, which
            browsers ask for; `None`: nothing.
        max_bytes: of an uploaded file.
        seconds: for the whole body of a request.
    """

    def __init__(self, app: App, *, token: str | None, max_bytes: int, seconds: float = _BODY_SECONDS) -> None:
        self._app, self._token, self._seconds = app, token, seconds
        self._max_bytes = max_bytes + _ENVELOPE_BYTES

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """ASGI's call."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http":  # no part of the page
            return await send({"type": "websocket.close", "code": 1008})
        headers = {name.lower(): value for name, value in scope["headers"]}
        try:
            if not self._knows(headers.get(b"authorization", b"")) and scope["path"] != _OPEN:
                raise _RefusedError(401, "this page asks for its token, as a password or `Authorization: Bearer TOKEN`")
            await self._pass(scope, headers, receive, send)
        except _RefusedError as refused:
            await _answer(send, refused)
        return None

    def _knows(self, given: bytes) -> bool:
        if self._token is None:
            return True
        kind, _, value = given.partition(b" ")
        if kind.lower() == b"basic":
            try:
                value = base64.b64decode(value, validate=True).partition(b":")[2]
            except ValueError:
                return False
        elif kind.lower() != b"bearer":
            return False
        return hmac.compare_digest(value.strip(), self._token.encode())

    async def _pass(
        self, scope: MutableMapping[str, Any], headers: dict[bytes, bytes], receive: Receive, send: Send
    ) -> None:
        upload = headers.get(b"content-type", b"").lower().startswith(b"multipart/")
        body = _Body(receive, self._max_bytes if upload else _JSON_BYTES, self._seconds)
        if upload:
            await self._stream(scope, body, send)
            return
        parts = [await body.receive()]
        while parts[-1].get("more_body"):
            parts.append(await body.receive())
        content = b"".join(part.get("body", b"") for part in parts)
        if _names_an_address(content):
            raise _RefusedError(422, "an image is uploaded here, not fetched from an address")
        waiting: list[Message] = [{"type": "http.request", "body": content, "more_body": False}]

        async def replay() -> Message:
            return waiting.pop() if waiting else await receive()

        await self._app(scope, replay, send)

    async def _stream(self, scope: MutableMapping[str, Any], body: _Body, send: Send) -> None:
        """The application reads as it comes; what it makes of a body that is cut off is not sent."""
        refused: list[_RefusedError] = []

        async def receive() -> Message:
            try:
                return await body.receive()
            except _RefusedError as error:
                refused.append(error)
                return {"type": "http.disconnect"}

        async def forward(message: Message) -> None:
            if not refused:
                await send(message)

        try:
            await self._app(scope, receive, forward)
        except Exception:
            if not refused:
                raise
        if refused:
            raise refused[0]


class _Body:
    """A request's body, by its parts.

    Args:
        receive: ASGI's.
        limit: bytes.
        seconds: until the last part.
    """

    def __init__(self, receive: Receive, limit: int, seconds: float) -> None:
        self._receive, self._limit, self._seconds = receive, limit, seconds
        self._end = asyncio.get_running_loop().time() + seconds
        self._taken, self._done = 0, False

    async def receive(self) -> Message:
        """The next part; after the last one, whatever comes, without a limit of time."""
        if self._done:
            return await self._receive()
        message = await self._part()
        if self._taken > self._limit:
            while not self._done:  # or the client, which still sends, would not see the answer
                await self._part()
            raise _RefusedError(413, f"the request is larger than {self._limit:,} bytes, which is the most taken here")
        return message

    async def _part(self) -> Message:
        try:
            async with asyncio.timeout_at(self._end):
                message = await self._receive()
        except TimeoutError:
            raise _RefusedError(408, f"the request did not come within {self._seconds:g} seconds") from None
        self._taken += len(message.get("body", b""))
        self._done = not message.get("more_body", False)
        return message


def _names_an_address(content: bytes) -> bool:
    """Whether a file in a JSON request lies elsewhere: gradio would fetch it."""
    try:
        waiting = [json.loads(content)]
    except (ValueError, RecursionError):  # the application answers that
        return False
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if "://" in str(value.get("path", "")):
                return True
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return False


async def _answer(send: Send, refused: _RefusedError) -> None:
    body = json.dumps({"detail": str(refused)}).encode()
    length = str(len(body)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", length), (b"connection", b"close")]
    if refused.status == 401:
        headers.append((b"www-authenticate", b'Basic realm="anychan", charset="UTF-8"'))
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
