"""The role that applies `events` to the users' sequences, and keeps them in snapshots.

The offsets it stands at lie in the snapshots, with the state. A restart is: load the snapshot, read on from its
offset. Applying an event twice changes nothing, so a snapshot is only ever too old, never wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from threading import Event, Thread

import numpy as np
import structlog

from consumers.delays import Delays
from consumers.sequences.snapshots import (
    DamagedSnapshot,
    Origin,
    PartitionState,
    check_kinds,
    offset_of,
    restore,
    snapshot,
)
from consumers.sequences.store import APPLIED, DUPLICATE, STALE
from consumers.sequences.user_sequences import UserSequences
from consumers.snapshot_files import UNFINISHED_S, clear_unfinished, set_aside
from consumers.writing import SnapshotFailures
from monitoring.metrics import Metrics
from stream.admission import admit
from stream.dead_letters import DeadLetters
from stream.events import BadEvent, Interaction
from stream.kinds import DEFAULT_KINDS, EventKinds
from stream.log import Log, Record
from stream.topics import EVENTS

_FLUSH_S = 10.0
_RESULTS = {APPLIED: "applied", DUPLICATE: "duplicate", STALE: "stale"}


class Snapshots:
    """The snapshot files of one log's partitions, in one folder."""

    def __init__(
        self, root: Path, log_id: str, *, kinds: EventKinds = DEFAULT_KINDS, unfinished_s: float = UNFINISHED_S
    ) -> None:
        """Make the folder if it is missing; clear away snapshots that were never finished.

        Args:
            root: the folder.
            log_id: of the log that the offsets are of.
            kinds: the set in force, whose numbers are in the files.
            unfinished_s: age from which on nobody is at one any more; 0 where nobody shares the folder.

        Raises:
            KindsDiffer: a file's kinds are not the first of those in force.
        """
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self._log_id, self._kinds = log_id, kinds.names
        for path in sorted(root.glob("events-*.snapshot")):
            check_kinds(path, log_id, self._kinds)
        clear_unfinished(root, unfinished_s)

    def path(self, partition: int) -> Path:
        """The partition's file."""
        return self.root / f"events-{partition}.snapshot"

    def save(self, partition: int, state: PartitionState) -> None:
        """Write the partition, unless the file stands there already, or further on.

        Further on it is when another replica holds the partition by now, and this one has not noticed yet.

        Raises:
            OSError: not written; the file of the last time is still there.
        """
        path = self.path(partition)
        kept = offset_of(path, self._log_id)
        if kept is None or kept < state.next_offset:
            self.replace(partition, state)

    def replace(self, partition: int, state: PartitionState) -> None:
        """Write the partition, wherever the file stands.

        Raises:
            OSError: not written; the file of the last time is still there.
        """
        snapshot(state, self.path(partition), self._log_id, kinds=self._kinds)

    def load(self, partition: int, sequences: UserSequences) -> PartitionState | None:
        """The partition as it was saved; None when there is nothing to use, and then it must be rebuilt.

        Raises:
            KindsDiffer: the file's kinds are not the first of those in force.
        """
        path = self.path(partition)
        try:
            return restore(path, Origin(self._log_id, sequences.length, sequences.max_seen, self._kinds))
        except FileNotFoundError:
            return None
        except DamagedSnapshot as exc:
            set_aside(path, exc)
            return None


