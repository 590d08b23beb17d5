"""A reader of the log on Kafka: a consumer of its own, told of its partitions on the thread that polls.

poll():  1. join or rejoin the group, when its members changed     2. give up what is another's now (on_lost)
         3. take what was gained (paused until on_gained returned)  4. read, or wait until something comes

kafka-python calls its listeners on the thread of its network, where nothing may be asked of the brokers; so they only
take notes here.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from threading import RLock

from kafka import OffsetAndMetadata, TopicPartition
from kafka.errors import (
    CommitFailedError,
    FencedInstanceIdError,
    IllegalGenerationError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)

from stream.kafka.connect import answering
from stream.kafka.consumer import GroupConsumer
from stream.kafka.notes import PartitionNotes
from stream.kafka.settings import KafkaSettings
from stream.log import LogClosed, LogUnavailable, NotAssigned, Record
from stream.requests import Subscription

SLICE_S = 0.25  # of a wait; the log may be closed by another thread
JOIN_SLICE_S = 0.02  # of a wait for the group, while there are partitions to read meanwhile
LAG_TIMEOUT_S = 1.0  # lag is a figure to look at; nobody should wait for it
CLOSE_TIMEOUT_S = 2.0  # for leaving the group; without it others wait for the session's end
_MEMBER_NO_MORE = (
    CommitFailedError,
    FencedInstanceIdError,
    IllegalGenerationError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)


class KafkaReader:
    """See `stream.log.Reader`. One thread uses it; only stop() may come from another."""

    def __init__(
        self, topic: str, consumer: GroupConsumer, *, settings: KafkaSettings, subscription: Subscription
    ) -> None:
        self._topic = topic
        self._name = settings.prefix + topic
        self._consumer = consumer
        self._subscription = subscription
        self._timeout_ms = _ms(settings.request_timeout_s)
        self._using = RLock()  # the consumer is not safe for two threads
        self._is_closed = False
        self._notes = PartitionNotes(consumer)
        consumer.read_as(topic)
        # Next offset to read, of every partition held; None is where the group has committed, or the oldest.
        self._positions: dict[int, int | None] = {}
        self._committed: dict[int, int] = {}  # by us, since each partition was gained
        if subscription.group is None:
            consumer.assign(self._of_kafka(subscription.partitions))
            self._notes.on_partitions_assigned(self._of_kafka(subscription.partitions))
            self._positions = dict.fromkeys(subscription.partitions)
        else:
            self._join()

    def poll(self, *, max_records: int, timeout_s: float) -> list[Record]:
        """See `stream.log.Reader.poll`."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            with self._using:
                self._check_open()
                left_s = max(0.0, deadline_s - time.monotonic())
                records = self._poll_once(max_records, min(left_s, SLICE_S))
            if records or time.monotonic() >= deadline_s:
                return records

    def commit(self, offsets: Mapping[int, int] | None = None) -> None:
        """See `stream.log.Reader.commit`."""
        with self._using:
            self._check_open()
            if self._subscription.group is None:
                raise NotAssigned("a reader of named partitions has no group to commit for; give group=")
            polled = {p: offset for p, offset in self._positions.items() if offset is not None}
            offsets = dict(polled if offsets is None else offsets)
            lost = sorted(set(offsets) - set(self._positions))
            if lost:
                raise NotAssigned(self._not_assigned(lost))
            news = {p: offset for p, offset in offsets.items() if self._committed.get(p) != offset}
            if news:
                self._send_commit(news)
                self._committed.update(news)

    def committed(self) -> dict[int, int]:
        """See `stream.log.Reader.committed`."""
        with self._using:
            self._check_open()
            if self._subscription.group is None:
                return dict.fromkeys(self.assigned(), 0)
            with answering(f"looking for what was committed of {self._topic!r}"):
                found = {p: self._ask_committed(p) for p in self.assigned()}
        return {p: offset or 0 for p, offset in found.items()}

    def seek(self, partition: int, offset: int) -> None:
        """See `stream.log.Reader.seek`."""
        with self._using:
            if partition not in self._positions:
                raise NotAssigned(self._not_assigned([partition]))
            self._consumer.seek(TopicPartition(self._name, partition), offset)
            self._positions[partition] = offset

    def lag(self) -> dict[int, int]:
        """See `stream.log.Reader.lag`.

        Raises:
            LogUnavailable: the brokers do not say in time.
        """
        with self._using:
            self._check_open()
            held = self._of_kafka(self.assigned())
            if not held:
                return {}
            with answering(f"looking for the ends of {self._topic!r}"):
                ends = self._consumer.end_offsets(held, timeout_ms=_ms(LAG_TIMEOUT_S))
                return {p.partition: max(0, ends[p] - self._ask_position(p)) for p in held}

    def assigned(self) -> tuple[int, ...]:
        """See `stream.log.Reader.assigned`."""
        return tuple(sorted(self._positions))

    @property
    def is_closed(self) -> bool:
        """Whether it can still be polled."""
        return self._is_closed

    def close(self) -> None:
        """See `stream.log.Reader.close`."""
        with self._using:
            if self._is_closed:
                return
            try:
                self._lose(self.assigned())
            finally:
                self.stop()

    def stop(self) -> None:
        """Leave the group and close the connection; no calls back. For the log's own close()."""
        was_closed, self._is_closed = self._is_closed, True
        with self._using:  # whoever polls lets go within a slice
            if not was_closed:
                self._notes.is_off = True
                with answering(f"leaving the readers of {self._topic!r}"):
                    self._consumer.close(autocommit=False, timeout_ms=_ms(CLOSE_TIMEOUT_S))

    def _join(self) -> None:
        try:
            with answering(f"looking for {self._name!r}"):
                self._consumer.join(self._name, listener=self._notes, timeout_ms=self._timeout_ms)
        except BaseException:
            with suppress(LogUnavailable):  # the first error says more
                self.stop()
            raise

    def _check_open(self) -> None:
        if self._is_closed:
            raise LogClosed(f"the reader of {self._topic!r} was closed; open another")

    def _not_assigned(self, partitions: Sequence[int]) -> str:
        return (
            f"partitions {partitions} of {self._topic!r} are not this reader's (it holds "
            f"{list(self.assigned())}); another reader has or will read them again"
        )

    def _of_kafka(self, partitions: Iterable[int]) -> list[TopicPartition]:
        return [TopicPartition(self._name, p) for p in partitions]

    def _poll_once(self, max_records: int, wait_s: float) -> list[Record]:
        consumer = self._consumer
        with answering(f"reading {self._topic!r}"):
            is_member = consumer.take_part(_ms(min(wait_s, JOIN_SLICE_S) if self._positions else wait_s))
        self._tell()
        with answering(f"reading {self._topic!r}"):
            return self._records(consumer.fetch(max_records, _ms(wait_s if is_member else min(wait_s, JOIN_SLICE_S))))

    def _records(self, polled: Mapping[TopicPartition, list[Record]]) -> list[Record]:
        records: list[Record] = []
        for (_, partition), found in polled.items():
            self._positions[partition] = found[-1].offset + 1
            records = records + found if records else found
        return records

    def _tell(self) -> None:
        """Call back for what was noted; losses first."""
        if self._notes.lost:
            self._lose(tuple(sorted(self._notes.lost)))
        if self._notes.gained:
            self._gain(tuple(sorted(self._notes.gained)))

    def _lose(self, partitions: tuple[int, ...]) -> None:
        try:
            if partitions and self._subscription.on_lost is not None:
                self._subscription.on_lost(partitions)
        finally:
            self._notes.lost.difference_update(partitions)
            for partition in partitions:
                self._positions.pop(partition, None)
                self._committed.pop(partition, None)

    def _gain(self, partitions: tuple[int, ...]) -> None:
        for partition in partitions:
            self._positions.setdefault(partition)
        if self._subscription.on_gained is not None:
            self._subscription.on_gained(partitions)  # an error leaves them paused, and is called back again
        self._notes.gained.difference_update(partitions)
        self._consumer.resume(*self._of_kafka(partitions))

    def _send_commit(self, offsets: Mapping[int, int]) -> None:
        of_kafka = {TopicPartition(self._name, p): OffsetAndMetadata(offset, "", -1) for p, offset in offsets.items()}
        with answering(f"committing offsets of {self._topic!r}"):
            try:
                self._consumer.commit(of_kafka, timeout_ms=self._timeout_ms)
            except _MEMBER_NO_MORE as exc:
                raise NotAssigned(
                    f"{self._not_assigned(sorted(offsets))}: the group is or was divided anew ({type(exc).__name__})"
                ) from exc

    def _ask_committed(self, partition: int) -> int | None:
        found: int | None = self._consumer.committed(TopicPartition(self._name, partition), timeout_ms=self._timeout_ms)
        return found

    def _ask_position(self, partition: TopicPartition) -> int:
        position: int | None = self._consumer.position(partition, timeout_ms=_ms(LAG_TIMEOUT_S))
        if position is None:
            raise LogUnavailable(f"where {partition} begins is not known yet; ask again later")
        return position


def _ms(seconds: float) -> int:
    return int(seconds * 1_000)
