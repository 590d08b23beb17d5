"""The roles that follow the fast memory and the blend's weights where another process learns them."""

from __future__ import annotations

import structlog

from consumers.memory.shared import SharedMemory
from consumers.memory.shared_blend import KEY, SharedBlend
from consumers.rests import rested
from monitoring.metrics import Metrics
from stream.events import BadEvent, decode_blend_state, decode_transition_row
from stream.log import Record
from stream.topics import CONTROL, TRANSITIONS


class TransitionsFollower:
    """`transitions` -> rows of the memory. Reads the compacted topic from its beginning at every start.

    Nobody waits for rows, and feeds are made beside it: it rests now and then (`consumers.rests`).

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
        for record in rested(newest.values()):
            try:
                self._memory.take(decode_transition_row(record.value))
            except BadEvent:
                continue  # the item's next record replaces it
        self._metrics.memory_rows_total.labels(result="followed").inc(len(newest))
        self._metrics.memory_items.set(self._memory.n_items)

    def close(self) -> None:
        """Nothing is kept."""


class BlendFollower:
    """`control` -> weights of the blend.

    Who learns them runs it as well: after its file is lost, it goes on above the numbers that were used.

    Args:
        blend: gets them.
    """

    name = "blend"
    topic = CONTROL
    group = None  # each process that scores knows them

    def __init__(self, blend: SharedBlend) -> None:
        self._blend = blend

    def handle(self, records: list[Record]) -> None:
        """Take over the weights; other records of the topic are others' business."""
        for record in records:
            if record.key != KEY:
                continue
            try:
                self._blend.put(decode_blend_state(record.value))
            except BadEvent as exc:  # the next record replaces it
                structlog.get_logger().warning("blend_state_passed_over", offset=record.offset, reason=str(exc))

    def close(self) -> None:
        """Nothing is kept."""
