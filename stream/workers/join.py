"""The join as a worker runs it: a record to its user's state, outcomes to the log, and only then the window closed.

For each record, in this order:
1. decode and apply it to a copy of the user's state; what cannot be goes to `dead-letter`;
2. write the state: RocksDB at once, the changelog when the broker says so;
3. acknowledge the record when 1 and 2 are durable, records of one partition in their order;
4. users that are due: send their outcomes; when those are durable close the window and write it.
A crash anywhere repeats records and outcomes, and loses none: states are sets of events, outcomes carry their ids.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import msgspec

from stream.admission import admit, admit_exposure
from stream.dead_letters import letter_of
from stream.events import BadEvent, encode
from stream.log import Record
from stream.topics import COUNTS, DEAD_LETTER, EVENTS, EXPOSURES, OUTCOMES
from stream.workers.acks import Acks, Pending, Source
from stream.workers.metrics import WorkerMetrics
from stream.workers.partition import Closing, JoinSettings, PartitionJoin
from stream.workers.user_state import DamagedState, UserState, decode_state, encode_state

CLOSE_AT_ONCE = 8  # users after one record, so that a wave of them does not hold up records
MAX_CLOSING = 1_000  # users of a partition whose outcomes are on their way

_log = logging.getLogger(__name__)

Done = Callable[[], None]  # called once something is durable


class States(Protocol):
    """The table: raw bytes by user, by partition."""

    def read(self, partition: int, user_id: str) -> bytes | None:
        """A user's value; None for one that is not there."""
        ...

    def write(self, partition: int, user_id: str, value: bytes, done: Done) -> None:
        """Keep a value; `done` is called once it is durable."""
        ...

    def read_clock(self, partition: int) -> bytes | None:
        """What `write_clock` kept; None for a partition without."""
        ...

    def write_clock(self, partition: int, value: bytes, done: Done) -> None:
        """Keep a partition's stream clock, never ahead of the users written before it."""
        ...

    def items(self, partition: int) -> Iterator[tuple[str, bytes]]:
        """All users of a partition."""
        ...


class Send(Protocol):
    """Publishes."""

    def __call__(self, topic: str, partition: int, key: bytes, value: bytes, done: Done) -> None:
        """One record, to a topic by our name; `done` is called once it is durable."""
        ...


