"""The log on Kafka under the contract suite: a fresh prefix for each test on the session's broker."""

import os
import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

from broker.cluster import Cluster
from stream.kafka.log import KafkaLog
from stream.kafka.settings import KafkaSettings
from tests.contract.harness import FILLER_KEY, TOPICS
from tests.waiting import wait_until

DEADLINE_S = 30.0
NEVER_MS = 2**62  # of a lag before compaction, as the broker has it


class KafkaHarness:
    def __init__(self, broker: Cluster) -> None:
        self._broker = broker
        self._settings = KafkaSettings((broker.addresses,), prefix=f"t{uuid.uuid4().hex[:12]}-", session_timeout_s=6.0)
        self._admin = KafkaAdminClient(**self._settings.client())
        self._log: KafkaLog | None = None

    def open(self) -> KafkaLog:
        self._log = KafkaLog(self._settings, TOPICS, max_queue=100, full_wait_s=0.05)
        return self._log

    def crash(self) -> KafkaLog:
        """Connections end: what waits is not sent, and no reader says goodbye to its group."""
        log = self._log
        assert log is not None
        log._delivery._producer.give_up()
        for reader in log._readers:
            reader._is_closed = reader._consumer._closed = True
            reader._consumer._client.close()
        log._admin.close()
        return self.open()

    @contextmanager
    def stalled(self) -> Iterator[None]:
        (node,) = self._broker.nodes
        os.kill(node.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(node.pid, signal.SIGCONT)

    def maintain(self, now_ms: int) -> None:
        ahead_ms = now_ms - time.time_ns() // 1_000_000
        for topic in TOPICS.values():
            name = self._settings.prefix + topic.name
            partitions = [TopicPartition(name, p) for p in range(topic.partitions)]
            if topic.compacted:
                self._compact(name, partitions, are_tombstones_old=ahead_ms > 0)
            elif topic.retention_ms is not None and ahead_ms > topic.retention_ms:
                self._retire(name, partitions, topic.retention_ms)

    def close(self) -> None:
        if self._log is not None:
            self._log.close()
            self._admin.delete_topics([self._settings.prefix + name for name in TOPICS])
        self._admin.close()

    def _retire(self, name: str, partitions: list[TopicPartition], retention_ms: int) -> None:
        """All that is there is older than it may be."""
        self._alter(name, {"retention.ms": "1"})
        with self._consumer() as consumer:
            ends = consumer.end_offsets(partitions)
            wait_until(lambda: consumer.beginning_offsets(partitions) == ends, f"{name} to be empty")
        self._alter(name, {"retention.ms": str(retention_ms)})

    def _compact(self, name: str, partitions: list[TopicPartition], *, are_tombstones_old: bool) -> None:
        """One pass of the cleaner. A tombstone outlives its first, and with a grace of 1 ms not its second."""
        self._alter(name, {"segment.ms": "1", "delete.retention.ms": "1", "min.cleanable.dirty.ratio": "0"})
        self._fill(partitions)  # a new segment begins: the last one is never compacted
        self._alter(name, {"min.compaction.lag.ms": "0"})
        with self._consumer() as consumer:
            consumer.assign(partitions)
            wait_until(lambda: is_compact(consumer, are_tombstones_old), f"{name} to be compacted")
        self._alter(name, {"min.compaction.lag.ms": str(NEVER_MS)})

    def _fill(self, partitions: list[TopicPartition]) -> None:
        producer = KafkaProducer(**self._settings.producer(max_request_bytes=1_000))
        for topic, partition in partitions:
            producer.send(topic, b"", FILLER_KEY, partition=partition).get(DEADLINE_S)
        producer.close()

    def _alter(self, name: str, configs: dict[str, str]) -> None:
        self._admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs)])

    @contextmanager
    def _consumer(self) -> Iterator[KafkaConsumer]:
        consumer = KafkaConsumer(**self._settings.consumer(None))
        try:
            yield consumer
        finally:
            consumer.close()


def is_compact(consumer: KafkaConsumer, are_tombstones_old: bool) -> bool:
    """Whether every key is there once, and none deleted when tombstones are old."""
    consumer.seek_to_beginning()
    ends = consumer.end_offsets(consumer.assignment())
    records = []
    while any(consumer.position(partition) < end for partition, end in ends.items()):
        for polled in consumer.poll(timeout_ms=100).values():
            records += [record for record in polled if record.key != FILLER_KEY]
    keys = [(record.partition, record.key) for record in records]
    return len(keys) == len(set(keys)) and not (are_tombstones_old and any(r.value is None for r in records))
