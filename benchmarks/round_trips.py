"""The floor under freshness on a broker: kafka-python alone, one message produced, acknowledged and polled at a time.

Beside the load of `benchmarks.freshness`, on the same broker, with a topic of its own.
"""

from __future__ import annotations

import threading
import time
from contextlib import closing
from typing import Any, Self

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from benchmarks.brokers import opened_log
from benchmarks.load import Samples
from stream.topics import Topic

RATE_PER_S = 20.0
VALUE = b"x" * 200
TIMEOUT_S = 10.0
JOIN_S = 30.0


class RoundTrips:
    """Runs until the end of the `with`, in a thread of its own.

    Args:
        server: host:port of the broker.
    """

    def __init__(self, server: str) -> None:
        self.samples = Samples()
        self._server = server
        self._topic = Topic("round-trips", partitions=1)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="round-trips", daemon=True)

    def __enter__(self) -> Self:
        with opened_log(self._server, {self._topic.name: self._topic}):
            pass  # the topic is made
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(JOIN_S)

    def _run(self) -> None:
        partition = TopicPartition(self._topic.name, 0)
        with (
            closing(KafkaProducer(bootstrap_servers=self._server, acks="all")) as producer,
            closing(KafkaConsumer(bootstrap_servers=self._server)) as consumer,
        ):
            consumer.assign([partition])
            consumer.seek_to_end(partition)
            consumer.position(partition)
            while not self._stopping.wait(1 / RATE_PER_S):
                self._make(producer, consumer)

    def _make(self, producer: Any, consumer: Any) -> None:  # noqa: ANN401 - kafka-python has no types
        started = time.perf_counter()
        producer.send(self._topic.name, VALUE, partition=0).get(TIMEOUT_S)
        acknowledged = time.perf_counter()
        while not consumer.poll(timeout_ms=100):
            if time.perf_counter() - started > TIMEOUT_S:
                self.samples.fail(f"a message was not polled within {TIMEOUT_S} s")
                return
        self.samples.note("acknowledged", started, acknowledged)
        self.samples.note("polled", started, time.perf_counter())
