"""The topics on the log: name, partitions, and what is kept of them for how long."""

from __future__ import annotations

from dataclasses import dataclass

from stream.events import MAX_BLEND_BYTES, MAX_EVENT_BYTES, MAX_ITEM_BYTES, MAX_OUTCOME_BYTES, MAX_TRANSITIONS_BYTES

EVENTS = "events"  # key user_id: interactions
ITEMS = "items"  # key item_id: upserts and removals
EXPOSURES = "exposures"  # key user_id: what was shown
OUTCOMES = "outcomes"  # key user_id: what followed a shown item
COUNTS = "counts"  # key partition of `events`: what it counts now
TRANSITIONS = "transitions"  # key item_id: what came close to it
CONTROL = "control"  # key name: what roles of all processes must agree on
DEAD_LETTER = "dead-letter"  # key source topic: rejected bytes

DAY_MS = 24 * 60 * 60 * 1_000
RETENTION_MS = 30 * DAY_MS
DEAD_LETTER_RETENTION_MS = 90 * DAY_MS  # long: somebody has to look at them first
MAX_MESSAGE_BYTES = 1_048_576  # key and value of one record
MAX_DEAD_LETTER_BYTES = 2 * MAX_MESSAGE_BYTES  # a record of the full size in base64, and its reason


@dataclass(frozen=True)
class Topic:
    """One topic.

    Attributes:
        name: as readers and writers name it.
        partitions: how many, at least 1; a key always goes to the same one.
        compacted: keep the newest value of each key, for ever.
        retention_ms: how long a record is kept after it was appended; None keeps it.
        max_message_bytes: largest key plus value.
    """

    name: str
    partitions: int
    compacted: bool = False
    retention_ms: int | None = None
    max_message_bytes: int = MAX_MESSAGE_BYTES

    def __post_init__(self) -> None:
        if self.partitions < 1:
            raise ValueError(f"topic {self.name!r} has partitions={self.partitions}; at least 1 is needed")
        if self.retention_ms is not None and self.retention_ms < 1:
            raise ValueError(f"topic {self.name!r} has retention_ms={self.retention_ms}; None keeps all")
        if self.max_message_bytes < 1:
            raise ValueError(f"topic {self.name!r} has max_message_bytes={self.max_message_bytes}; use 1 or more")


def topics(partitions: int = 4, *, retention_ms: int = RETENTION_MS) -> dict[str, Topic]:
    """The topics in use, by name.

    `events`, `exposures` and `outcomes` share partition count and key, so that a join stays inside a partition.

    Args:
        partitions: of every topic but `counts`, `control` and `dead-letter`, which have one.
        retention_ms: of `events`, `exposures` and `outcomes`, counted from appending.
    """
    all_topics = [
        Topic(EVENTS, partitions, retention_ms=retention_ms, max_message_bytes=MAX_EVENT_BYTES),
        Topic(ITEMS, partitions, compacted=True, max_message_bytes=MAX_ITEM_BYTES),
        Topic(EXPOSURES, partitions, retention_ms=retention_ms, max_message_bytes=MAX_ITEM_BYTES),
        Topic(OUTCOMES, partitions, retention_ms=retention_ms, max_message_bytes=MAX_OUTCOME_BYTES),
        Topic(COUNTS, partitions=1, compacted=True, max_message_bytes=MAX_ITEM_BYTES),
        Topic(TRANSITIONS, partitions, compacted=True, max_message_bytes=MAX_TRANSITIONS_BYTES),
        Topic(CONTROL, partitions=1, compacted=True, max_message_bytes=MAX_BLEND_BYTES),
        Topic(
            DEAD_LETTER,
            partitions=1,
            retention_ms=DEAD_LETTER_RETENTION_MS,
            max_message_bytes=MAX_DEAD_LETTER_BYTES,
        ),
    ]
    return {topic.name: topic for topic in all_topics}
