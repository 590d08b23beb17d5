"""The log on Apache Kafka: topics, partitions, offsets and groups are the brokers' own.

    publish -> bounded queue -> idempotent producer -> brokers -> readers, each with a connection of its own

`stream.log` says what it promises. Any number of processes may have it open.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from importlib.util import find_spec
from itertools import count
from threading import Lock

from kafka import TopicPartition
from kafka.admin import KafkaAdminClient, OffsetSpec

from stream.kafka.connect import answered, answering, connected
from stream.kafka.consumer import GroupConsumer
from stream.kafka.delivery import Delivery
from stream.kafka.producer import Producer
from stream.kafka.reader import KafkaReader
from stream.kafka.settings import KafkaSettings
from stream.kafka.topics import OVERHEAD_BYTES, Found, ensure_topics
from stream.log import LogClosed, Message, OnPartitions, Position
from stream.requests import Subscription, check_share, named, nothing_to_do, placed
from stream.topics import EVENTS, MAX_MESSAGE_BYTES, Topic

CLOSE_TIMEOUT_S = 30.0


def missing_checksum() -> str | None:
    """What to warn of at the start when CRC32C is computed in Python; None when its C extension is there."""
    if find_spec("crc32c") is not None:
        return None
    return (
        "the package crc32c is not installed: reading from Kafka is five times slower, writing half as fast; "
        "install kafka-python[crc32c]"
    )


class KafkaLog:
    """See `stream.log.Log`."""

    def __init__(
        self,
        settings: KafkaSettings,
        topics: Mapping[str, Topic],
        *,
        max_queue: int = 10_000,
        max_queue_bytes: int = 64 * 1024 * 1024,
        full_wait_s: float = 1.0,
    ) -> None:
        """Connect, and create the topics that are missing.

        Args:
            settings: where, and as whom.
            topics: by name; those that exist must have the same partitions and settings.
            max_queue: messages that may wait for the brokers; one publish alone may be larger.
            max_queue_bytes: of their keys and values, likewise.
            full_wait_s: how long publish() waits for room before QueueFull.

        Raises:
            LogUnavailable: no broker answers, or a topic cannot be created.
            TopicDiffers: a topic exists with other partitions or settings.
        """
        self._settings = settings
        self._topics = dict(topics)
        self._turns = {name: count() for name in topics}  # of partitions, for messages without a key
        self._admin = connected(KafkaAdminClient, settings.client())
        try:
            with answering("looking at the topics"):
                found = ensure_topics(self._admin, topics, prefix=settings.prefix)
                self.log_id = _log_id(self._admin.describe_cluster()["cluster_id"], found)
            self._delivery = Delivery(
                self._connect, max_messages=max_queue, max_bytes=max_queue_bytes, full_wait_s=full_wait_s
            )
        except BaseException:
            self._admin.close()
            raise
        self._readers: list[KafkaReader] = []
        self._opening = Lock()  # guards _readers and _is_closed
        self._is_closed = False

    def publish(self, topic: str, messages: Sequence[Message]) -> Future[list[Position]]:
        """See `stream.log.Log.publish`."""
        where = placed(named(self._topics, topic), messages, self._turns[topic])
        if not messages:
            return nothing_to_do()
        return self._delivery.send(self._settings.prefix + topic, messages, where)

    def reader(
        self,
        topic: str,
        *,
        group: str | None = None,
        partitions: Sequence[int] | None = None,
        on_gained: OnPartitions | None = None,
        on_lost: OnPartitions | None = None,
    ) -> KafkaReader:
        """See `stream.log.Log.reader`.

        Raises:
            LogUnavailable: no broker answers.
        """
        check_share(named(self._topics, topic), group, partitions)
        subscription = Subscription(group, tuple(partitions or ()), on_gained, on_lost)
        if not self._is_closed:
            consumer = connected(GroupConsumer, self._settings.consumer(group))
            reader = KafkaReader(topic, consumer, settings=self._settings, subscription=subscription)
            with self._opening:  # only now: neither other readers nor close() wait for brokers that do not answer
                if not self._is_closed:
                    self._readers = [known for known in self._readers if not known.is_closed]
                    self._readers.append(reader)
                    return reader
            reader.stop()
        raise LogClosed("the log was closed; open it again to read")

    def ends(self, topic: str) -> dict[int, int]:
        """See `stream.log.Log.ends`.

        Raises:
            LogUnavailable: the brokers do not say.
        """
        n_partitions = named(self._topics, topic).partitions
        if self._is_closed:
            raise LogClosed("the log was closed; open it again to look for its ends")
        name = self._settings.prefix + topic
        wanted = {TopicPartition(name, p): OffsetSpec.LATEST for p in range(n_partitions)}
        timeout_s = self._settings.request_timeout_s
        found = answered(
            lambda: self._admin.list_partition_offsets(wanted, timeout_ms=int(timeout_s * 1_000)),
            doing=f"looking for the ends of {topic!r}",
            timeout_s=timeout_s,
        )
        return {partition.partition: at.offset for partition, at in sorted(found.items())}

    def close(self) -> None:
        """See `stream.log.Log.close`.

        Raises:
            LogUnavailable: what was accepted could not be written in time, and is given up; or a reader could not
                leave its group. All is closed nevertheless.
        """
        with self._opening:
            if self._is_closed:
                return
            self._is_closed = True
        with ExitStack() as closing:  # all of it, whatever one of them raises
            closing.callback(self._admin.close)
            for reader in self._readers:
                closing.callback(reader.stop)
            self._delivery.close(CLOSE_TIMEOUT_S)

    def _connect(self) -> Producer:
        """A producer that is ready to send."""
        settings = self._settings
        largest = max((topic.max_message_bytes for topic in self._topics.values()), default=MAX_MESSAGE_BYTES)
        largest_request = max(largest, MAX_MESSAGE_BYTES) + OVERHEAD_BYTES
        producer = connected(Producer, settings.producer(max_request_bytes=largest_request))
        try:
            with answering("preparing to write"):
                names = [settings.prefix + name for name in self._topics]
                producer.prepare(names, timeout_s=settings.request_timeout_s)
        except BaseException:
            producer.give_up()
            raise
        return producer


def _log_id(cluster_id: str, found: Mapping[str, Found]) -> str:
    """Of the cluster and of the topic that positions are named in: one that was deleted and made again is another."""
    named = EVENTS if EVENTS in found else min(found, default="")
    topic_id = found[named].topic_id if named else ""
    return hashlib.blake2b(f"{cluster_id}/{topic_id}".encode(), digest_size=16).hexdigest()
