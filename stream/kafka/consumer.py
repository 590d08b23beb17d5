"""kafka-python's consumer, with its poll() taken apart. Whatever is not its public API is used here and nowhere else.

The version is pinned, and the contract suite runs on it. What its own poll() of 3.0.12 does, and this one does not:
  - a join that ends between two polls may never be taken up (the member then neither reads nor sends heartbeats)
  - it joins before it knows the topic's partitions, and as leader then hands out none of them
  - it reads nothing while other members take their time to join, though its partitions stay its own
  - put out of its group, it joins again claiming what it held, and takes that from who holds it now
"""

from __future__ import annotations

import time

from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition
from kafka.coordinator.base import MemberState
from kafka.util import Timer

from stream.kafka.records import records_of
from stream.log import Record

IDLE_MS = 50  # pause with nothing to read: no partitions yet, or all of them paused


class GroupConsumer(KafkaConsumer):  # type: ignore[misc]
    """poll() in two steps: `take_part`, where partitions change hands, and `fetch`."""

    def read_as(self, topic: str) -> None:
        """Give what is fetched as our records of this topic."""
        self._fetcher.PartitionRecords = records_of(topic)

    def join(self, topic: str, *, listener: ConsumerRebalanceListener, timeout_ms: int) -> None:
        """Subscribe to a topic, once its partitions are known.

        Raises:
            KafkaError: they are not known in time.
        """
        self.subscribe([topic], listener=listener)
        self._net.run(self._manager.wait_for, self._cluster.request_update(), timeout_ms)

    def take_part(self, timeout_ms: int) -> bool:
        """Do what the group asks for; only here the listener is called, on the network's thread, while this one waits.

        Returns:
            False: the group is not divided yet. What was held before is still held.
        """
        coordinator = self._coordinator
        if coordinator.group_id is None:
            return True
        if coordinator.rejoining:
            self._take_up_join()
        elif not coordinator.need_rejoin() and not coordinator.coordinator_unknown():
            coordinator.poll_heartbeat()
            return True
        is_member: bool = coordinator.poll(timeout_ms=timeout_ms)
        return is_member

    def fetch(self, max_records: int, timeout_ms: int) -> dict[TopicPartition, list[Record]]:
        """Records of the partitions held, when there are any in time."""
        timer = Timer(timeout_ms)
        self._refresh_committed_offsets(timeout_ms=timer.timeout_ms)
        self._fetcher.reset_offsets_if_needed()
        self._fetcher.maybe_validate_positions()
        self._fetcher.validate_offsets_if_needed()
        wait_ms = timer.timeout_ms
        if self._coordinator.group_id is not None:
            wait_ms = min(wait_ms, self._coordinator.time_to_next_poll() * 1_000)
        polled: dict[TopicPartition, list[Record]]
        polled, is_idle = self._fetcher.fetch_records(max_records, timeout_ms=wait_ms)
        if is_idle and not polled:
            time.sleep(min(wait_ms, IDLE_MS) / 1_000)
        return polled

    def forget_partitions(self) -> None:
        """Do not claim again what was lost."""
        for assignor in self._coordinator._assignors.values():
            assignor.member_assignment = None

    def _take_up_join(self) -> None:
        """The end of the coordinator's join_group_async(), for a join that ended while nobody waited for it."""
        coordinator = self._coordinator
        join = coordinator._join_task
        if join is None or not join.is_done:
            return
        coordinator._join_task = None
        if join.succeeded():
            self._net.run(self._end_join, join.value)
        else:
            coordinator.request_rejoin()

    async def _end_join(self, assignment: bytes) -> None:
        coordinator = self._coordinator
        with coordinator._lock:
            coordinator.rejoining = False
            coordinator.rejoin_needed = False
            coordinator.state = MemberState.STABLE
            coordinator._enable_heartbeat()
        generation = coordinator._generation
        await coordinator._on_join_complete_async(
            generation.generation_id, generation.member_id, generation.protocol, assignment
        )
