from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any, cast

import pytest
from kafka.future import Future

from stream.kafka.delivery import Delivery
from stream.kafka.producer import Producer
from stream.log import LogUnavailable, Message, Position, QueueFull
from stream.requests import Placed
from tests.waiting import wait_until

DEADLINE_S = 20.0


class Landed:
    """What brokers say of a message that is durable."""

    partition, offset = 0, 0


class FakeProducer:
    """Messages land when they are told to."""

    def __init__(self) -> None:
        self.sent: list[Future] = []
        self.is_broken = False
        self.is_given_up = False

    def send(self, *_: object, **__: object) -> Future:
        self.sent.append(Future())
        return self.sent[-1]

    def give_up(self) -> None:
        self.is_given_up = True


def delivery(connected: Iterator[FakeProducer], full_wait_s: float = DEADLINE_S) -> Delivery:
    return Delivery(lambda: cast(Producer, next(connected)), max_messages=10, max_bytes=1_000, full_wait_s=full_wait_s)


def send(to: Delivery, n_bytes: int = 2) -> Any:
    return to.send("events", [Message(b"k", b"v" * (n_bytes - 1))], Placed([0], n_bytes))


@pytest.mark.parametrize(
    ("n_fit", "n_bytes", "waits"), [(10, 2, "10 messages of 20 bytes"), (2, 500, "2 messages of 1000 bytes")]
)
def test_what_may_wait_is_bounded_in_messages_and_in_bytes(n_fit: int, n_bytes: int, waits: str) -> None:
    producer = FakeProducer()
    under_test = delivery(iter([producer]), full_wait_s=0.01)
    for _ in range(n_fit):
        send(under_test, n_bytes)
    with pytest.raises(QueueFull, match=f"{waits} wait for the brokers, limits are 10 and 1000; slow down"):
        send(under_test, n_bytes)
    producer.sent[0].success(Landed)
    send(under_test, n_bytes)


def test_one_publish_alone_may_be_of_any_size() -> None:
    producer = FakeProducer()
    under_test = delivery(iter([producer]))
    future = send(under_test, 5_000)
    producer.sent[0].success(Landed)
    assert future.result(DEADLINE_S) == [Position(0, 0)]


def test_a_flush_waits_for_what_was_published_before_it_whatever_is_durable_since() -> None:
    producer = FakeProducer()
    under_test = delivery(iter([producer]))
    send(under_test)
    with ThreadPoolExecutor(1) as pool:
        flushing = pool.submit(under_test.flush, DEADLINE_S)
        wait_until(lambda: under_test._changed._waiters, "the flush to wait")
        send(under_test)
        producer.sent[1].success(Landed)
        with pytest.raises(TimeoutError):
            flushing.result(0.2)
        producer.sent[0].success(Landed)
        flushing.result(DEADLINE_S)


def test_a_flush_says_how_many_writes_are_not_durable() -> None:
    producer = FakeProducer()
    under_test = delivery(iter([producer]))
    for _ in range(3):
        send(under_test)
    producer.sent[1].success(Landed)
    with pytest.raises(LogUnavailable, match="2 writes are not durable after timeout_s=0"):
        under_test.flush(0)


class Absent:
    """Brokers that answer once, and then not before they may."""

    def __init__(self, producers: Sequence[FakeProducer]) -> None:
        self.may_answer = Event()
        self._producers = iter(producers)
        self._is_first = True

    def __iter__(self) -> Iterator[FakeProducer]:
        return self

    def __next__(self) -> FakeProducer:
        if not self._is_first:
            assert self.may_answer.wait(DEADLINE_S)
        self._is_first = False
        return next(self._producers)


def test_nobody_waits_longer_than_for_room_while_a_broken_producer_is_replaced() -> None:
    broken, new = FakeProducer(), FakeProducer()
    brokers = Absent([broken, new])
    under_test = delivery(brokers, full_wait_s=0.01)
    broken.is_broken = True
    for _ in range(2):
        with pytest.raises(LogUnavailable, match="has not found the brokers yet"):
            send(under_test).result(0)
    brokers.may_answer.set()
    under_test._replacement.join(DEADLINE_S)
    send(under_test)
    assert (broken.is_given_up, len(new.sent)) == (True, 1)


def test_a_producer_that_comes_after_the_close_is_given_up() -> None:
    broken, new = FakeProducer(), FakeProducer()
    brokers = Absent([broken, new])
    under_test = delivery(brokers, full_wait_s=0.01)
    broken.is_broken = True
    with pytest.raises(LogUnavailable):
        send(under_test).result(0)
    under_test.close(DEADLINE_S)
    brokers.may_answer.set()
    under_test._replacement.join(DEADLINE_S)
    assert (broken.is_given_up, new.is_given_up) == (True, True)
