"""The role that reads `items`: keeps the catalogue and makes new items servable, in seconds.

The poll thread only applies records; encoding runs in a thread beside it, in micro-batches, oldest first. Nothing is
kept on disk but vectors: every start reads the compacted topic from its beginning, so `handle` may run twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from threading import Condition, Thread

from consumers.catalog.catalog import Catalog
from consumers.catalog.placement import Placement
from consumers.delays import Delays, now_ms
from monitoring.metrics import Metrics
from stream.admission import admit_item
from stream.events import BadEvent, ItemEvent, ItemRemoval, ItemUpsert
from stream.log import Record
from stream.topics import ITEMS

MICRO_BATCH = 32  # items encoded at once: the first of a flood are servable before the last are encoded
_CLOSE_S = 10.0


class CatalogRole:
    """`items` -> decode -> catalogue -> placement. An `OffsetOwner`, as its state starts empty.

    Args:
        catalog: where items are kept.
        placement: what makes them servable.
        metrics: of this process.
    """

    name = "catalog"
    topic = ITEMS
    group = None  # each process that scores knows every item

    def __init__(self, catalog: Catalog, placement: Placement, *, metrics: Metrics) -> None:
        self._catalog, self._placement, self._metrics = catalog, placement, metrics
        self._positions: dict[int, int] = {}
        self._placer = Placer(placement, self._note_placed)
        self._delays = Delays(metrics.item_to_servable_seconds)
        self._newest_placed_ms: int | None = None
        metrics.item_vector_age_seconds.set_function(self._vector_age_s)

    def gained(self, partitions: Sequence[int]) -> Mapping[int, int]:
        """Read on where this process stands: at the beginning, if it has not read the partition before."""
        self._placer.start()
        for partition in partitions:
            self._positions.setdefault(partition, 0)
        return {partition: self._positions[partition] for partition in partitions}

    def rewind(self, offsets: Mapping[int, int]) -> None:
        """Stand at these offsets with the catalogue there is."""
        self._positions.update(offsets)

    def lost(self, partitions: Sequence[int]) -> None:
        """Forget the positions; should the partitions come back, they are read anew, which changes nothing."""
        for partition in partitions:
            self._positions.pop(partition, None)

    def positions(self) -> Mapping[int, int]:
        """Next offset to apply, by partition."""
        return dict(self._positions)

    def idle(self) -> None:
        """Raise what went wrong in the placing thread, so that the runner starts both again."""
        self._placer.check()

    def handle(self, records: list[Record]) -> None:
        """Apply a batch; what is no item is passed over, and reported by `ItemLetters`."""
        self._placer.check()
        decoded = [(self._decoded(record), record.ts_ms) for record in records]
        self._apply([(event, ts_ms) for event, ts_ms in decoded if event is not None])
        self._metrics.items.set(self._catalog.n_items)
        for record in records:
            self._positions[record.partition] = record.offset + 1

    def close(self) -> None:
        """Stop placing; what waits is placed after the next start."""
        self._placer.stop(_CLOSE_S)

    def _apply(self, events: Sequence[tuple[ItemEvent, int]]) -> None:
        """Take items in, each with the time its record was appended, and have what changed placed or taken out."""
        last = {event.item_id: (event, ts_ms) for event, ts_ms in events}  # so a batch read again changes nothing
        changed = [(event, ts_ms) for event, ts_ms in last.values() if self._catalog.apply(event)]
        removed = [event.item_id for event, _ in changed if isinstance(event, ItemRemoval)]
        if removed:
            self._placement.remove(removed)
        self._placer.submit({event.item_id: ts_ms for event, ts_ms in changed if isinstance(event, ItemUpsert)})

    def _decoded(self, record: Record) -> ItemEvent | None:
        try:
            return admit_item(record)
        except BadEvent:
            return None

    def _note_placed(self, appended_ms: Sequence[int]) -> None:
        if appended_ms:
            self._newest_placed_ms = max(*appended_ms, self._newest_placed_ms or 0)
        self._delays.observe(appended_ms)

    def _vector_age_s(self) -> float:
        """Since the newest record placed was appended; not a number before the first."""
        return math.nan if self._newest_placed_ms is None else (now_ms() - self._newest_placed_ms) / 1_000


class Placer:
    """The thread that places items. An item submitted again before its turn is placed once, as it is then.

    Args:
        placement: does the work.
        on_placed: told when the records of the items placed were appended, milliseconds since 1970.
    """

    def __init__(self, placement: Placement, on_placed: Callable[[Sequence[int]], None]) -> None:
        self._placement, self._on_placed = placement, on_placed
        self._waiting: dict[str, int] = {}  # item -> append time; bounded by the catalogue
        self._changed = Condition()
        self._is_stopped = False
        self._thread: Thread | None = None
        self._error: Exception | None = None

    def start(self) -> None:
        """Start the thread, or start it again after an error."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = Thread(target=self._run, name="placer", daemon=True)
            self._thread.start()

    def submit(self, appended_ms: Mapping[str, int]) -> None:
        """Queue items."""
        with self._changed:
            for item_id, ts_ms in appended_ms.items():
                self._waiting.setdefault(item_id, ts_ms)
            self._changed.notify()

    def check(self) -> None:
        """Raise what ended the thread, once; what it was at is still queued."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def stop(self, timeout_s: float) -> None:
        """End after the current micro-batch."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while batch := self._next():
            try:
                placed = self._placement.place(list(batch))
            except Exception as exc:  # raised again on the role's thread, where the runner sees it
                self._error = exc
                self.submit(batch)
                return
            self._on_placed([batch[item_id] for item_id in placed])

    def _next(self) -> dict[str, int]:
        """The next micro-batch; empty when stopped."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_stopped)
            if self._is_stopped:
                return {}
            first = list(self._waiting)[:MICRO_BATCH]
            return {item_id: self._waiting.pop(item_id) for item_id in first}
