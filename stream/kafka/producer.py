"""kafka-python's producer, and where 3.0.12 does not tell or do what we need.

    is it ready                   prepare()
    is it done for                is_broken: a request for its id that is not answered in time is fatal to it, for ever
    it lost its id                it takes back its id when it gave up a batch that it had sent, and never asks for
                                  another: nothing would be sent or fail again. Here it asks.
    close it now                  give_up(): its own close() waits for what it cannot send, raises, and goes on running

The version is pinned; what is not its public API is used here and nowhere else.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaTimeoutError
from kafka.producer.transaction_manager import TransactionState

_LOOK_AGAIN_S = 0.005
_GIVE_UP_S = 2.0


class Producer(KafkaProducer):  # type: ignore[misc]
    """An idempotent producer."""

    def __init__(self, **config: Any) -> None:  # noqa: ANN401 - kafka-python's settings
        super().__init__(**config)
        self._take_back_id = self._transaction_manager.reset_producer_id
        self._transaction_manager.reset_producer_id = self._renew_id

    def prepare(self, topics: Iterable[str], *, timeout_s: float) -> None:
        """Learn the topics' partitions and get a producer id, so that no send() has to wait for them.

        Raises:
            KafkaError: not in time.
        """
        deadline_s = time.monotonic() + timeout_s
        for topic in topics:
            self.partitions_for(topic)  # waits max_block_ms, and is not asked again after that
            if time.monotonic() > deadline_s:
                raise KafkaTimeoutError(f"partitions of {topic!r} and others are not known after {timeout_s} s")
        while not self._transaction_manager.has_producer_id():
            if time.monotonic() > deadline_s or self.is_broken:
                raise KafkaTimeoutError(f"no producer id after {timeout_s} s")
            time.sleep(_LOOK_AGAIN_S)

    @property
    def is_broken(self) -> bool:
        """Whether nothing can be sent any more."""
        broken: bool = self._transaction_manager.has_fatal_error()
        return broken

    def give_up(self) -> None:
        """Close at once; what is not durable fails."""
        self._sender.force_close()
        self._sender.join(_GIVE_UP_S)
        with suppress(KafkaTimeoutError):  # its thread is still at the brokers; it ends with their answer
            self.close(timeout=0)

    def _renew_id(self) -> None:
        manager = self._transaction_manager
        with manager._lock:
            self._take_back_id()
            manager._current_state = TransactionState.UNINITIALIZED  # the sender asks for an id in this state only