class Join:
    """The partitions that this worker holds.

    Args:
        states: the table of users.
        send: publishes.
        settings: of the join.
        metrics: to be kept.
    """

    def __init__(self, states: States, send: Send, *, settings: JoinSettings, metrics: WorkerMetrics) -> None:
        self.acks = Acks()
        self.partitions: dict[int, PartitionJoin] = {}
        self.next_offsets: dict[Source, int] = {}
        self.n_pauses = 0
        self._states, self._send, self._settings, self._metrics = states, send, settings, metrics

    # Partitions -------------------------------------------------------------------------------------------------

    def restore(self, partition: int) -> Iterator[int]:
        """Take a partition whose table is complete, a user a step, so that the event loop may have its turn.

        Yields:
            Users so far.
        """
        restored = PartitionJoin(partition, self._settings)
        self._restore_clock(restored)
        for n_users, (user_id, raw) in enumerate(self._states.items(partition), start=1):
            restored.restore(user_id, self._decode(raw))
            yield n_users
        self.partitions[partition] = restored

    def pause(self) -> None:
        """Records come again from where they were committed, here or elsewhere."""
        self.n_pauses += 1
        self.acks.forget()
        self.next_offsets.clear()
        self.forget_closing()
        self.hold_all()

    def hold_all(self) -> None:
        """No input is idle until it is known again what is left to read."""
        for partition in self.partitions.values():
            partition.hold_all()

    def forget_closing(self) -> None:
        """Windows whose outcomes are on their way stay open; their outcomes are sent again."""
        for partition in self.partitions.values():
            partition.forget_closing()

    # Records ----------------------------------------------------------------------------------------------------

    def handle_event(self, event: Any) -> None:  # noqa: ANN401 - a Faust event, and Faust has no types
        """One record of `events`.

        Raises:
            Exception: never for what the record is; the table cannot be read or written, or is not held.
        """
        self._handle(event, EVENTS, self._apply_event)

    def handle_exposure(self, event: Any) -> None:  # noqa: ANN401
        """One record of `exposures`; see `handle_event`."""
        self._handle(event, EXPOSURES, self._apply_exposure)

    def _handle(self, event: Any, topic: str, apply: Callable[[PartitionJoin, Any, Pending], bool]) -> None:  # noqa: ANN401
        message = event.message
        partition = self.partitions[message.partition]
        source = Source(topic, message.partition)
        pending = self.acks.begin(event, source)
        try:
            result = "applied" if apply(partition, message, pending) else "ignored"
        except BadEvent as exc:
            self._reject(topic, message, str(exc), pending)
            result = "rejected"
        clock = partition.take_clock()
        if clock is not None:
            pending.one_more()
            self._states.write_clock(partition.partition, clock, pending.one_less)
        self.next_offsets[source] = message.offset + 1
        self._metrics.events_total.labels(topic, result).inc()
        self._metrics.event_seconds.observe(max(0.0, time.time() - message.timestamp))
        self.close_due(partition)
        pending.one_less()

    def _apply_event(self, partition: PartitionJoin, message: Any, pending: Pending) -> bool:  # noqa: ANN401
        event = admit(_record(EVENTS, message), self._settings.kinds)
        raw = self._states.read(partition.partition, event.user_id)
        state = self._decode(raw)
        is_changed = partition.add_event(state, event)
        if is_changed or raw is not None:  # unchanged, and yet written: RocksDB may be ahead of its changelog
            self._write(partition, event.user_id, state, pending)
        return is_changed

    def _apply_exposure(self, partition: PartitionJoin, message: Any, pending: Pending) -> bool:  # noqa: ANN401
        exposure = admit_exposure(_record(EXPOSURES, message))
        raw = self._states.read(partition.partition, exposure.user_id)
        state = self._decode(raw)
        is_changed = partition.add_exposure(state, exposure)
        if is_changed or raw is not None:
            self._write(partition, exposure.user_id, state, pending)
        return is_changed

    def _reject(self, topic: str, message: Any, reason: str, pending: Pending) -> None:  # noqa: ANN401
        letter = letter_of(_record(topic, message), reason)
        pending.one_more()
        self._send(DEAD_LETTER, 0, topic.encode(), encode(letter), pending.one_less)

    # Closing ----------------------------------------------------------------------------------------------------

    def close_due(self, partition: PartitionJoin, limit: int = CLOSE_AT_ONCE) -> None:
        """Begin to close windows whose time has come, at most `limit` users."""
        room = MAX_CLOSING - partition.n_closing
        for user_id in partition.due_users(min(limit, room)):
            raw = self._states.read(partition.partition, user_id)
            begun = partition.begin_close(user_id, self._decode(raw))
            if begun is not None:
                self._send_outcomes(partition, begun)

    def _send_outcomes(self, partition: PartitionJoin, begun: Closing) -> None:
        key = begun.user_id.encode()
        outcomes = [encode(outcome) for outcome in begun.outcomes]
        if not outcomes:
            self._close(partition, begun)
            return
        for outcome in outcomes[:-1]:
            self._send(OUTCOMES, partition.partition, key, outcome, _nothing)
        # In order: with the last, all are durable.
        self._send(OUTCOMES, partition.partition, key, outcomes[-1], lambda: self._close(partition, begun))

    def _close(self, partition: PartitionJoin, done: Closing) -> None:
        self._metrics.outcomes_total.inc(len(done.outcomes))
        if not partition.is_closing(done) or self.partitions.get(partition.partition) is not partition:
            return  # lost meanwhile: the next owner sends them again
        state = self._decode(self._states.read(partition.partition, done.user_id))
        partition.finish_close(done, state)
        self._write(partition, done.user_id, state)

    # Counts -----------------------------------------------------------------------------------------------------

    def publish_counts(self) -> None:
        """What each partition counts, where that changed."""
        for partition in self.partitions.values():
            if partition.is_changed:
                key = str(partition.partition).encode()
                self._send(COUNTS, 0, key, encode(partition.counts()), _nothing)

    # States -----------------------------------------------------------------------------------------------------

    def _write(self, partition: PartitionJoin, user_id: str, state: UserState, pending: Pending | None = None) -> None:
        if pending is not None:
            pending.one_more()
        done = _nothing if pending is None else pending.one_less
        n_dropped, state.window.n_dropped = state.window.n_dropped, 0
        self._metrics.dropped_total.inc(n_dropped)
        self._states.write(partition.partition, user_id, encode_state(state), done)

    def _restore_clock(self, partition: PartitionJoin) -> None:
        try:
            partition.restore_clock(self._states.read_clock(partition.partition))
        except msgspec.DecodeError as exc:
            self._metrics.damaged_total.inc()
            _log.error("stream time starts anew: %s", exc)

    def _decode(self, raw: bytes | None) -> UserState:
        try:
            return decode_state(raw)
        except DamagedState as exc:
            self._metrics.damaged_total.inc()
            _log.error("a user starts anew: %s", exc)
            return UserState()


def _nothing() -> None:
    """Nothing waits for it."""


def _record(topic: str, message: Any) -> Record:  # noqa: ANN401
    """A Faust message as the log's record."""
    ts_ms = int(message.timestamp * 1_000)
    return Record(topic, message.partition, message.offset, message.key, message.value, ts_ms)
