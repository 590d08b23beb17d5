"""Which records of `events` count: decided in one place, from the record alone, so every role agrees.

Whatever is refused here goes to the dead-letter topic by the sequences role; the others skip it.
"""

from __future__ import annotations

from stream.events import BadEvent, Interaction, decode_interaction
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
    if event.ts_ms > record.ts_ms + MAX_AHEAD_MS:
        raise BadEvent(
            f"event rejected: ts_ms={event.ts_ms} is {event.ts_ms - record.ts_ms} ms after it was appended, "
            f"limit is {MAX_AHEAD_MS}; check the sender's clock and that the unit is milliseconds"
        )
    return event
