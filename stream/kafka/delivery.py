"""Messages on their way to the brokers: a bounded queue before kafka-python's producer, whose own has no bound."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from itertools import count
from threading import Condition, Lock, Thread
from typing import Any

from stream.kafka.connect import reason
from stream.kafka.producer import Producer
from stream.log import LogClosed, LogUnavailable, Message, Position, QueueFull
from stream.requests import Placed

_log = logging.getLogger(__name__)


class Delivery:
    """Counts what was given to the producer and is neither durable nor failed yet."""

    def __init__(
        self, connect: Callable[[], Producer], *, max_messages: int, max_bytes: int, full_wait_s: float
    ) -> None:
        """Connect.

        Args:
            connect: makes a producer that is ready; again when one is broken.
            max_messages: that may wait; one send alone may be larger.
            max_bytes: of their keys and values, likewise.
            full_wait_s: how long send() waits for room.
        """
        self._connect = connect
        self._replacing = Lock()  # guards _producer, _replacement and that no producer comes after close()
        self._producer = connect()
        self._replacement: Thread | None = None
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._full_wait_s = full_wait_s
        self._changed = Condition()
        self._n_messages = 0  # that wait
        self._n_bytes = 0
        self._n_given = 0  # publishes, ever
        self._open: dict[int, Placed] = {}  # those that are neither durable nor failed, by number, ascending
        self._is_closed = False

    def send(self, name: str, messages: Sequence[Message], placed: Placed) -> Future[list[Position]]:
        """Give messages to the producer, in order.

        Args:
            name: of the topic, on the brokers.
            messages: at least one.
            placed: where each message goes, and their size.

        Raises:
            QueueFull: no room within the wait.
            LogClosed: closed.
        """
        publish = _Publish(self, self._take_room(placed), len(messages))
        try:
            producer = self._working_producer()
            for (key, value), partition in zip(messages, placed.partitions, strict=True):
                publish.sent.append(producer.send(name, value, key, partition=partition))
        except Exception as exc:  # the producer's own, of many kinds: what was sent before it may be written
            publish.fail(exc)
            return publish.future
        for sent in publish.sent:
            sent.add_both(publish.land)
        return publish.future

    def flush(self, timeout_s: float) -> None:
        """Wait until all that was sent so far is durable or failed.

        Raises:
            LogUnavailable: not within timeout_s.
        """
        with self._changed:
            end = self._n_given
            if not self._changed.wait_for(lambda: next(iter(self._open), end) >= end, timeout_s):
                n_open = sum(number < end for number in self._open)
                raise LogUnavailable(
                    f"{n_open} writes are not durable after timeout_s={timeout_s}; "
                    "the brokers are slow or gone, wait longer"
                )

    def close(self, timeout_s: float) -> None:
        """Take nothing more, and send what was taken.

        Raises:
            LogUnavailable: not all of it within timeout_s; the rest is given up.
        """
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        try:
            self.flush(timeout_s)
        finally:
            with self._replacing:
                producer = self._producer
            producer.give_up()

    def done(self, number: int) -> None:
        """All messages of a publish are durable or failed."""
        with self._changed:
            placed = self._open.pop(number)
            self._n_messages -= len(placed.partitions)
            self._n_bytes -= placed.n_bytes
            self._changed.notify_all()

    def _working_producer(self) -> Producer:
        """The producer; a broken one is replaced on a thread, since brokers may take long to answer.

        Raises:
            LogUnavailable: not replaced within the wait for room.
        """
        with self._replacing:
            if not self._producer.is_broken:
                return self._producer
            if self._replacement is None or not self._replacement.is_alive():
                self._replacement = Thread(target=self._replace, name="producer-replacement", daemon=True)
                self._replacement.start()
            replacement = self._replacement
        replacement.join(self._full_wait_s)
        with self._replacing:
            if not self._producer.is_broken:
                return self._producer
        raise LogUnavailable("the producer was given up, and its successor has not found the brokers yet")

    def _replace(self) -> None:
        self._producer.give_up()
        try:
            producer = self._connect()
        except LogUnavailable as exc:
            _log.warning("no producer can be had, the next publish tries again: %s", exc)
            return
        with self._replacing:
            if not self._is_closed:
                self._producer = producer
                return
        producer.give_up()

    def _take_room(self, placed: Placed) -> int:
        """Wait for room; the number of the publish."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._is_closed or self._has_room(placed), self._full_wait_s):
                raise QueueFull(
                    f"{self._n_messages} messages of {self._n_bytes} bytes wait for the brokers, limits are "
                    f"{self._max_messages} and {self._max_bytes}; slow down and publish again"
                )
            if self._is_closed:
                raise LogClosed("the log was closed; open it again to publish")
            self._n_messages += len(placed.partitions)
            self._n_bytes += placed.n_bytes
            number = self._n_given
            self._open[number] = placed
            self._n_given += 1
            return number

    def _has_room(self, placed: Placed) -> bool:
        n_messages = self._n_messages + len(placed.partitions)
        fits = n_messages <= self._max_messages and self._n_bytes + placed.n_bytes <= self._max_bytes
        return fits or not self._n_messages


class _Publish:
    """One publish: done when the last of its messages is."""

    def __init__(self, delivery: Delivery, number: int, n_messages: int) -> None:
        self.future: Future[list[Position]] = Future()
        self.future.set_running_or_notify_cancel()  # what is on its way cannot be called back
        self.sent: list[Any] = []
        self._delivery = delivery
        self._number = number
        self._n_messages = n_messages
        self._landed = count(1)  # its next() is atomic: messages land on the producer's thread and on ours

    def land(self, _: object) -> None:
        """One more message is durable or failed."""
        if next(self._landed) == self._n_messages:
            self._finish()

    def fail(self, exc: Exception) -> None:
        """The rest was not sent."""
        self._delivery.done(self._number)
        self.future.set_exception(_unavailable(exc))

    def _finish(self) -> None:
        self._delivery.done(self._number)
        error = next((sent.exception for sent in self.sent if sent.exception is not None), None)
        if error is None:
            self.future.set_result([Position(sent.value.partition, sent.value.offset) for sent in self.sent])
        else:
            self.future.set_exception(_unavailable(error))


def _unavailable(exc: BaseException) -> LogUnavailable:
    unavailable = LogUnavailable(
        f"not acknowledged by the brokers: {reason(exc)}; some of it may be written, publish it again"
    )
    unavailable.__cause__ = exc
    return unavailable
