"""Acknowledging records in their order, once all that they led to is durable.

Faust would acknowledge a record as soon as the agent asks for the next one, and before it commits it waits for its
producer: for at most a tenth of a second, and without a look at what failed. So records are acknowledged here.
"""

from __future__ import annotations

from asyncio import Future
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol


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
        self.n_waiting = 1  # for `handled`
        self._acks = acks
        self._source = source

    def wait_for(self, sent: Future[Any]) -> None:
        """Do not acknowledge before this is done."""
        self.n_waiting += 1
        sent.add_done_callback(self._sent)

    def handled(self) -> None:
        """Everything it leads to was given to `wait_for`."""
        self._one_less()

    def _sent(self, sent: Future[Any]) -> None:
        error = None if sent.cancelled() else sent.exception()
        if error is not None:
            self._acks.fail(error)
        elif not sent.cancelled():
            self._one_less()

    def _one_less(self) -> None:
        self.n_waiting -= 1
        if not self.n_waiting:
            self._acks.drain(self._source)


class Acks:
    """The records being handled, by source.

    Args:
        fail: called with what could not be made durable; it should not return.
    """

    def __init__(self, fail: Callable[[BaseException], None]) -> None:
        self.fail = fail
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
