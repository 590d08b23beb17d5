"""Records of both topics in about the order of their times: one that is far ahead waits, else windows would overflow.

Faust hands out as many records of one topic as of the other, whatever their times: behind a long stop the topic with
fewer records would be read to its end while the other has hardly begun, and what it opens would pass users' bounds.
So records come in here, and out of here into the join; a partition of which too many wait is fetched no further.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from stream.workers.acks import Source
from stream.workers.join import Join
from stream.workers.partition import INPUTS

MAX_WAITING = 2_000  # records of a topic and partition; what is fetched already still comes
FEW_WAITING = 500


class Merge:
    """What has come and was not applied yet.

    Args:
        join: whose partitions these are.
        pause: called with a topic and partition of which no more are to be fetched.
        resume: called when there is room again.
    """

    def __init__(self, join: Join, *, pause: Callable[[Source], None], resume: Callable[[Source], None]) -> None:
        self._join, self._pause, self._resume = join, pause, resume
        self._waiting: dict[Source, deque[Any]] = {}
        self._paused: set[Source] = set()

    def add(self, source: Source, event: Any) -> None:  # noqa: ANN401 - a Faust event, and Faust has no types
        """A record has come; those of a source in their order."""
        waiting = self._waiting.setdefault(source, deque())
        waiting.append(event)
        if len(waiting) >= MAX_WAITING and source not in self._paused:
            self._paused.add(source)
            self._pause(source)

    def ready(self, partition: int, limit: int) -> Iterator[tuple[str, Any]]:
        """Take out what may be applied, each to be applied before the next is asked for.

        Args:
            partition: of both topics.
            limit: records at most.

        Yields:
            The topic and the record.
        """
        for _ in range(limit):
            topic = next((topic for topic in INPUTS if self._may_go(Source(topic, partition))), None)
            if topic is None:
                return
            source = Source(topic, partition)
            waiting = self._waiting[source]
            yield topic, waiting.popleft()
            if source in self._paused and len(waiting) <= FEW_WAITING:
                self._paused.discard(source)
                self._resume(source)

    def clear(self) -> list[Any]:
        """Partitions were given back: what waits is read again.

        Returns:
            What waited.
        """
        waited = [event for waiting in self._waiting.values() for event in waiting]
        self._waiting.clear()
        for source in self._paused:
            self._resume(source)
        self._paused.clear()
        return waited

    def _may_go(self, source: Source) -> bool:
        held = self._join.partitions.get(source.partition)
        return held is not None and bool(self._waiting.get(source)) and not held.is_ahead(source.topic)
