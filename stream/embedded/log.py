"""The embedded log: topics, partitions, offsets and groups in one SQLite file of one process.

    publish -> bounded queue -> writer thread, group commit -> file -> readers, each with its own connection

`stream.log` says what it promises. One process owns the file; readers of a group share its partitions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from stream.embedded.file_lock import FileLock
from stream.embedded.maintenance import Delete, Removed, compactions, retirements
from stream.embedded.reader import EmbeddedReader
from stream.embedded.store import LogFile
from stream.embedded.topic import TopicState
from stream.embedded.writer import Append, Change, Writer
from stream.log import LogClosed, LogUnavailable, Message, OnPartitions, Position
from stream.requests import Subscription, check_share, named, nothing_to_do, placed
from stream.topics import DAY_MS, Topic

CLOSE_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class EmbeddedLimits:
    """Bounds few need to change.

    Attributes:
        max_queue_bytes: keys and values that may wait for the disk.
        full_wait_s: how long publish() waits for room before QueueFull.
        max_silence_s: a reader that has not polled for so long leaves its group.
        tombstone_grace_ms: how long compaction keeps a tombstone, for slow readers to see it.
        maintenance_wait_s: for one deletion to be durable.
    """

    max_queue_bytes: int = 64 * 1024 * 1024
    full_wait_s: float = 1.0
    max_silence_s: float = 300.0
    tombstone_grace_ms: int = DAY_MS
    maintenance_wait_s: float = 30.0


class EmbeddedLog:
    """See `stream.log.Log`."""

    def __init__(
        self,
        path: Path,
        topics: Mapping[str, Topic],
        *,
        max_queue: int = 100_000,
        max_bytes: int | None = None,
        limits: EmbeddedLimits | None = None,
    ) -> None:
        """Open the log, and create it where there is none.

        Args:
            path: of the SQLite file; its folder must exist. "-wal", "-shm" and ".lock" lie beside it.
            topics: by name; those already in the file must keep their number of partitions.
            max_queue: messages that may wait for the disk; one publish alone may be larger.
            max_bytes: the file grows no further, and publishing then fails as on a full disk.
            limits: the rest.

        Raises:
            LogBusy: another process has it open; the message names its id.
            LogUnavailable: cannot be opened or created.
            TopicDiffers: a topic was made with another number of partitions.
        """
        limits = limits or EmbeddedLimits()
        self._path = Path(path)
        self._limits = limits
        self._lock = FileLock(self._path.with_name(self._path.name + ".lock"))
        try:
            self._file = LogFile(self._path, max_bytes=max_bytes)
            self.log_id, self._topics = _prepare(self._file, topics, limits)
        except BaseException:
            self._lock.release()
            raise
        self._writer = Writer(
            self._file,
            max_messages=max_queue,
            max_bytes=limits.max_queue_bytes,
            full_wait_s=limits.full_wait_s,
        )
        self._readers: list[EmbeddedReader] = []
        self._opening = Lock()  # guards _readers and _is_closed
        self._is_closed = False

    def publish(self, topic: str, messages: Sequence[Message]) -> Future[list[Position]]:
        """See `stream.log.Log.publish`."""
        state = named(self._topics, topic)
        partitions, n_bytes = placed(state.topic, messages, state.turns)
        if not messages:
            return nothing_to_do()
        job = Append(state, list(messages), partitions, n_bytes)
        self._writer.submit(job)
        return job.future

    def reader(
        self,
        topic: str,
        *,
        group: str | None = None,
        partitions: Sequence[int] | None = None,
        on_gained: OnPartitions | None = None,
        on_lost: OnPartitions | None = None,
    ) -> EmbeddedReader:
        """See `stream.log.Log.reader`."""
        state = named(self._topics, topic)
        check_share(state.topic, group, partitions)
        subscription = Subscription(group, tuple(partitions or ()), on_gained, on_lost)
        with self._opening:
            if self._is_closed:
                raise LogClosed("the log was closed; open it again to read")
            file = LogFile(self._path, read_only=True)
            reader = EmbeddedReader(state, file, subscription=subscription, submit=self._writer.submit)
            self._readers = [known for known in self._readers if not known.is_closed]
            self._readers.append(reader)
        return reader

    def ends(self, topic: str) -> dict[int, int]:
        """See `stream.log.Log.ends`."""
        state = named(self._topics, topic)
        with state.changed:
            return dict(enumerate(state.ends))

    def maintain(self, now_ms: int) -> Removed:
        """Delete what retention and compaction say; to be called now and then, from any thread but a reader's.

        Args:
            now_ms: the time of appending that ages are counted from, milliseconds since 1970.

        Raises:
            LogUnavailable: the file cannot be read, or a deletion is not durable; what was deleted before it
                stays deleted.
            LogClosed: after close().
        """
        if self._is_closed:
            raise LogClosed("the log was closed; open it again to maintain it")
        file = LogFile(self._path, read_only=True)
        retired = compacted = 0
        try:
            for state in self._topics.values():
                for partition, n_offsets, delete in retirements(state, file, now_ms):
                    self._change(delete)
                    retired += n_offsets
                    with state.changed:
                        state.starts[partition] += n_offsets
                tombstones_before_ms = now_ms - self._limits.tombstone_grace_ms
                for n_records, delete in compactions(state, file, tombstones_before_ms):
                    self._change(delete)
                    compacted += n_records
        finally:
            file.close()
        return Removed(retired, compacted)

    def close(self) -> None:
        """See `stream.log.Log.close`.

        Raises:
            LogUnavailable: what was accepted could not be written in time; the file stays locked.
        """
        with self._opening:
            if self._is_closed:
                return
            self._is_closed = True
        if not self._writer.close(CLOSE_TIMEOUT_S):
            raise LogUnavailable(f"{self._path} is still being written after {CLOSE_TIMEOUT_S} s; end the process")
        for reader in self._readers:
            reader.stop()
        self._file.close()
        self._lock.release()

    def _change(self, delete: Delete) -> None:
        job = Change(delete, lambda: None)
        self._writer.submit(job)
        job.wait(self._limits.maintenance_wait_s)


def _prepare(file: LogFile, topics: Mapping[str, Topic], limits: EmbeddedLimits) -> tuple[str, dict[str, TopicState]]:
    try:
        with file.transaction():
            states = {
                name: TopicState(topic, file, max_silence_s=limits.max_silence_s) for name, topic in topics.items()
            }
            return file.log_id(), states
    except BaseException:
        file.close()
        raise
