"""POST /v1/events: what users do, onto the log. Answers once the log has it, durably."""

import uuid
from collections.abc import Iterable, Iterator

from fastapi import APIRouter

from serving.errors import Problem
from serving.field_errors import FieldError
from serving.media_type import TAKES_JSON
from serving.openapi import problems
from serving.schemas import EventBatch, EventIn, EventsIn, EventsOut
from serving.state import Running, Serving, wall_ms
from stream.admission import MAX_AHEAD_MS
from stream.events import Interaction, encode
from stream.kinds import EventKinds, UnknownKind
from stream.log import Message
from stream.topics import EVENTS

router = APIRouter(tags=["events"])
UNCONFIRMED = 503  # of a publish: on the log or not


@router.post(
    "/v1/events",
    status_code=202,
    response_model=EventsOut,
    responses=problems(415, 422, 503),
    dependencies=[TAKES_JSON],
)
async def ingest(body: EventsIn, serving: Running) -> EventsOut:
    """Send one event, or up to 1,000 as `{"events": [...]}`; all are accepted or none.

    202 means durable. After 503 it is not known: send the events again with the `event_ids` of the answer, and they
    count once. So they do after no answer at all when they came with an `event_id` of yours.
    """
    events = body.events if isinstance(body, EventBatch) else [body]
    counted = serving.parts.metrics.events_ingested_total
    accepted = [_interaction(event) for event in events]
    event_ids = [event.event_id for event in accepted]
    try:
        check(body, serving, now_ms=wall_ms())
        positions = await serving.publish(EVENTS, [_message(event) for event in accepted])
    except Problem as problem:
        if problem.status != UNCONFIRMED:
            counted.labels(outcome="rejected").inc(len(events))
            raise
        counted.labels(outcome="unconfirmed").inc(len(events))
        detail = f"{problem.detail}, with these event_ids it counts once"
        raise Problem(UNCONFIRMED, detail, event_ids=event_ids) from problem
    counted.labels(outcome="accepted").inc(len(events))
    return EventsOut(accepted=len(accepted), event_ids=event_ids, position=serving.token(EVENTS, positions))


def check(body: EventIn | EventBatch, serving: Serving, *, now_ms: int) -> None:
    """Refuse what the schema cannot: unknown kinds and times too far ahead.

    Raises:
        Problem: 422, naming every event that is wrong.
    """
    latest_ms = now_ms + MAX_AHEAD_MS
    numbered: Iterable[tuple[int | None, EventIn]]
    numbered = enumerate(body.events) if isinstance(body, EventBatch) else [(None, body)]
    errors = [error for at, event in numbered for error in _errors(at, event, serving, latest_ms)]
    if errors:
        raise Problem.of_fields(errors)


def _errors(at: int | None, event: EventIn, serving: Serving, latest_ms: int) -> Iterator[FieldError]:
    place = "" if at is None else f"events[{at}]."
    kind_error = _kind_error(event.kind, serving.parts.kinds)
    if kind_error is not None:
        yield FieldError(f"{place}kind", kind_error, ", ".join(serving.parts.kinds.names), at)
    if event.ts_ms is not None and event.ts_ms > latest_ms:
        message = f"ts_ms={event.ts_ms} is too far ahead, latest now is {latest_ms}; is it in milliseconds?"
        yield FieldError(f"{place}ts_ms", message, latest_ms, at)


def _kind_error(kind: str, kinds: EventKinds) -> str | None:
    try:
        kinds.get(kind)
    except UnknownKind as exc:
        return str(exc)
    return None


def _interaction(event: EventIn) -> Interaction:
    return Interaction(
        event_id=event.event_id or uuid.uuid4().hex,
        user_id=event.user_id,
        item_id=event.item_id,
        ts_ms=event.ts_ms if event.ts_ms is not None else wall_ms(),
        kind=event.kind,
        feed_id=event.feed_id,
    )


def _message(event: Interaction) -> Message:
    return Message(event.user_id.encode(), encode(event))
