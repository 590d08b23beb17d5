"""Every refusal in one shape: problem+json (RFC 9457) naming the field, the limit and the next step.

Problem                  an answer of 4xx or 5xx
├── from a handler       raise Problem(...)
├── from a publish       QueueFull, LogUnavailable, LogClosed, PoolFull -> 503; MessageTooLarge -> 413
├── from a queue here    BatchQueueFull, BatcherClosed, PoolFull, PoolTimeout -> 503
├── from the registry    UnknownVersion -> 404, the rest -> 409, RegistryBusy -> 503
└── from FastAPI         RequestValidationError -> 422, HTTPException (404, 405, 400)
"""

from collections.abc import Mapping
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from models.registry.bundle import NotCurrent, RegistryBusy, RegistryError, UnknownVersion
from serving.batcher import BatcherClosed, BatchQueueFull
from serving.field_errors import FieldError, request_errors
from serving.pool import PoolFull, PoolTimeout
from stream.log import LogClosed, LogError, LogUnavailable, MessageTooLarge, QueueFull

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1
MAX_ERRORS_SHOWN = 20
TITLES = {
    400: "The request cannot be read",
    401: "Who is asking is not known",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "Too slow",
    409: "Not possible now",
    413: "Too large",
    415: "Unsupported media type",
    422: "The request is not valid",
    500: "The server made a mistake",
    503: "Not possible at the moment; try again",
}


class Problem(Exception):
    """A refusal with its HTTP status.

    Args:
        status: HTTP status, one of TITLES.
        detail: what was wrong, the value, and what to do.
        field: the part of the request it is about, such as `events[3].user_id`.
        limit: the limit that was passed.
        errors: all errors when there are several; `detail` is then about the first.
        event_ids: of events that may be on the log or not; sent again with these they count once.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        field: str | None = None,
        limit: float | str | None = None,
        errors: list[FieldError] | None = None,
        event_ids: list[str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.field = field
        self.limit = limit
        self.errors = errors or []
        self.event_ids = event_ids

    @classmethod
    def of_fields(cls, errors: list[FieldError]) -> "Problem":
        """One problem for all the fields that are wrong; none is accepted."""
        first = errors[0]
        place = first.field if first.line is None else f"line {first.line}: {first.field}"
        return cls(422, f"{place}: {first.message}", field=first.field, limit=first.limit, errors=errors)

    def body(self) -> dict[str, Any]:
        """The JSON object of the answer; members that do not apply are left out."""
        title = TITLES[self.status]
        body = {
            "type": f"urn:freshet:problem:{self.status}",
            "title": title,
            "status": self.status,
            "detail": self.detail,
            "field": self.field,
            "limit": self.limit,
            "event_ids": self.event_ids,
        }
        if self.errors:
            body["errors"] = [error.to_dict() for error in self.errors[:MAX_ERRORS_SHOWN]]
            body["n_errors"] = len(self.errors)
        return {name: value for name, value in body.items() if value is not None}


def answer(problem: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """A problem as an HTTP answer; 503 says when to come back."""
    all_headers = dict(headers or {})
    if problem.status == 503:
        all_headers["Retry-After"] = str(RETRY_AFTER_S)
    return JSONResponse(problem.body(), problem.status, all_headers, media_type=MEDIA_TYPE)


def publish_problem(exc: LogError | PoolFull) -> Problem:
    """What a client is told when a publish fails. A log that is not available may have written some of it."""
    if isinstance(exc, MessageTooLarge):
        return Problem(413, str(exc), field="body")
    if isinstance(exc, QueueFull | LogUnavailable | LogClosed | PoolFull):
        return Problem(503, f"not confirmed: {exc}; send the same again")
    return Problem(500, f"the log refused: {exc}")


def registry_problem(exc: RegistryError) -> Problem:
    """What a client is told when the registry refuses."""
    if isinstance(exc, UnknownVersion):
        return Problem(404, str(exc), field="version")
    if isinstance(exc, NotCurrent):
        return Problem(409, str(exc), field="version")
    return Problem(503 if isinstance(exc, RegistryBusy) else 409, str(exc))


async def _on_problem(request: Request, exc: Exception) -> JSONResponse:
    assert isinstance(exc, Problem)
    return answer(exc)


async def _on_registry(request: Request, exc: Exception) -> JSONResponse:
    assert isinstance(exc, RegistryError)
    return answer(registry_problem(exc))


async def _on_full(request: Request, exc: Exception) -> JSONResponse:
    return answer(Problem(503, f"too busy: {exc}"))


async def _on_invalid(request: Request, exc: Exception) -> JSONResponse:
    assert isinstance(exc, RequestValidationError)
    return answer(Problem.of_fields(request_errors(exc.errors())))


async def _on_http(request: Request, exc: Exception) -> JSONResponse:
    assert isinstance(exc, HTTPException)
    status = exc.status_code if exc.status_code in TITLES else 400
    return answer(Problem(status, _http_detail(request, exc)), exc.headers)


def _http_detail(request: Request, exc: HTTPException) -> str:
    if exc.status_code == 404:
        return f"no such path: {request.url.path[:200]!a}; see /docs"
    if exc.status_code == 405:
        return f"{request.method[:20]} is not possible on this path; see /docs"
    return str(exc.detail)


async def _on_bug(request: Request, exc: Exception) -> JSONResponse:
    structlog.get_logger().error("request_failed", error=type(exc).__name__, exc_info=exc)
    return answer(Problem(500, f"unexpected {type(exc).__name__}; the server's log has the rest"))


def install(app: FastAPI) -> None:
    """Answer every refusal as a problem."""
    handlers = {
        Problem: _on_problem,
        RegistryError: _on_registry,
        RequestValidationError: _on_invalid,
        HTTPException: _on_http,
        Exception: _on_bug,
    }
    for refusal, handler in handlers.items():
        app.add_exception_handler(refusal, handler)
    for refusal in (BatchQueueFull, BatcherClosed, PoolFull, PoolTimeout):
        app.add_exception_handler(refusal, _on_full)
