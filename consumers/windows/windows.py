"""All attribution windows of this process: two topics in, outcomes out.

For each batch of a topic, in this order, so that a crash anywhere repeats outcomes and never loses one:
1. note its records in the users' windows; what is known already changes nothing;
2. publish the outcomes of exposures that are due and wait until they are durable;
3. forget those exposures, and move the offset.
Snapshots are written between batches: state and the offsets of both topics, one moment of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock

from consumers.windows.partition import Closing, PartitionWindows, offsets_of
from consumers.windows.snapshots import WindowSnapshots
from consumers.writing import SnapshotFailures, publish_durably
from monitoring.metrics import Metrics
from stream.events import ArmCount, Exposure, Interaction, encode
from stream.log import Log, Message
from stream.topics import OUTCOMES
from stream.windows.arms import ArmCounts
from stream.windows.attribution import AttributionSettings

_CLOSE_USERS = 500  # whose outcomes are published at once


class Windows:
    """The windows of the partitions held here, for the roles that read `events` and `exposures`. Any thread."""

    def __init__(
        self,
        root: Path,
        log: Log,
        *,
        settings: AttributionSettings,
        metrics: Metrics,
        snapshot_s: float = 60.0,
        idle_s: float = 10.0,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Hold nothing yet; partitions come with `gain`.

        Args:
            root: folder of the snapshots; made if it is missing.
            log: for outcomes.
            settings: of the join.
            metrics: of this process.
            snapshot_s: seconds between snapshots; retention must be at least twice as long.
            idle_s: wall seconds after which a silent topic does not hold stream time.
            wall: seconds since 1970.
        """
        self.log, self.metrics, self.settings = log, metrics, settings
        self._snapshots = WindowSnapshots(root, log.log_id)
        self._snapshot_s, self._idle_s, self._wall = snapshot_s, idle_s, wall
        self._saved_at = time.monotonic()
        self._failures = SnapshotFailures()
        self._lock = Lock()  # of what follows, and of saving
        self._held: dict[int, PartitionWindows] = {}
        self._readers: dict[int, set[str]] = {}  # topics read, by partition

    def gain(self, topic: str, partitions: Sequence[int]) -> Mapping[int, int]:
        """A reader of the topic has these partitions from now on.

        Returns:
            Next offset to read, by partition.
        """
        with self._lock:
            for partition in partitions:
                if partition not in self._held:
                    self._held[partition] = self._load(partition)
                self._readers.setdefault(partition, set()).add(topic)
                self._held[partition].clock.hold(topic, is_held=True)
        offsets = self.positions(topic)
        return {partition: offsets[partition] for partition in partitions}

    def rewind(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Stand at these offsets of the topic, by partition, with the windows as they are, and save that."""
        for partition, offset in offsets.items():
            windows = self._held[partition]
            with windows.changed:
                windows.next_offsets[topic] = offset
        self.save()

    def lose(self, topic: str, partitions: Sequence[int]) -> None:
        """A reader of the topic has these partitions no longer; what nobody reads is saved and let go."""
        with self._lock:
            for partition in partitions:
                readers = self._readers.get(partition, set())
                readers.discard(topic)
                if partition in self._held and not readers:
                    self._save(partition, self._held.pop(partition))

    def positions(self, topic: str) -> dict[int, int]:
        """Next offset to read of the topic, by partition read."""
        return {
            partition: offset
            for partition, offset in offsets_of(dict(self._held), topic).items()
            if topic in self._readers[partition]
        }

    def apply(self, topic: str, partition: int, records: Sequence[Interaction | Exposure], *, next_offset: int) -> None:
        """Note records of a partition in order, and publish what closes; applying them again changes nothing.

        Args:
            topic: `events` or `exposures`.
            partition: held.
            records: decoded, of that topic.
            next_offset: of the topic, once these are applied.

        Raises:
            LogUnavailable: outcomes are not durable; apply the same again.
            QueueFull: likewise.
        """
        windows = self._held[partition]
        with windows.changed:
            n_lost = windows.add_all(topic, records)
            self._close_due(windows)
            windows.next_offsets[topic] = next_offset
            windows.changed.notify_all()
        self.metrics.windows_late_total.labels(topic=topic).inc(n_lost)

    def settle(self, topic: str) -> None:
        """After a batch, or when nothing came: note what is still to be read, close what is due, save in time.

        Raises:
            LogUnavailable: as `apply`.
        """
        ends = self.log.ends(topic)
        for partition, windows in list(self._held.items()):
            with windows.changed:
                windows.clock.hold(topic, is_held=windows.next_offsets[topic] < ends[partition])
                windows.changed.notify_all()
                self._close_due(windows)
        self.metrics.window_users.set(sum(windows.n_users for windows in list(self._held.values())))
        if time.monotonic() - self._saved_at >= self._snapshot_s:
            self.save()

    def is_ahead(self, topic: str, partition: int) -> bool:
        """Whether the topic is to wait, being far ahead of the other one in event time."""
        windows = self._held[partition]
        with windows.changed:
            return windows.is_ahead(topic)

    def wait_for_other(self, topic: str, partition: int, timeout_s: float) -> None:
        """Let the other topic catch up; after the timeout this one may go on, and windows hold more."""
        self._held[partition].wait_for_other(topic, timeout_s)

    def arms(self) -> list[ArmCount]:
        """What each arm showed and what followed, by hour, of the partitions held."""
        counts = ArmCounts()
        for windows in list(self._held.values()):
            with windows.changed:
                counts.add_all(windows.arms.hours())
        return counts.counts()

    def save(self) -> None:
        """Write every partition that moved; what cannot be written is told, and the file of the last time kept."""
        with self._lock:
            self._saved_at = time.monotonic()
            for partition, windows in self._held.items():
                self._save(partition, windows)

    def _save(self, partition: int, windows: PartitionWindows) -> None:
        with self._failures.noted():
            self._snapshots.save(partition, windows)

    def _load(self, partition: int) -> PartitionWindows:
        windows = PartitionWindows(self.settings, idle_s=self._idle_s, wall=self._wall)
        saved = self._snapshots.load(partition)
        if saved is not None:
            windows.restore(saved)
        return windows

    def _close_due(self, windows: PartitionWindows) -> None:
        while (due := windows.closing(_CLOSE_USERS)).users:
            try:
                self._publish(due)
            except BaseException:
                windows.put_back(due)
                raise
            windows.close(due)
            self.metrics.outcomes_total.inc(len(due.outcomes))

    def _publish(self, due: Closing) -> None:
        if not due.outcomes:
            return
        messages = [Message(outcome.user_id.encode(), encode(outcome)) for outcome in due.outcomes]
        publish_durably(self.log, OUTCOMES, messages)
