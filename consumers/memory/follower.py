"""The roles that follow the fast memory and the blend's weights where another process learns them."""

from __future__ import annotations

import time
from collections.abc import Callable

from consumers.memory.shared import SharedMemory
from consumers.memory.shared_blend import KEY, SharedBlend
from monitoring.metrics import Metrics
from stream.events import BadEvent, decode_blend_state, decode_transition_row
from stream.log import Record
from stream.topics import CONTROL, TRANSITIONS

_WORK_S = 0.001  # of processor time at a stretch
_REST_S = 0.001


class TransitionsFollower:
    """`transitions` -> rows of the memory. Reads the compacted topic from its beginning at every start.

    Nobody waits for rows, and feeds are made beside it: it rests now and then, so that they find Python's lock free.

    Args:
        memory: what follows; nobody else changes it.
        metrics: of this process.
        worked_s: processor seconds of this thread so far.
        rest: sleeps for some seconds.
    """

    name = "transitions"
    topic = TRANSITIONS
    group = None  # each process that scores knows every row

    def __init__(
        self,
        memory: SharedMemory,
        *,
        metrics: Metrics,
        worked_s: Callable[[], float] = time.thread_time,
        rest: Callable[[float], None] = time.sleep,
    ) -> None:
        self._memory, self._metrics = memory, metrics
        self._worked_s, self._rest = worked_s, rest

    def handle(self, records: list[Record]) -> None:
        """Take over the newest of each row; handling records again ends with the same rows."""
        newest = {(record.partition, record.key): record for record in records}
        begun_s = self._worked_s()
        for record in newest.values():
            if self._worked_s() - begun_s >= _WORK_S:
                self._rest(_REST_S)
                begun_s = self._worked_s()
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
            except BadEvent:
                continue  # the next record replaces it

    def close(self) -> None:
        """Nothing is kept."""
