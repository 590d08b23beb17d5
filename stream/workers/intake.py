"""The way of a record from Faust into the join: agent, `merge`, check that none before it is missing, `join`.

What waits in the merge goes on with the next record of its partition, or with `handle_waiting`, once the other topic
is read to its end. While partitions change hands nothing comes in: reading goes back to what was committed.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from faust.types import TP

from stream.topics import EVENTS
from stream.workers.acks import Source
from stream.workers.faust_app import App
from stream.workers.join import Join
from stream.workers.merge import Merge
from stream.workers.watchdog import end_process

HANDLED_AT_ONCE = 200  # records between two turns of the event loop
MAX_PENDING = 4_000  # records handled and not durable yet
ROOM_S = 0.005  # between two looks whether fewer are

_log = logging.getLogger(__name__)


class Intake:
    """Closed until it is opened.

    Args:
        app: Faust's.
        join: where records go.
        prefix: of the topics on the brokers.
    """

    def __init__(self, app: App, join: Join, *, prefix: str) -> None:
        self.is_open = False
        self._app, self._join, self._prefix = app, join, prefix
        self._merge = Merge(join, pause=self._fetch_no_more, resume=self._fetch_again)

    def open(self) -> None:
        """The partitions that are held are complete: records are handled."""
        self.is_open = True

    def close(self) -> None:
        """Nothing is handled any more; what waits is let go."""
        self.is_open = False
        for event in self._merge.clear():
            self._app.consumer.let_go(event.message)

    async def take(self, topic: str, stream: Any) -> None:  # noqa: ANN401 - a Faust stream, and Faust has no types
        """An agent of one topic, for as long as its stream lasts."""
        async for event in stream.noack().events():
            if self.is_open:
                partition = event.message.partition
                self._merge.add(Source(topic, partition), event)
                self._handle_ready(partition)
            else:  # of before the partitions were given back
                self._app.consumer.let_go(event.message)
            await self._room()

    async def handle_waiting(self) -> None:
        """Handle what waited for a topic of which all is read by now."""
        for partition in list(self._join.partitions):
            while self.is_open and self._handle_ready(partition):
                await asyncio.sleep(0)
                await self._room()

    def _handle_ready(self, partition: int) -> int:
        n_handled = 0
        for topic, event in self._merge.ready(partition, HANDLED_AT_ONCE):
            self._handle(topic, event)
            n_handled += 1
        return n_handled

    def _handle(self, topic: str, event: Any) -> None:  # noqa: ANN401
        """Faust would go on with the next record after an error, and commit this one with it."""
        source, offset = Source(*event.message.tp), event.message.offset
        if not self._app.chain.handled(source, offset):
            end_process(f"records of {source} before offset {offset} were fetched and never came")
        try:
            if topic == EVENTS:
                self._join.handle_event(event)
            else:
                self._join.handle_exposure(event)
        except Exception as exc:
            _log.exception("a record cannot be handled")
            end_process(f"a record of {source} at {offset} cannot be handled: {exc!r}")

    async def _room(self) -> None:
        while self._join.acks.n_pending > MAX_PENDING:
            await asyncio.sleep(ROOM_S)

    def _fetch_no_more(self, source: Source) -> None:
        self._app.consumer.on_buffer_full(self._tp(source))

    def _fetch_again(self, source: Source) -> None:
        self._app.consumer.on_buffer_drop(self._tp(source))

    def _tp(self, source: Source) -> TP:
        return TP(self._prefix + source.topic, source.partition)
