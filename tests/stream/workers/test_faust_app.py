"""What of Faust had to be replaced, where no broker is needed to see it; tests/kafka has the rest."""

import asyncio
from collections.abc import Container
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.subscription_state import SubscriptionState
from faust.transport.drivers import aiokafka
from faust.types import TP

from stream.workers.faust_app import Readable, _Consumer

ONE, TWO = TP("events", 1), TP("events", 2)


def test_readable_without_partitions_is_still_true() -> None:
    readable = Readable(set())

    assert bool(readable)  # to aiokafka what is false means all partitions
    assert ONE not in readable


def test_readable_follows_what_is_paused_and_resumed_while_a_request_waits() -> None:
    active = {ONE}
    readable = Readable(active)

    active.remove(ONE)
    active.add(TWO)

    assert (ONE in readable, TWO in readable) == (False, True)


class Thread:
    """Of a consumer: notes what it was asked for; each time, all is read up to offset 10."""

    def __init__(self) -> None:
        self.asked: list[Container[TP]] = []
        self.subscriptions: Any = None

    def read(self, *tps: TP) -> None:
        """These are read now, from offset 3."""
        self.subscriptions = SubscriptionState()
        self.subscriptions.assign_from_user(tps)
        for tp in tps:
            self.subscriptions.subscription.assignment.state_value(tp).seek(3)

    async def getmany(self, active_partitions: Container[TP], timeout: float) -> dict[TP, list[object]]:
        self.asked.append(active_partitions)
        for tp in self.subscriptions.assigned_partitions() if self.subscriptions else ():
            self.subscriptions.subscription.assignment.state_value(tp).consumed_to(10)
        return {}

    def _ensure_consumer(self) -> Any:
        return SimpleNamespace(_subscription=self.subscriptions)


@pytest.fixture
def consumer() -> _Consumer:
    """Not started, and given only what these methods use."""
    consumer = object.__new__(_Consumer)
    consumer._thread, consumer.sought = Thread(), {}
    consumer._active_partitions, consumer._paused_partitions, consumer._buffered_partitions = set(), set(), {ONE}
    return consumer


def test_consumer_never_asks_with_something_false(consumer: _Consumer) -> None:
    asyncio.run(consumer._getmany(set(), 0.0))

    assert [bool(asked) for asked in consumer._thread.asked] == [True]


def test_room_in_a_queue_does_not_wake_a_partition_that_is_paused_until_it_is_sought(consumer: _Consumer) -> None:
    consumer._paused_partitions.add(ONE)

    consumer.on_buffer_drop(ONE)

    assert (consumer._active_partitions, consumer._buffered_partitions) == (set(), set())


def test_position_is_passed_once_the_records_before_it_were_handed_on(consumer: _Consumer) -> None:
    async def polls() -> list[dict[TP, int]]:
        consumer._thread.read(ONE, TWO)
        consumer.sought = {ONE: 3}
        passed = []
        for _ in range(2):
            await consumer._getmany({ONE}, 0.0)
            passed.append(consumer.passed)
        return passed

    assert asyncio.run(polls()) == [{ONE: 3}, {ONE: 10}]


def test_partition_that_is_not_assigned_is_not_passed(consumer: _Consumer) -> None:
    async def poll() -> None:
        consumer._thread.read(TWO)
        consumer.sought = {ONE: 3}
        await consumer._getmany({ONE}, 0.0)

    asyncio.run(poll())

    assert consumer.passed == {}


def test_nothing_is_passed_from_a_rebalance_on(consumer: _Consumer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def give_back(_: object, revoked: set[TP]) -> None:
        """Faust's own part, which needs an app."""

    monkeypatch.setattr(aiokafka.Consumer, "on_partitions_revoked", give_back)
    consumer.sought, consumer.passed = {ONE: 3}, {ONE: 10}

    asyncio.run(consumer.on_partitions_revoked({ONE}))

    assert (consumer.sought, consumer.passed) == ({}, {})
