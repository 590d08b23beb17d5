"""The roles that fill the training buffer, one for `events` and one for `items`. Both are `OffsetOwner`s."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from consumers.learning.training_buffer import TrainingBuffer
from monitoring.metrics import Metrics
from stream.admission import admit, admit_item
from stream.events import BadEvent, ItemRemoval
from stream.kinds import EventKinds
from stream.log import Record
from stream.topics import EVENTS, ITEMS

ToRow = Callable[[Record], tuple[Any, ...]]  # raises BadEvent; rejected records are others' to report

_PARTITION = -2  # column of a row, in both schemas


class TrainingBufferRole:
    """One topic -> rows -> segments. Rows wait in memory until there are enough or they are old enough."""

    def __init__(
        self,
        buffer: TrainingBuffer,
        topic: str,
        *,
        to_row: ToRow,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Hold nothing yet; `events_role` and `items_role` choose topic and rows."""
        self.name = f"training-buffer-{topic}"
        self.topic = topic
        self.group = None  # one process at a time fills a buffer, and its manifest knows the offsets
        self._buffer, self._to_row = buffer, to_row
        self._metrics, self._clock = metrics, clock
        self._held: set[int] = set()
        self._rows: list[tuple[Any, ...]] = []
        self._next: dict[int, int] = {}  # of what waits
        self._oldest_s: float | None = None

    def gained(self, partitions: Sequence[int]) -> Mapping[int, int]:
        """Go on from the manifest; what waited of these partitions is read again."""
        self._held.update(partitions)
        self._rows = [row for row in self._rows if row[_PARTITION] not in partitions]
        self._next = {partition: to for partition, to in self._next.items() if partition not in partitions}
        return {partition: self._buffer.next_offset(self.topic, partition) for partition in partitions}

    def rewind(self, offsets: Mapping[int, int]) -> None:
        """Have the manifest stand at these offsets, and keep the rows."""
        self._buffer.append(self.topic, [], offsets)

    def lost(self, partitions: Sequence[int]) -> None:
        """Write what waits, then let go."""
        self._flush()
        self._held.difference_update(partitions)

    def positions(self) -> Mapping[int, int]:
        """The manifest's offsets: what is in memory does not count."""
        return {partition: self._buffer.next_offset(self.topic, partition) for partition in self._held}

    def handle(self, records: list[Record]) -> None:
        """Note the rows; write them when they are enough."""
        if self._oldest_s is None:
            self._oldest_s = self._clock()
        for record in records:
            self._next[record.partition] = record.offset + 1
            try:
                self._rows.append(self._to_row(record))
            except BadEvent:
                continue  # sequences and item letters send it to the dead-letter topic, once
        self.idle()

    def idle(self) -> None:
        """Write what is due."""
        settings = self._buffer.settings
        is_old = self._oldest_s is not None and self._clock() - self._oldest_s >= settings.flush_s
        if is_old or len(self._rows) >= settings.flush_rows:
            self._flush()

    def close(self) -> None:
        """Write what waits."""
        self._flush()

    def _flush(self) -> None:
        if self._next:
            self._buffer.append(self.topic, self._rows, self._next)
            self._rows, self._next, self._oldest_s = [], {}, None
        if self.topic == EVENTS:
            self._metrics.training_rows.set(self._buffer.manifest.rows(EVENTS))


def events_role(
    buffer: TrainingBuffer,
    *,
    kinds: EventKinds,
    metrics: Metrics,
    clock: Callable[[], float] = time.monotonic,
) -> TrainingBufferRole:
    """The role that writes interactions."""

    def to_row(record: Record) -> tuple[Any, ...]:
        event = admit(record, kinds)
        facts = (event.event_id, event.user_id, event.item_id, event.ts_ms, event.kind, event.feed_id)
        return (*facts, record.partition, record.offset)

    return TrainingBufferRole(buffer, EVENTS, to_row=to_row, metrics=metrics, clock=clock)


def items_role(buffer: TrainingBuffer, *, metrics: Metrics) -> TrainingBufferRole:
    """The role that writes item upserts and removals."""
    return TrainingBufferRole(buffer, ITEMS, to_row=_item_row, metrics=metrics)


def _item_row(record: Record) -> tuple[Any, ...]:
    item = admit_item(record)
    place = (record.partition, record.offset)
    if isinstance(item, ItemRemoval):
        return (item.item_id, item.ts_ms, True, "", "", None, "{}", None, None, *place)
    attributes = msgspec.json.encode(item.attributes).decode()
    content = (item.title, item.text, item.image, attributes, item.text_vector, item.image_vector)
    return (item.item_id, item.ts_ms, False, *content, *place)
