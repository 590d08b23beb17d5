"""The role that learns the fast memory: reads all of `events`, links what counts, publishes the rows that changed.

What it knows is of all partitions, so whoever runs it reads all of them, and one process of a deployment should: a
second one would publish the same rows again. For each batch, in this order:
1. link its events and move the offsets, in memory; an event that was linked already changes nothing. Where weights are
   learned, each event is predicted before it is linked;
2. publish changed rows, at most once in `publish_s`, and wait until they are durable; what is left goes next time. So
   with the weights, where they moved;
3. save, at most once in `snapshot_s`: rows, sequences, weights and offsets of one moment.
After a crash the events since the last file are read again, and their rows are published again as they become.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from consumers.delays import Delays
from consumers.memory.blending import BlendLearner
from consumers.memory.links import Link, LinkReader
from consumers.memory.shared import SharedMemory
from consumers.memory.shared_blend import KEY
from consumers.memory.snapshots import MemorySnapshots, SavedMemory
from consumers.rests import rested
from consumers.writing import SnapshotFailures, publish_durably
from monitoring.metrics import Metrics
from stream.admission import admit
from stream.events import BadEvent, Interaction, encode
from stream.kinds import EventKinds
from stream.log import Log, Message, Record
from stream.topics import CONTROL, EVENTS, TRANSITIONS


@dataclass(frozen=True)
class MemorySettings:
    """How often the role writes.

    Attributes:
        snapshot_s: seconds between snapshots; retention must be at least twice as long.
        publish_s: seconds between publications of changed rows; None where no other process follows them or weights.
        max_rows: published at once.
    """

    snapshot_s: float = 60.0
    publish_s: float | None = 1.0
    max_rows: int = 100

    def __post_init__(self) -> None:
        if self.max_rows < 1:
            raise ValueError(f"max_rows={self.max_rows} must be at least 1; 100 is usual")


class MemoryRole:
    """`events` -> admit -> sequences -> memory -> `transitions`. An `OffsetOwner`.

    Args:
        memory: what learns; nobody else changes it.
        snapshots: where it is kept.
        log: for changed rows.
        kinds: the set in force.
        metrics: of this process.
        settings: how often it writes.
        learner: of the blend's weights, over the same memory; None where nobody needs them.
    """

    name = "memory"
    topic = EVENTS
    group = None

    def __init__(
        self,
        memory: SharedMemory,
        snapshots: MemorySnapshots,
        log: Log,
        *,
        kinds: EventKinds,
        metrics: Metrics,
        settings: MemorySettings | None = None,
        learner: BlendLearner | None = None,
    ) -> None:
        self._memory, self._snapshots, self._log = memory, snapshots, log
        self._kinds, self._metrics = kinds, metrics
        self._delays = Delays(metrics.event_to_memory_seconds)
        self._settings, self._learner = settings or MemorySettings(), learner
        self._reader = LinkReader(
            kinds, length=snapshots.length, max_seen=snapshots.max_seen, n_last=memory.config.n_last
        )
        self._next: dict[int, int] = {}
        self._held: set[int] = set()
        self._is_loaded = False
        self._failures = SnapshotFailures()
        self._saved_at = self._published_at = time.monotonic()

    def gained(self, partitions: Sequence[int]) -> Mapping[int, int]:
        """Restore everything at the first call; partitions go on where they stand, new ones from the start."""
        if not self._is_loaded:
            self._load()
        for partition in partitions:
            self._reader.hold(partition)
            self._next.setdefault(partition, 0)
        self._held.update(partitions)
        return {partition: self._next[partition] for partition in partitions}

    def rewind(self, offsets: Mapping[int, int]) -> None:
        """Stand at these offsets with what is known, and save that."""
        self._next.update(offsets)
        self._save()

    def lost(self, partitions: Sequence[int]) -> None:
        """Save; what was learned of them stays learned, and they go on from there should they come back."""
        self._held.difference_update(partitions)
        with self._failures.noted():
            self._save()

    def positions(self) -> Mapping[int, int]:
        """Next offset to read, by partition held."""
        return {partition: self._next[partition] for partition in self._held}

    def handle(self, records: list[Record]) -> None:
        """Learn a batch, then write what is due."""
        by_partition = sorted(records, key=attrgetter("partition"))  # stable: offsets stay in order
        self._learn({part: list(group) for part, group in groupby(by_partition, key=attrgetter("partition"))})
        self._delays.observe(record.ts_ms for record in records)
        self._metrics.memory_items.set(self._memory.n_items)
        self.idle()

    def idle(self) -> None:
        """Publish and save what is due by time."""
        now = time.monotonic()
        if self._settings.publish_s is not None and now - self._published_at >= self._settings.publish_s:
            self._published_at = now
            self._publish()
        if self._learner is not None:
            self._publish_weights(self._learner)
        if now - self._saved_at >= self._settings.snapshot_s:
            with self._failures.noted():
                self._save()

    def close(self) -> None:
        """Save; rows that were not published yet are marked in the file, and go out after the next start."""
        self._save()

    def _learn(self, records: Mapping[int, list[Record]]) -> None:
        """Link a batch, by partition: all partitions' events are predicted in one call."""
        is_asked = None if self._learner is None else self._learner.is_asked
        links: list[Link] = []
        for partition, of_partition in records.items():
            links += self._reader.links(partition, self._admit(of_partition), is_asked=is_asked)
        if self._learner is None:
            for link in rested(links):
                self._memory.link(link.history, link.item_id, link.ts_ms)
        else:
            self._learner.link(links, self._next)
        n_records = sum(map(len, records.values()))
        self._metrics.memory_events_total.labels(result="linked").inc(len(links))
        self._metrics.memory_events_total.labels(result="skipped").inc(n_records - len(links))
        self._next.update({partition: of_partition[-1].offset + 1 for partition, of_partition in records.items()})

    def _admit(self, records: Sequence[Record]) -> list[Interaction]:
        """Events that count; the sequences role reports the others."""
        events = []
        for record in records:
            try:
                events.append(admit(record, self._kinds))
            except BadEvent:
                continue
        return events

    def _publish(self) -> None:
        rows = self._memory.changed_rows(self._settings.max_rows)
        if not rows:
            return
        publish_durably(self._log, TRANSITIONS, [Message(row.item_id.encode(), encode(row)) for row in rows])
        self._memory.mark_published(rows)
        self._metrics.memory_rows_total.labels(result="published").inc(len(rows))

    def _publish_weights(self, learner: BlendLearner) -> None:
        state = learner.due()
        if state is None:
            return
        if self._settings.publish_s is not None:
            publish_durably(self._log, CONTROL, [Message(KEY, encode(state))])
        learner.mark_published()

    def _load(self) -> None:
        saved = self._snapshots.load()
        if saved is not None:
            self._memory.restore(saved.memory)
            self._reader.restore(saved.stores)
            self._next = dict(saved.next_offsets)
            if self._learner is not None:
                self._learner.restore(saved.blend)
            self._metrics.memory_items.set(self._memory.n_items)
        self._is_loaded = True

    def _save(self) -> None:
        self._saved_at = time.monotonic()
        if self._is_loaded and not self._snapshots.stands_at(self._next):
            blend = {} if self._learner is None else self._learner.state()
            saved = SavedMemory(dict(self._next), self._reader.stores, self._memory.state(), blend)
            self._snapshots.save(saved)
