"""POST /v1/items: a catalogue as NDJSON, one item a line. Valid lines are taken, wrong ones named by number."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from fastapi import APIRouter, Request
from pydantic import ValidationError

from serving.errors import Problem
from serving.field_errors import FieldError, field_errors
from serving.item_body import NOT_STORED, is_picture_stored
from serving.items import upsert
from serving.openapi import problems
from serving.schemas import BulkOut, ItemLine, LineError
from serving.state import Running
from stream.events import MAX_ITEM_BYTES
from stream.images import ImageStore
from stream.log import Message
from stream.topics import ITEMS

router = APIRouter(tags=["items"])
MAX_PUBLISHED = 500  # records in one publish, so that a large upload shares the log with events
MAX_ERRORS_SHOWN = 100
BULK_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/x-ndjson": {
                "schema": {"type": "string", "description": "one JSON object a line: an item with its item_id"}
            }
        },
    }
}


@dataclass
class _Lines:
    """What a bulk body holds."""

    messages: list[Message] = field(default_factory=list)
    errors: list[FieldError] = field(default_factory=list)
    n_rejected: int = 0


@router.post(
    "/v1/items",
    status_code=202,
    response_model=BulkOut,
    responses=problems(422, 503),
    openapi_extra=BULK_BODY,
)
async def put_items(request: Request, serving: Running) -> BulkOut:
    """Add or replace many items. 202 with the wrong lines named; 422 when no line is right.

    Pictures go by PUT, or by `image` where they are stored already. When the log refuses half-way the answer is
    503; send the same again, items replace themselves.
    """
    lines = await serving.pool.run(_read, await request.body(), serving.parts.images)
    if not lines.messages:
        raise Problem.of_fields(lines.errors or [FieldError("body", "there is no line in it")])
    for start in range(0, len(lines.messages), MAX_PUBLISHED):
        await serving.publish(ITEMS, lines.messages[start : start + MAX_PUBLISHED])
    return BulkOut(accepted=len(lines.messages), rejected=lines.n_rejected, errors=list(_shown(lines.errors)))


def _read(body: bytes, images: ImageStore) -> _Lines:
    lines = _Lines()
    for number, raw in enumerate(body.splitlines(), start=1):
        if not raw.strip():
            continue
        record = _record(raw, number, images)
        if isinstance(record, Message):
            lines.messages.append(record)
        else:
            lines.n_rejected += 1
            lines.errors += record
    return lines


def _record(raw: bytes, line: int, images: ImageStore) -> Message | list[FieldError]:
    try:
        item = ItemLine.model_validate_json(raw)
    except ValidationError as exc:
        return field_errors(exc.errors(include_url=False), line=line)[:MAX_ERRORS_SHOWN]
    if not is_picture_stored(item, images):
        return [FieldError("image", NOT_STORED, line=line)]
    record = upsert(item.item_id, item)
    n_bytes = len(record.key or b"") + len(record.value or b"")
    if n_bytes > MAX_ITEM_BYTES:  # the log would refuse the lines beside it too
        message = f"{n_bytes} bytes on the log, limit is {MAX_ITEM_BYTES}"
        return [FieldError("body", message, MAX_ITEM_BYTES, line=line)]
    return record


def _shown(errors: Iterable[FieldError]) -> Iterable[LineError]:
    for error in list(errors)[:MAX_ERRORS_SHOWN]:
        yield LineError(line=error.line or 0, field=error.field, message=error.message, limit=error.limit)
