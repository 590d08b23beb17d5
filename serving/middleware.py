"""Plain ASGI middlewares: how large and how slow a body may be, what a path's bytes mean, how long requests take."""

import asyncio
import time
from collections.abc import Callable
from urllib.parse import quote, unquote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monitoring.metrics import Metrics
from serving.errors import Problem, answer

METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH")
UNMATCHED = "unmatched"


class EncodedPaths:
    """Match routes on the path as it was sent, so that `%2F` inside an id is not a separator.

    Path parameters decode their own part (serving.schemas.PathId). A path that is not UTF-8 is answered 400.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, or pass on what is none."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        raw = scope.get("raw_path") or quote(scope["path"]).encode()
        path = raw.split(b"?", 1)[0].decode("latin-1")
        try:
            unquote(path, errors="strict")
        except UnicodeDecodeError:
            refusal = Problem(400, "the path is not UTF-8; percent-encode ids as UTF-8", field="path")
            await answer(refusal)(scope, receive, send)
            return
        await self._app({**scope, "path": path}, receive, send)


class BodyLimit:
    """Read the body before anything else looks at it.

    Args:
        app: what answers the request.
        max_bytes: a larger body is answered 413.
        timeout_s: until the body is whole; one that takes longer is answered 408.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, timeout_s: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, or pass on what is none."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            body = await self._read_in_time(_declared_length(scope), receive)
        except Problem as refusal:
            await answer(refusal, {"Connection": "close"})(scope, receive, send)
            return
        await self._app(scope, _replay(body, receive), send)

    async def _read_in_time(self, declared: int, receive: Receive) -> Message:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._read(declared, receive)
        except TimeoutError:
            detail = f"the body was not whole within {self._timeout_s} s; send it faster, or in parts"
            raise Problem(408, detail, field="body", limit=self._timeout_s) from None

    async def _read(self, declared: int, receive: Receive) -> Message:
        """The whole body as one message.

        Raises:
            Problem: 413, too large; 400, the client went away.
        """
        if declared > self._max_bytes:
            raise self._too_large(declared)
        chunks: list[bytes] = []
        n_bytes = 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise Problem(400, "the client went away before the body was whole; send it again", field="body")
            chunks.append(message.get("body", b""))
            n_bytes += len(chunks[-1])
            if n_bytes > self._max_bytes:
                raise self._too_large(declared)
            if not message.get("more_body", False):
                return {"type": "http.request", "body": b"".join(chunks), "more_body": False}

    def _too_large(self, declared: int) -> Problem:
        size = f"{declared} bytes" if declared else "larger"
        detail = f"the body is {size}, limit is {self._max_bytes} bytes; send it in parts"
        return Problem(413, detail, field="body", limit=self._max_bytes)


def _declared_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0


def _replay(message: Message, receive: Receive) -> Receive:
    """The message first, then whatever still comes (the client's going away)."""
    waiting = [message]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay


class RequestMetrics:
    """Time every request by its route's template, never by its path."""

    def __init__(self, app: ASGIApp, metrics: Metrics, clock: Callable[[], float] = time.perf_counter) -> None:
        self._app = app
        self._metrics = metrics
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, or pass on what is none."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        started_s = self._clock()
        with self._metrics.http_in_flight_requests.track_inprogress():
            try:
                await self._app(scope, receive, watch)
            finally:
                self._observe(scope, status, self._clock() - started_s)

    def _observe(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._metrics.http_request_seconds.labels(route=_template(scope), method=method, status=str(status)).observe(
            seconds
        )


def _template(scope: Scope) -> str:
    template = getattr(scope.get("route"), "path", None)
    return template if isinstance(template, str) else UNMATCHED
