"""What of Faust had to be replaced, where no broker is needed to see it; tests/kafka has the rest."""

import asyncio
from collections.abc import Container

import pytest
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
    """Of a consumer: notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[Container[TP]] = []

    async def getmany(self, active_partitions: Container[TP], timeout: float) -> dict[TP, list[object]]:
        self.asked.append(active_partitions)
        return {}


@pytest.fixture
def consumer() -> _Consumer:
    """Not started, and given only what these methods use."""
    consumer = object.__new__(_Consumer)
    consumer._thread = Thread()
    consumer._active_partitions, consumer._paused_partitions, consumer._buffered_partitions = set(), set(), {ONE}
    return consumer


def test_consumer_never_asks_with_something_false(consumer: _Consumer) -> None:
    asyncio.run(consumer._getmany(set(), 0.0))

    assert [bool(asked) for asked in consumer._thread.asked] == [True]


def test_room_in_a_queue_does_not_wake_a_partition_that_is_paused_until_it_is_sought(consumer: _Consumer) -> None:
    consumer._paused_partitions.add(ONE)

    consumer.on_buffer_drop(ONE)

    assert (consumer._active_partitions, consumer._buffered_partitions) == (set(), set())
