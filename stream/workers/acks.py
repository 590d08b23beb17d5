"""Acknowledging records in their order, once all that they led to is durable.

Faust would acknowledge a record as soon as the agent asks for the next one, and before it commits it waits for its
producer: for at most a tenth of a second, and without a look at what failed. So records are acknowledged here.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple, Protocol


class Acknowledgeable(Protocol):
    """What Faust gives an agent for a record."""

    def ack(self) -> bool:
        """The record may be committed."""
        ...


class Source(NamedTuple):
    """Records of one topic and partition are acknowledged in order."""

    topic: str
    partition: int


class Pending:
    """One record that is being handled."""

    def __init__(self, event: Acknowledgeable, acks: Acks, source: Source) -> None:
        self.event = event
        self.n_waiting = 1  # until all that it leads to was named
        self._acks = acks
        self._source = source

    def one_more(self) -> None:
        """It leads to something that is to be durable first; `one_less` is called when it is."""
        self.n_waiting += 1

    def one_less(self) -> None:
        """Something is durable; or all that it leads to was named."""
        self.n_waiting -= 1
        if not self.n_waiting:
            self._acks.drain(self._source)


class Acks:
    """The records being handled, by source."""

    def __init__(self) -> None:
        self._pending: dict[Source, deque[Pending]] = {}

    @property
    def n_pending(self) -> int:
        """Records that are handled and not acknowledged yet."""
        return sum(map(len, self._pending.values()))

    def begin(self, event: Acknowledgeable, source: Source) -> Pending:
        """A record comes."""
        pending = Pending(event, self, source)
        self._pending.setdefault(source, deque()).append(pending)
        return pending

    def drain(self, source: Source) -> None:
        """Acknowledge what is durable, up to the first that is not."""
        queue = self._pending.get(source)
        while queue and not queue[0].n_waiting:
            queue.popleft().event.ack()

    def forget(self) -> None:
        """Partitions were lost: their next owner reads again what was not committed."""
        self._pending.clear()