class SequencesRole:
    """`events` -> decode -> apply -> positions. An `OffsetOwner`."""

    name = "sequences"
    topic = EVENTS
    group = "sequences"

    def __init__(
        self,
        sequences: UserSequences,
        snapshots: Snapshots,
        log: Log,
        *,
        kinds: EventKinds,
        metrics: Metrics,
        snapshot_s: float = 60.0,
    ) -> None:
        """Hold nothing yet; partitions come with `gained`.

        Args:
            sequences: where events are applied.
            snapshots: where partitions are kept.
            log: for dead letters.
            kinds: the set in force.
            metrics: of this process.
            snapshot_s: seconds between snapshots; retention must be at least twice as long.
        """
        self._sequences, self._snapshots = sequences, snapshots
        self._log, self._dead_letters = log, DeadLetters(log)
        self._kinds, self._metrics = kinds, metrics
        self._delays = Delays(metrics.event_to_state_seconds)
        self._interval_s = snapshot_s
        self._failures = SnapshotFailures()
        self._stop = Event()
        self._saver: Thread | None = None

    def gained(self, partitions: Sequence[int]) -> Mapping[int, int]:
        """Load the partitions that are not held already."""
        ends = self._log.ends(self.topic)
        for partition in partitions:
            if partition not in self._sequences.held():
                state = self._snapshots.load(partition, self._sequences)
                self._sequences.hold(partition, state, current_from=ends[partition])
                self._log_gained(partition, is_restored=state is not None)
        self._metrics.users.set(self._sequences.n_users)
        self._start_saver()
        return {partition: self.positions()[partition] for partition in partitions}

    def rewind(self, offsets: Mapping[int, int]) -> None:
        """Stand at these offsets with the state there is; the files as well, though they stand further on."""
        for partition, offset in offsets.items():
            self._sequences.rewind(partition, offset)
            self._snapshots.replace(partition, self._sequences.held()[partition])

    def lost(self, partitions: Sequence[int]) -> None:
        """Save and drop the partitions; the next owner reads on from the file, or from the one before."""
        held = self._sequences.held()
        for partition in partitions:
            if partition in held:
                self._save(partition, held[partition])
                self._sequences.drop(partition)
        self._metrics.users.set(self._sequences.n_users)

    def positions(self) -> Mapping[int, int]:
        """Next offset to apply, by partition held."""
        return self._sequences.applied.next_offsets()

    def idle(self) -> None:
        """Nothing is due by time: snapshots have a thread of their own."""

    def handle(self, records: list[Record]) -> None:
        """Apply a batch; what is no event goes to the dead-letter topic before the position moves."""
        by_partition = sorted(records, key=attrgetter("partition"))  # stable: offsets stay in order
        for partition, group in groupby(by_partition, key=attrgetter("partition")):
            self._handle_partition(partition, list(group))
        self._metrics.users.set(self._sequences.n_users)

    def close(self) -> None:
        """Stop the snapshot thread and save every partition a last time."""
        self._stop.set()
        if self._saver is not None:
            self._saver.join()
        self._save_all()

    def _handle_partition(self, partition: int, records: list[Record]) -> None:
        events = self._admit(records)
        next_offset = records[-1].offset + 1
        results = self._sequences.apply(partition, events, self._kinds, next_offset=next_offset)
        self._delays.observe(record.ts_ms for record in records)
        counts = np.bincount(results, minlength=len(_RESULTS) + 1).tolist()
        for code, name in _RESULTS.items():
            self._metrics.events_applied_total.labels(result=name).inc(counts[code])

    def _admit(self, records: list[Record]) -> list[Interaction]:
        events = []
        n_rejected = 0
        for record in records:
            try:
                events.append(admit(record, self._kinds))
            except BadEvent as exc:
                self._dead_letters.send(record, str(exc))
                n_rejected += 1
        if n_rejected:
            self._dead_letters.flush(_FLUSH_S)
            self._metrics.events_applied_total.labels(result="rejected").inc(n_rejected)
            self._metrics.dead_letters_total.labels(topic=self.topic).inc(n_rejected)
        return events

    def _start_saver(self) -> None:
        if self._saver is None:
            self._saver = Thread(target=self._save_by_interval, name="snapshots", daemon=True)
            self._saver.start()

    def _save_by_interval(self) -> None:
        while not self._stop.wait(self._interval_s):
            self._save_all()

    def _save_all(self) -> None:
        for partition, state in self._sequences.held().items():
            self._save(partition, state)

    def _save(self, partition: int, state: PartitionState) -> None:
        with self._failures.noted():
            self._snapshots.save(partition, state)

    def _log_gained(self, partition: int, *, is_restored: bool) -> None:
        structlog.get_logger().info(
            "partition_gained",
            partition=partition,
            next_offset=self.positions()[partition],
            from_snapshot=is_restored,
        )
