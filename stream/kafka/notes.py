"""Which partitions changed hands, from the thread that hears of it to the one that polls."""

from __future__ import annotations

from collections.abc import Iterable

from kafka import ConsumerRebalanceListener, TopicPartition

from stream.kafka.consumer import GroupConsumer


class PartitionNotes(ConsumerRebalanceListener):  # type: ignore[misc]
    """What changed hands, noted on the network's thread while the reader's own waits for it in poll()."""

    def __init__(self, consumer: GroupConsumer) -> None:
        self._consumer = consumer
        self.gained: set[int] = set()
        self.lost: set[int] = set()
        self.is_off = False

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Nothing is read of them before on_gained has returned."""
        if not self.is_off:
            self._consumer.pause(*assigned)
            self.gained.update(p.partition for p in assigned)

    def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        """Put out of the group; somebody else may hold them already."""
        self._consumer.forget_partitions()
        self.on_partitions_revoked(lost)

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """What was gained and lost again before anybody was told, nobody needs to know."""
        if not self.is_off:
            partitions = {p.partition for p in revoked}
            self.lost |= partitions - self.gained
            self.gained -= partitions
