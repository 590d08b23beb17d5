"""kafka-python's producer, and the two things it does not tell: whether it is ready, and whether it is done for.

The version is pinned; what is not its public API is used here and nowhere else. In 3.0.12 a request for its producer
id that is not answered in time is fatal: the producer then refuses everything for ever, and a new one is needed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from kafka import KafkaProducer
from kafka.errors import KafkaTimeoutError

_LOOK_AGAIN_S = 0.005


class Producer(KafkaProducer):  # type: ignore[misc]
    """An idempotent producer."""

    def prepare(self, topics: Iterable[str], *, timeout_s: float) -> None:
        """Learn the topics' partitions and get a producer id, so that no send() has to wait for them.

        Raises:
            KafkaError: not in time.
        """
        deadline_s = time.monotonic() + timeout_s
        for topic in topics:
            self.partitions_for(topic)
        while not self._transaction_manager.has_producer_id():
            if time.monotonic() > deadline_s or self.is_broken:
                raise KafkaTimeoutError(f"no producer id after {timeout_s} s")
            time.sleep(_LOOK_AGAIN_S)

    @property
    def is_broken(self) -> bool:
        """Whether nothing can be sent any more."""
        broken: bool = self._transaction_manager.has_fatal_error()
        return broken
