"""The log: what every way of running it promises.

`stream.embedded.log` keeps it in one file of one process, `stream.kafka.log` on brokers.

Records are appended to the partitions of a topic, a key always to the same one, and read in order of offsets.
At least once: a reader that dies before its commit reads the same records again. Every implementation passes
`tests/contract/test_log_contract.py`.

    LogError
      LogClosed           used after close()
      LogUnavailable      not durable now (disk full, no broker answers); the same publish may succeed later
      LogBusy             another process owns the log's file
      QueueFull           more waits to be written than may; slow down and publish again
      UnknownTopic        no such topic or partition
      MessageTooLarge     key plus value are above the topic's limit
      TopicDiffers        a topic exists with other partitions or settings than are asked for
      NotAssigned         a commit or seek of a partition this reader does not hold (any more)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import NamedTuple, Protocol

OnPartitions = Callable[[tuple[int, ...]], None]  # told which partitions were gained or lost


class LogError(Exception):
    """Anything the log refuses."""


class LogClosed(LogError):
    """The log or the reader was closed."""


class LogUnavailable(LogError):
    """The messages are not durable, or nobody answers; retriable."""


class LogBusy(LogError):
    """Another process owns the log's file."""


class QueueFull(LogError):
    """Too much waits to be written; retriable after a pause."""


class UnknownTopic(LogError):
    """No such topic or partition."""


class MessageTooLarge(LogError):
    """A message above its topic's limit."""


class TopicDiffers(LogError, ValueError):
    """A topic exists with other partitions or settings than are asked for."""


class NotAssigned(LogError):
    """The reader does not hold this partition."""


class Message(NamedTuple):
    """What a writer gives, at least one of both. No key: any partition. No value: compaction deletes the key."""

    key: bytes | None
    value: bytes | None


class Record(NamedTuple):
    """What a reader gets.

    `ts_ms` is the time of appending (milliseconds since 1970), not the event's own.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    ts_ms: int


class Position(NamedTuple):
    """Where a message was written."""

    partition: int
    offset: int


class Reader(Protocol):
    """Reads one topic from its group's committed offsets, or partitions from their start. For one thread."""

    def poll(self, *, max_records: int, timeout_s: float) -> list[Record]:
        """The next records, in order of offset within a partition; wakes as soon as something is published.

        Calls back for partitions gained or lost first, so that state is ready before its records. A position
        below what is still kept moves to the oldest record. Partitions take turns, but not with every poll: on Kafka
        one is read on for as much as a fetch has brought of it.

        Args:
            max_records: at most so many.
            timeout_s: how long to wait when there is nothing.

        Returns:
            Not all there is, perhaps. Empty after the timeout.

        Raises:
            LogClosed: the log or the reader was closed.
            LogUnavailable: the log cannot be read now; poll again. Where nobody answers it may be empty instead.
        """
        ...

    def commit(self, offsets: Mapping[int, int] | None = None) -> None:
        """Store where the group goes on from, durably.

        Args:
            offsets: next offset to read by partition; None is everything polled.

        Raises:
            NotAssigned: a partition this reader lost meanwhile, or no group was given, or the group is just being
                divided anew (on Kafka); nothing is committed.
            LogUnavailable: not durable; the records would be read again.
        """
        ...

    def committed(self) -> dict[int, int]:
        """Next offset by assigned partition, as committed by the group; 0 before the first commit."""
        ...

    def seek(self, partition: int, offset: int) -> None:
        """Go on from this offset at the next poll.

        Raises:
            NotAssigned: not a partition of this reader.
        """
        ...

    def lag(self) -> dict[int, int]:
        """Records not polled yet, by assigned partition, with those that compaction has removed.

        Raises:
            LogUnavailable: it cannot be known now.
        """
        ...

    def assigned(self) -> tuple[int, ...]:
        """The partitions this reader holds now, ascending."""
        ...

    def close(self) -> None:
        """Give the partitions back; without commit, others read again what was not committed."""
        ...


class Log(Protocol):
    """A durable log. Safe to use from any thread; each reader is for one."""

    log_id: str  # of this log's data: positions in another log mean nothing here

    def publish(self, topic: str, messages: Sequence[Message]) -> Future[list[Position]]:
        """Append messages, in order, to the partitions of their keys.

        Returns:
            Done once all are durable, with their positions; or failed with LogUnavailable. The embedded log has then
            written none of them. On Kafka some may be written, or even all: publish again, every effect of a record
            must bear its repetition.

        Raises:
            UnknownTopic: not a topic of this log.
            MessageTooLarge: one is above the topic's limit; none is written.
            QueueFull: too much waits to be written; retriable.
            LogClosed: after close().
            ValueError: a message with neither key nor value; none is written.
        """
        ...

    def reader(
        self,
        topic: str,
        *,
        group: str | None = None,
        partitions: Sequence[int] | None = None,
        on_gained: OnPartitions | None = None,
        on_lost: OnPartitions | None = None,
    ) -> Reader:
        """A reader of a group's share of a topic, or of the partitions named.

        Args:
            topic: to read.
            group: partitions are divided among the group's readers, positions kept for the group.
            partitions: exactly these, from offset 0 until sought. Exactly one of group and partitions.
            on_gained: called inside poll() with new partitions, before their records; again when it raised.
            on_lost: called inside poll() or close() with partitions now another's. They can still be committed, unless
                the reader was put out of its group.

        Raises:
            UnknownTopic: no such topic or partition.
            LogUnavailable: nobody answers.
            ValueError: both or neither of group and partitions.
        """
        ...

    def ends(self, topic: str) -> dict[int, int]:
        """The next offset to be written (all before it are durable), by partition.

        Raises:
            LogUnavailable: nobody answers.
        """
        ...

    def close(self) -> None:
        """Write what was accepted, then let go of the file or the brokers; readers end with LogClosed."""
        ...
