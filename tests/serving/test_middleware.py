"""Bodies that do not come to their end: told apart from our own mistakes, and never called on as if whole."""

import asyncio
import json
from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry
from starlette.types import Message, Receive, Scope, Send

from monitoring.metrics import Metrics
from serving.middleware import BodyLimit, RequestMetrics

PART: Message = {"type": "http.request", "body": b'{"user_id":', "more_body": True}
GONE: Message = {"type": "http.disconnect"}


async def never(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("called with half a body")


def asked(metrics: Metrics, messages: Iterable[Message], *, timeout_s: float = 5.0) -> tuple[int, dict[str, Any]]:
    """Status and body of the answer to a POST whose body comes as `messages`, and then no more."""
    waiting = list(messages)
    sent: list[Message] = []

    async def receive() -> Message:
        return waiting.pop(0) if waiting else await asyncio.get_running_loop().create_future()

    async def send(message: Message) -> None:
        sent.append(message)

    app = RequestMetrics(BodyLimit(never, max_bytes=1_000, timeout_s=timeout_s), metrics)
    scope = {"type": "http", "method": "POST", "path": "/v1/events", "headers": []}
    asyncio.run(asyncio.wait_for(app(scope, receive, send), 10.0))
    return sent[0]["status"], json.loads(sent[1]["body"])


def _counted(metrics: Metrics, status: str) -> float | None:
    labels = {"route": "unmatched", "method": "POST", "status": status}
    return metrics.registry.get_sample_value("freshet_http_request_seconds_count", labels)


def test_a_client_that_goes_away_is_no_mistake_of_the_server() -> None:
    metrics = Metrics(CollectorRegistry())

    status, body = asked(metrics, [PART, GONE])

    assert (status, body["detail"]) == (400, "the client went away before the body was whole; send it again")
    assert _counted(metrics, "400") == 1.0


def test_a_body_that_stalls_is_408_naming_the_limit() -> None:
    metrics = Metrics(CollectorRegistry())

    status, body = asked(metrics, [PART], timeout_s=0.01)

    assert (status, body["title"], body["limit"]) == (408, "Too slow", 0.01)
    assert body["detail"] == "the body was not whole within 0.01 s; send it faster, or in parts"
    assert _counted(metrics, "408") == 1.0
