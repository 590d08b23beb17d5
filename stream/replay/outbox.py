"""Publishing in order with a bounded amount on its way: one batch is built while the one before is written.

A batch goes out only after the one before it is durable, so a retry can never put an older value of a key
behind a newer one, and at most two batches are held in memory.
"""

from __future__ import annotations

import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass

from stream.log import Log, LogError, LogUnavailable, Message, Position, QueueFull

MAX_MESSAGES = 1_000  # of one batch
MAX_BYTES = 4_000_000
_FIRST_PAUSE_S = 0.05  # between retries, doubled each time
_MAX_PAUSE_S = 2.0


class Outbox:
    """Batches of messages to several topics, given to the log in the order they were added.

    Args:
        log: written to.
        timeout_s: total limit for one batch to become durable, retries included.
    """

    def __init__(self, log: Log, *, timeout_s: float) -> None:
        self._log = log
        self._timeout_s = timeout_s
        self._batch: dict[str, list[Message]] = {}
        self._n_messages = 0
        self._n_bytes = 0
        self._on_its_way: list[_Sent] = []

    def add(self, topic: str, *, key: bytes, value: bytes) -> None:
        """Put a message into the batch; a full batch is sent.

        Raises:
            LogUnavailable: the batch before this one was not durable in time.
        """
        self._batch.setdefault(topic, []).append(Message(key, value))
        self._n_messages += 1
        self._n_bytes += len(key) + len(value)
        if self._n_messages >= MAX_MESSAGES or self._n_bytes >= MAX_BYTES:
            self.send()

    def send(self) -> None:
        """Send what was added, once everything before it is durable.

        Raises:
            LogUnavailable: it was not in time.
        """
        self.settle()
        deadline = time.monotonic() + self._timeout_s
        for topic, messages in self._batch.items():
            self._on_its_way.append(_Sent(topic, messages, self._publish(topic, messages, deadline)))
        self._batch = {}
        self._n_messages = self._n_bytes = 0

    def settle(self) -> None:
        """Wait until everything sent is durable; what the log could not write is published again.

        Raises:
            LogUnavailable: not in time.
        """
        deadline = time.monotonic() + self._timeout_s
        for sent in self._on_its_way:
            self._settle(sent, deadline)
        self._on_its_way = []

    def _settle(self, sent: _Sent, deadline: float) -> None:
        future, pause_s = sent.future, _FIRST_PAUSE_S
        while True:
            try:
                future.result(timeout=max(0.0, deadline - time.monotonic()))
                return
            except FutureTimeout as exc:
                raise self._too_late(sent.topic, len(sent.messages)) from exc
            except LogUnavailable as exc:
                pause_s = self._pause(pause_s, deadline, exc)
            future = self._publish(sent.topic, sent.messages, deadline)

    def _publish(self, topic: str, messages: list[Message], deadline: float) -> Future[list[Position]]:
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                return self._log.publish(topic, messages)
            except (QueueFull, LogUnavailable) as exc:
                pause_s = self._pause(pause_s, deadline, exc)

    def _pause(self, pause_s: float, deadline: float, error: LogError) -> float:
        """Wait before a retry; raises the error when the time is up."""
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise error
        time.sleep(min(pause_s, left_s))
        return min(2 * pause_s, _MAX_PAUSE_S)

    def _too_late(self, topic: str, n_messages: int) -> LogUnavailable:
        return LogUnavailable(
            f"{n_messages} messages to {topic!r} not durable within {self._timeout_s} s; "
            "look at the log's disk, then replay again: event ids repeat, so nothing counts twice"
        )


@dataclass(frozen=True)
class _Sent:
    topic: str
    messages: list[Message]
    future: Future[list[Position]]
