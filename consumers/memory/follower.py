"""The role that follows the fast memory where another process learns it."""

from __future__ import annotations

from consumers.memory.shared import SharedMemory
from monitoring.metrics import Metrics
from stream.events import BadEvent, decode_transition_row
from stream.log import Record
from stream.topics import TRANSITIONS


class TransitionsFollower:
    """`transitions` -> rows of the memory. Reads the compacted topic from its beginning at every start.

    Args:
        memory: what follows; nobody else changes it.
        metrics: of this process.
    """

    name = "transitions"
    topic = TRANSITIONS
    group = None  # each process that scores knows every row

    def __init__(self, memory: SharedMemory, *, metrics: Metrics) -> None:
        self._memory, self._metrics = memory, metrics

    def handle(self, records: list[Record]) -> None:
        """Take over the newest of each row; handling records again ends with the same rows."""
        newest = {(record.partition, record.key): record for record in records}
        for record in newest.values():
            try:
                self._memory.take(decode_transition_row(record.value))
            except BadEvent:
                continue  # the item's next record replaces it
        self._metrics.memory_rows_total.labels(result="followed").inc(len(newest))
        self._metrics.memory_items.set(self._memory.n_items)

    def close(self) -> None:
        """Nothing is kept."""
