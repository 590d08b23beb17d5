"""The two roles that fill the windows: one reads `events`, one `exposures`. Both are `OffsetOwner`s.

After a pause one topic may be read faster than the other, and a user's windows would have to hold all that lies
between. So records of a partition that is far ahead wait here, not applied and not counted in the offset, until the
other topic has caught up.

Every process that has them reads all partitions: on Kafka the Faust workers share them instead.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence

from consumers.windows.windows import Windows
from stream.admission import admit, admit_exposure
from stream.dead_letters import DeadLetters
from stream.events import BadEvent, Exposure, Interaction
from stream.kinds import EventKinds
from stream.log import Record
from stream.topics import EVENTS, EXPOSURES

_FLUSH_S = 10.0
_SLICE_RECORDS = 100  # applied at once: a user's windows have room for them, even if all are of one user
_MAX_PENDING = 20_000  # records that wait; more would be memory
_WAIT_S = 1.0  # for the other topic, when so many wait; then it goes on without


class WindowsRole:
    """One topic -> decode -> windows -> outcomes; `windows_role` chooses the topic."""

    def __init__(
        self, windows: Windows, topic: str, admitted: Callable[[Record], Interaction | Exposure], *, reports_bad: bool
    ) -> None:
        """Hold nothing yet.

        Args:
            windows: shared by both roles.
            topic: read here.
            admitted: a record as what it carries; raises BadEvent.
            reports_bad: whether rejected records go to the dead letters from here.
        """
        self.name = f"windows-{topic}"
        self.topic = topic
        self.group = None
        self._windows, self._admitted = windows, admitted
        self._pending: dict[int, deque[Record]] = {}
        self._dead_letters = DeadLetters(windows.log) if reports_bad else None

    def gained(self, partitions: Sequence[int]) -> Mapping[int, int]:
        """Load the partitions that are not held already; what waited of them is read again."""
        for partition in partitions:
            self._pending.pop(partition, None)
        return self._windows.gain(self.topic, partitions)

    def rewind(self, offsets: Mapping[int, int]) -> None:
        """Stand at these offsets of the topic."""
        self._windows.rewind(self.topic, offsets)

    def lost(self, partitions: Sequence[int]) -> None:
        """Let go of the partitions; the last role that does saves them."""
        for partition in partitions:
            self._pending.pop(partition, None)
        self._windows.lose(self.topic, partitions)

    def positions(self) -> Mapping[int, int]:
        """Next offset to read, by partition."""
        return self._windows.positions(self.topic)

    def handle(self, records: list[Record]) -> None:
        """Apply what need not wait."""
        for record in records:
            self._pending.setdefault(record.partition, deque()).append(record)
        self._apply_pending()
        self._make_room()
        self._windows.settle(self.topic)

    def idle(self) -> None:
        """Apply what need not wait any more, close what is due, save what moved."""
        self._apply_pending()
        self._windows.settle(self.topic)

    def close(self) -> None:
        """Save everything; the other role may still go on, and saves again."""
        self._windows.save()

    def _apply_pending(self) -> None:
        """A slice of each partition in turn, until all is applied or far ahead."""
        while ready := [p for p in self._pending if not self._windows.is_ahead(self.topic, p)]:
            for partition in ready:
                self._apply_slice(partition)

    def _make_room(self) -> None:
        """Let no more than so many wait: the other topic may not be read at all, and windows hold more then."""
        if self._n_pending > _MAX_PENDING:
            self._windows.wait_for_other(self.topic, self._fullest, _WAIT_S)
            self._apply_pending()
        while self._n_pending > _MAX_PENDING:
            self._apply_slice(self._fullest)

    @property
    def _n_pending(self) -> int:
        return sum(map(len, self._pending.values()))

    @property
    def _fullest(self) -> int:
        return max(self._pending, key=lambda partition: len(self._pending[partition]))

    def _apply_slice(self, partition: int) -> None:
        waiting = self._pending[partition]
        records = [waiting.popleft() for _ in range(min(_SLICE_RECORDS, len(waiting)))]
        if not waiting:
            del self._pending[partition]
        self._windows.apply(self.topic, partition, self._admit(records), next_offset=records[-1].offset + 1)

    def _admit(self, records: Sequence[Record]) -> list[Interaction | Exposure]:
        """What the records carry; what is no record of the topic is reported before the position moves."""
        admitted = []
        n_rejected = 0
        for record in records:
            try:
                admitted.append(self._admitted(record))
            except BadEvent as exc:
                n_rejected += 1
                if self._dead_letters is not None:
                    self._dead_letters.send(record, str(exc))
        if n_rejected and self._dead_letters is not None:
            self._dead_letters.flush(_FLUSH_S)
            self._windows.metrics.dead_letters_total.labels(topic=self.topic).inc(n_rejected)
        return admitted


def windows_role(windows: Windows, topic: str, *, kinds: EventKinds) -> WindowsRole:
    """The role of one topic; both are needed.

    Args:
        windows: the same for both.
        topic: `events` or `exposures`.
        kinds: the set in force; events of others are skipped.

    Raises:
        ValueError: another topic.
    """
    if topic == EVENTS:  # what is wrong with them the sequences role reports
        return WindowsRole(windows, topic, lambda record: admit(record, kinds), reports_bad=False)
    if topic == EXPOSURES:
        return WindowsRole(windows, topic, admit_exposure, reports_bad=True)
    raise ValueError(f"topic {topic!r} has no windows; {EVENTS!r} and {EXPOSURES!r} do")
