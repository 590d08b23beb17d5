"""Which topic may go on: one that is far ahead of the other in event time waits, else users' windows would overflow.

Faust hands out as many records of one topic as of the other, whatever their times: behind a long stop the topic with
fewer records would be read to its end while the other has hardly begun.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from stream.workers.join import Join

LOOK_AGAIN_S = 0.005


class Turns:
    """Asked before each record.

    Args:
        join: whose partitions these are.
    """

    def __init__(self, join: Join) -> None:
        self._join = join
        self._waiting: set[str] = set()

    async def wait(self, topic: str, partition: int, *, is_full: Callable[[], bool]) -> bool:
        """Wait until the next record of a topic and partition may be applied.

        Never for both topics at once, each with a partition that waits for the other topic. Nor for a topic whose
        queue is full: Faust fills both queues in one go, and no other record would come.

        Args:
            topic: the record's.
            partition: the record's.
            is_full: whether the topic's queue is.

        Returns:
            False when partitions were given back meanwhile: the record is to be dropped, it is read again.
        """
        n_pauses = self._join.n_pauses
        while self._is_ahead(topic, partition) and not self._waiting - {topic} and not is_full():
            self._waiting.add(topic)
            await asyncio.sleep(LOOK_AGAIN_S)
        self._waiting.discard(topic)
        return n_pauses == self._join.n_pauses

    def _is_ahead(self, topic: str, partition: int) -> bool:
        held = self._join.partitions.get(partition)
        return held is not None and held.is_ahead(topic)
