"""How much is left to read, asked of the brokers: an input with nothing left may be idle, any other is not."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from aiokafka.errors import KafkaError  # type: ignore[import-untyped]
from faust.types import TP

from stream.workers.acks import Source
from stream.workers.faust_app import App
from stream.workers.join import Join
from stream.workers.metrics import WorkerMetrics
from stream.workers.partition import INPUTS

_log = logging.getLogger(__name__)


class Lag:
    """Keeps the inputs' clocks and the gauge; what came with the last records is old where brokers were away.

    Args:
        app: Faust's.
        join: whose partitions these are.
        prefix: of the topics on the brokers.
        metrics: to be kept.
        clock: seconds, of which only differences count.
    """

    def __init__(
        self,
        app: App,
        join: Join,
        *,
        prefix: str,
        metrics: WorkerMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app, self._join, self._prefix, self._metrics, self._clock = app, join, prefix, metrics, clock
        self._asked_at: float | None = None

    @property
    def unanswered_s(self) -> float:
        """Seconds for which an answer of the brokers is waited for; 0 when none is."""
        asked_at = self._asked_at
        return 0.0 if asked_at is None else self._clock() - asked_at

    def expect(self) -> None:
        """From now on an answer is waited for."""
        self._asked_at = self._asked_at or self._clock()

    async def look(self) -> None:
        """Ask, and note what is idle; until the answer is there nothing is."""
        join = self._join
        join.hold_all()
        n_pauses, numbers = join.n_pauses, list(join.partitions)
        self.expect()
        try:
            ends = await self._app.consumer.highwaters(*(self._tp(t, n) for t in INPUTS for n in numbers))
        except KafkaError as exc:
            _log.warning("it is not known how much is left to read: %r", exc)
            return
        self._asked_at = None
        if n_pauses == join.n_pauses:
            self._note(ends, numbers)

    def _note(self, ends: dict[TP, int], numbers: list[int]) -> None:
        for topic in INPUTS:
            total = 0
            for number in numbers:
                lag = self._lag(topic, number, ends.get(self._tp(topic, number)))
                self._join.partitions[number].note_left(topic, is_left=lag is None or lag > 0)
                total += lag or 0
            self._metrics.lag_records.labels(topic).set(total)

    def _lag(self, topic: str, partition: int, end: int | None) -> int | None:
        """Records still to be handled; None while it is not known."""
        consumer, tp = self._app.consumer, self._tp(topic, partition)
        done: int | None = self._join.next_offsets.get(Source(topic, partition), consumer.sought.get(tp))
        if end is None or done is None:
            return None
        if self._app.chain.is_handled(Source(*tp)):  # what never came and is passed is a transaction's marker
            passed: int = consumer.passed.get(tp, 0)
            done = max(done, passed)
        return max(0, end - done)

    def _tp(self, topic: str, partition: int) -> TP:
        return TP(self._prefix + topic, partition)
