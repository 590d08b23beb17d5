"""Which records of `events`, `items` and `exposures` count: decided here, from the record alone, so every role agrees.

Whatever is refused here goes to the dead-letter topic by the sequences, the item letters or the windows role; the
others skip it.
"""

from __future__ import annotations

from stream.events import (
    BadEvent,
    Exposure,
    Interaction,
    ItemEvent,
    ItemRemoval,
    decode_exposure,
    decode_interaction,
    decode_item,
)
from stream.kinds import EventKinds
from stream.log import Record

MAX_AHEAD_MS = 3_600_000  # an event later than its own append by more than an hour has a wrong clock or unit


def admit(record: Record, kinds: EventKinds) -> Interaction:
    """A record of `events` as a typed event of a known kind.

    Raises:
        BadEvent: not valid, of an unknown kind (UnknownKind), or from the future; never retried.
    """
    event = decode_interaction(record.value)
    kinds.number(event.kind)
    _check_time("event", event.ts_ms, record)
    return event


def admit_exposure(record: Record) -> Exposure:
    """A record of `exposures` as what was shown.

    Raises:
        BadEvent: not valid, or from the future; never retried.
    """
    exposure = decode_exposure(record.value)
    _check_time("exposure", exposure.ts_ms, record)
    return exposure


def admit_item(record: Record) -> ItemEvent:
    """A record of `items` as an upsert or a removal; a tombstone of the log removes the item of its key.

    Raises:
        BadEvent: not valid, or from the future; never retried.
    """
    if record.value is not None:
        item = decode_item(record.value)
        _check_time("item", item.ts_ms, record)
        return item
    try:
        return ItemRemoval(item_id=(record.key or b"").decode(), ts_ms=record.ts_ms)
    except UnicodeDecodeError as exc:
        raise BadEvent(f"item rejected: {exc}; the key of a tombstone must be an item id in UTF-8") from exc


def _check_time(what: str, ts_ms: int, record: Record) -> None:
    if ts_ms > record.ts_ms + MAX_AHEAD_MS:
        raise BadEvent(
            f"{what} rejected: ts_ms={ts_ms} is {ts_ms - record.ts_ms} ms after it was appended, "
            f"limit is {MAX_AHEAD_MS}; check the sender's clock and that the unit is milliseconds"
        )
