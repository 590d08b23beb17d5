"""One user's newest events as a plain list: the rule of `consumers.sequences.store` for a table of users."""

from __future__ import annotations

from bisect import insort

import msgspec


class RingEntry(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """One event; entries sort by (ts_ms, event_hash).

    Attributes:
        ts_ms: event time.
        event_hash: `stream.events.event_hash` of its id.
        item_id: what it was about.
        kind: number of its kind.
    """

    ts_ms: int
    event_hash: int
    item_id: str
    kind: int


def insert(ring: list[RingEntry], entry: RingEntry, length: int) -> tuple[bool, RingEntry | None]:
    """Put an event at its place in a user's newest `length` distinct events.

    A duplicate, and an event older than all of a full ring, change nothing; kinds that enter no sequence are not
    to be given.

    Args:
        ring: oldest first; changed in place.
        entry: the event.
        length: most events kept, at least 1.

    Returns:
        Whether it entered, and the event that fell out to make room.
    """
    if len(ring) >= length and entry < ring[0]:
        return False, None
    event_hash = entry.event_hash
    for known in ring:
        if known.event_hash == event_hash:
            return False, None
    insort(ring, entry)
    return True, ring.pop(0) if len(ring) > length else None
