"""What a worker writes to the log: batches, one on its way for each partition, so that order needs no thought.

Faust sends each record by itself, with a dozen turns of the event loop for it, and tells nobody when one failed.
Here records wait while a batch is on its way and go together with the next; a newer value of a table's key takes the
place of one that still waits. What a record was for is told once it is durable; a failure is reported once, and final.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer  # type: ignore[import-untyped]

Done = Callable[[], None]
Queued = tuple[bytes, bytes, list[Done]]  # key, value, who is told
OnDurable = Callable[[int, list[Queued]], None]
BATCH_BYTES = 262_144
LINGER_S = 0.02  # for more to go with the next batch; nobody waits for these records by the millisecond
FULL = 500  # records that go at once
DRAIN_S = 0.005


class Target(NamedTuple):
    """Where to: a topic as brokers name it, and a partition."""

    topic: str
    partition: int


class Lane:
    """The records of one partition, in order. Made by `Outbox.lane`.

    Args:
        outbox: sends.
        target: where to.
        keeps_newest: only the newest value of a key matters.
        on_durable: called for each batch, with the offset of its last record and what it was.
    """

    def __init__(self, outbox: Outbox, target: Target, *, keeps_newest: bool, on_durable: OnDurable | None) -> None:
        self._outbox, self._target = outbox, target
        self._keeps_newest, self._on_durable = keeps_newest, on_durable
        self._waiting: dict[object, Queued] = {}
        self._n_put = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether all is durable."""
        return self._task is None

    def put(self, key: bytes, value: bytes, done: Done, *, goes_last: bool = False) -> None:
        """Queue a record.

        Args:
            key: its key.
            value: its value.
            done: called once it, or a newer value of the key, is durable.
            goes_last: not before anything queued so far, also where it takes an older one's place.
        """
        self._n_put += 1
        slot: object = key if self._keeps_newest else self._n_put
        older = self._waiting.pop(slot, None) if goes_last else self._waiting.get(slot)
        calls = older[2] if older else []
        calls.append(done)
        self._waiting[slot] = (key, value, calls)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._send_all())

    async def _send_all(self) -> None:
        try:
            while self._waiting:
                if len(self._waiting) < FULL:
                    await asyncio.sleep(LINGER_S)
                await self._send_batch()
        except Exception as exc:
            self._outbox.fail(exc)
        finally:
            self._task = None

    async def _send_batch(self) -> None:
        producer = self._outbox.producer
        batch = producer.create_batch()
        taken: list[Queued] = []
        for slot in list(self._waiting):
            queued = self._waiting[slot]
            if batch.append(timestamp=None, key=queued[0], value=queued[1]) is None:
                break
            taken.append(queued)
            del self._waiting[slot]
        batch.close()
        self._outbox.before_send()
        sent = await (await producer.send_batch(batch, self._target.topic, partition=self._target.partition))
        if self._on_durable is not None:
            self._on_durable(sent.offset + len(taken) - 1, taken)
        for _, _, calls in taken:
            for call in calls:
                call()


class Outbox:
    """All that a worker writes.

    Args:
        config: of aiokafka's producer.
        before_send: called before each batch; ends the process when it must not write any more.
        fail: called with what the log did not take; does not return.
    """

    def __init__(
        self, config: Mapping[str, Any], *, before_send: Callable[[], None], fail: Callable[[BaseException], None]
    ) -> None:
        self.before_send, self.fail = before_send, fail
        self.producer: AIOKafkaProducer
        self._config = dict(config)
        self._lanes: dict[Target, Lane] = {}

    async def start(self) -> None:
        """Connect.

        Raises:
            aiokafka.errors.KafkaError: no broker answers.
        """
        self.producer = AIOKafkaProducer(**self._config, acks="all", max_batch_size=BATCH_BYTES)
        await self.producer.start()

    async def stop(self) -> None:
        """Disconnect; what still waits is not sent."""
        await self.producer.stop()

    def lane(self, target: Target, *, keeps_newest: bool = False, on_durable: OnDurable | None = None) -> Lane:
        """The way to one partition; made at the first call."""
        lane = self._lanes.get(target)
        if lane is None:
            lane = self._lanes[target] = Lane(self, target, keeps_newest=keeps_newest, on_durable=on_durable)
        return lane

    async def flush(self, timeout_s: float) -> None:
        """Wait until everything is durable.

        Raises:
            TimeoutError: not within timeout_s.
        """
        async with asyncio.timeout(timeout_s):
            while not all(lane.is_idle for lane in self._lanes.values()):
                await asyncio.sleep(DRAIN_S)
