"""The two roles that fill the windows: one reads `events`, one `exposures`. Both are `OffsetOwner`s.

Every process that has them reads all partitions: on Kafka the Faust workers share them instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from operator import attrgetter

from consumers.admission import admit, admit_exposure
from consumers.windows.windows import Windows
from stream.dead_letters import DeadLetters
from stream.events import BadEvent, Exposure, Interaction
from stream.kinds import EventKinds
from stream.log import Record
from stream.topics import EVENTS, EXPOSURES

_FLUSH_S = 10.0


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
        self._dead_letters = DeadLetters(windows.log) if reports_bad else None

    def gained(self, partitions: Sequence[int]) -> Mapping[int, int]:
        """Load the partitions that are not held already."""
        return self._windows.gain(self.topic, partitions)

    def lost(self, partitions: Sequence[int]) -> None:
        """Let go of the partitions; the last role that does saves them."""
        self._windows.lose(self.topic, partitions)

    def positions(self) -> Mapping[int, int]:
        """Next offset to read, by partition."""
        return self._windows.positions(self.topic)

    def handle(self, records: list[Record]) -> None:
        """Apply a batch; what is no record of the topic is reported before the position moves."""
        by_partition = sorted(records, key=attrgetter("partition"))  # stable: offsets stay in order
        groups = [(number, list(group)) for number, group in groupby(by_partition, key=attrgetter("partition"))]
        for partition, group in groups:
            admitted = self._admit(group)
            self._windows.apply(self.topic, partition, admitted, next_offset=group[-1].offset + 1)
        self._windows.settle(self.topic)
        self._windows.wait_for_other(self.topic, [partition for partition, _ in groups])

    def idle(self) -> None:
        """Close what is due, save what moved."""
        self._windows.settle(self.topic)

    def close(self) -> None:
        """Save everything; the other role may still go on, and saves again."""
        self._windows.save()

    def _admit(self, records: Sequence[Record]) -> list[Interaction | Exposure]:
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
