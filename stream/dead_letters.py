"""Rejected records: their raw bytes go to the `dead-letter` topic, and can be replayed once the cause is mended.

for record in batch:
    try: ... decode ...
    except BadEvent as exc: dead_letters.send(record, reason=str(exc))
dead_letters.flush(timeout_s)      # before the commit: a rejected record is never just gone
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, suppress
from typing import NamedTuple

from stream.events import BadEvent, DeadLetter, decode_dead_letter, encode
from stream.log import Log, LogUnavailable, Message, MessageTooLarge, Position, Record, UnknownTopic
from stream.topics import DEAD_LETTER, MAX_MESSAGE_BYTES

MAX_REASON_LENGTH = 2_000
_POLL_S = 0.5
_REPLAY_BATCH = 500

Select = Callable[[DeadLetter], bool]


class Replayed(NamedTuple):
    """What a replay did with one batch.

    Attributes:
        n_replayed: letters whose record was published again.
        n_skipped: the others.
        next_offset: where the next replay starts.
        refused: of those skipped, the records that the log does not take, with the reason.
    """

    n_replayed: int
    n_skipped: int
    next_offset: int
    refused: tuple[str, ...] = ()


def letter_of(record: Record, reason: str) -> DeadLetter:
    """The letter of a rejected record; of one above MAX_MESSAGE_BYTES only the beginning is kept.

    Brokers take such a one where a client compresses it. A replay leaves it out: its topic has a lower limit.
    """
    key, value = record.key, record.value
    n_bytes = len(key or b"") + len(value or b"")
    if n_bytes > MAX_MESSAGE_BYTES:
        key = key and key[:MAX_MESSAGE_BYTES]
        value = value and value[: MAX_MESSAGE_BYTES - len(key or b"")]
        reason = f"the first {MAX_MESSAGE_BYTES} of {n_bytes} bytes: {reason}"
    return DeadLetter(
        source_topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=key,
        value=value,
        reason=reason[:MAX_REASON_LENGTH].encode("utf-8", "replace").decode("utf-8"),
        ts_ms=time.time_ns() // 1_000_000,
    )


class DeadLetters:
    """The way to the `dead-letter` topic, for one thread."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._waiting: list[Future[list[Position]]] = []

    def send(self, record: Record, reason: str) -> None:
        """Queue a rejected record; flush() makes sure of it.

        Raises:
            QueueFull: retriable; it was not queued.
        """
        message = Message(record.topic.encode("utf-8"), encode(letter_of(record, reason)))
        self._waiting.append(self._log.publish(DEAD_LETTER, [message]))

    def flush(self, timeout_s: float) -> None:
        """Wait until all that was sent is durable; to be called before the commit.

        Raises:
            LogUnavailable: some are not; do not commit, so that their records come again.
        """
        waiting, self._waiting = self._waiting, []
        _wait_all(waiting, timeout_s)


def replay(log: Log, *, from_offset: int = 0, select: Select | None = None, timeout_s: float) -> Iterator[Replayed]:
    """Publish dead letters again to the topics they came from, with their own key and bytes; one batch a step.

    Records are idempotent, so a replay may be repeated; `next_offset` of the last batch avoids it. A record that
    several readers rejected, or one of them again after a crash, has several letters and is published once.

    Args:
        log: holds the `dead-letter` topic.
        from_offset: in the one partition of that topic.
        select: which to replay; None is all.
        timeout_s: for each batch to be read, and again to be durable.

    Yields:
        What was done with a batch, once it is durable.

    Raises:
        LogUnavailable: a batch was not read or is not durable; replay again from the batch before.
    """
    published: set[tuple[str, int, int]] = set()  # where records came from; one entry a letter
    for records in dead_letters(log, from_offset=from_offset, timeout_s=timeout_s):
        letters = [letter for letter in _decoded(records) if select is None or select(letter)]
        n_replayed, refused = _replay_batch(log, letters, published, timeout_s)
        yield Replayed(n_replayed, len(records) - n_replayed, records[-1].offset + 1, refused)


def dead_letters(log: Log, *, from_offset: int = 0, timeout_s: float) -> Iterator[list[Record]]:
    """Batches of everything that is on the topic now.

    Args:
        log: holds the `dead-letter` topic.
        from_offset: in the one partition of that topic.
        timeout_s: for each batch.

    Raises:
        LogUnavailable: the log did not give it in time.
    """
    end = log.ends(DEAD_LETTER)[0]
    deadline_s = time.monotonic() + timeout_s
    at = from_offset
    with closing(log.reader(DEAD_LETTER, partitions=[0])) as reader:
        reader.seek(0, from_offset)
        while at < end and any(reader.lag().values()):
            if time.monotonic() > deadline_s:
                raise LogUnavailable(f"dead letters from offset {at} on were not read in {timeout_s} s; try again")
            records = [r for r in reader.poll(max_records=_REPLAY_BATCH, timeout_s=_POLL_S) if r.offset < end]
            if records:
                at = records[-1].offset + 1
                yield records
                deadline_s = time.monotonic() + timeout_s


def _decoded(records: Sequence[Record]) -> Iterator[DeadLetter]:
    for record in records:
        with suppress(BadEvent):  # not written by DeadLetters: nothing to replay, counted as skipped
            yield decode_dead_letter(record.value)


def _replay_batch(
    log: Log, letters: Sequence[DeadLetter], published: set[tuple[str, int, int]], timeout_s: float
) -> tuple[int, tuple[str, ...]]:
    """How many were published, and what the log refused."""
    waiting, refused = [], []
    for letter in letters:
        source = (letter.source_topic, letter.partition, letter.offset)
        if source in published:
            continue
        published.add(source)
        try:
            waiting.append(log.publish(letter.source_topic, [Message(letter.key, letter.value)]))
        except (UnknownTopic, MessageTooLarge, ValueError) as exc:  # it would be refused for ever
            refused.append(f"{letter.source_topic}[{letter.partition}] offset {letter.offset}: {exc}")
    _wait_all(waiting, timeout_s)
    return len(waiting), tuple(refused)


def _wait_all(waiting: Sequence[Future[list[Position]]], timeout_s: float) -> None:
    deadline_s = time.monotonic() + timeout_s
    for future in waiting:
        try:
            future.result(max(0.0, deadline_s - time.monotonic()))
        except TimeoutError:
            raise LogUnavailable(
                f"{len(waiting)} records are not durable after timeout_s={timeout_s}; do not commit, try again"
            ) from None
