"""One partition of the join: everything that is derived from its users, kept beside the table. Pure: no Kafka here.

Each user's state is in the table; what lies here is a sum over users or an order of them, made again from the table
by `restore` whenever a worker gains the partition.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from stream.events import Exposure, Interaction, Outcome, PartitionCounts, event_hash
from stream.kinds import DEFAULT_KINDS, EventKinds
from stream.topics import EVENTS, EXPOSURES
from stream.windows.arms import ArmCounts
from stream.windows.attribution import AttributionSettings, add_event, add_exposure, close, closing, wake_ms
from stream.windows.clock import StreamClock
from stream.windows.counts import partition_counts
from stream.windows.due import DueUsers
from stream.windows.ring import RingEntry, insert
from stream.windows.trending import TrendingCounts
from stream.workers.user_state import UserState

INPUTS = (EVENTS, EXPOSURES)


@dataclass(frozen=True)
class JoinSettings:
    """What the join depends on.

    Attributes:
        attribution: window, lateness, bounds.
        sequence_length: newest events kept by user.
        kinds: which enter the newest events.
        idle_s: an input without records for so long does not hold the stream clock.
    """

    attribution: AttributionSettings = field(default_factory=AttributionSettings)
    sequence_length: int = 50
    kinds: EventKinds = DEFAULT_KINDS
    idle_s: float = 10.0


class KeptClock(msgspec.Struct, frozen=True, array_like=True):
    """A partition's stream clock as the table keeps it, milliseconds since 1970.

    Without it a worker that takes a partition over would know the time only once both inputs had a new record.
    """

    events_ms: int = 0
    exposures_ms: int = 0
    now_ms: int = 0


class Closing(NamedTuple):
    """Outcomes that are to be durable before the user's window is closed."""

    user_id: str
    now_ms: int  # stream time they were made at
    outcomes: list[Outcome]


class PartitionJoin:
    """A partition that this worker holds.

    Args:
        partition: its number.
        settings: what the join depends on.
    """

    def __init__(self, partition: int, settings: JoinSettings) -> None:
        self.partition = partition
        self.is_changed = True  # since the counts were published
        self._settings = settings
        lateness_ms = settings.attribution.lateness_ms
        self._clock = StreamClock(INPUTS, lateness_ms=lateness_ms, idle_s=settings.idle_s)
        self._is_left = dict.fromkeys(INPUTS, True)
        self.hold_all()
        self._kept_clock = KeptClock()
        self._due = DueUsers()
        self._closing: dict[str, Closing] = {}
        self._trending = TrendingCounts()
        self._arms = ArmCounts()

    @property
    def n_closing(self) -> int:
        """Users whose outcomes are on their way."""
        return len(self._closing)

    def now_ms(self) -> int:
        """Stream time."""
        return self._clock.now_ms()

    def note_left(self, topic: str, *, is_left: bool) -> None:
        """Whether an input is known to have more to read, and so is not idle."""
        self._is_left[topic] = is_left
        self._clock.hold(topic, is_held=is_left)

    def hold_all(self) -> None:
        """It is not known what is left to read: no input is idle, however long ago its last record came.

        Else the first records of one topic after a rebalance would move stream time past those of the other.
        """
        for topic in INPUTS:
            self._clock.hold(topic, is_held=True)

    def is_ahead(self, topic: str) -> bool:
        """Whether an input is further ahead of the other than a window lasts, and the other has more to read."""
        (other,) = (name for name in INPUTS if name != topic)
        return self._is_left[other] and self._clock.lead_ms(topic) > self._settings.attribution.window_ms

    def restore(self, user_id: str, state: UserState) -> None:
        """Count one user of the table; once each."""
        self._trending.add_all((entry.item_id, entry.ts_ms) for entry in state.ring)
        self._arms.add_all(state.window.arms)
        self._clock.advance_to(state.window.closed_ms)
        self._note(user_id, state)

    def restore_clock(self, raw: bytes | None) -> None:
        """Go on from the stream time that `take_clock` gave.

        Raises:
            msgspec.DecodeError: it did not give this.
        """
        if raw is not None:
            kept = msgspec.msgpack.decode(raw, type=KeptClock)
            self._clock.see(EVENTS, kept.events_ms)
            self._clock.see(EXPOSURES, kept.exposures_ms)
            self._clock.advance_to(kept.now_ms)

    def take_clock(self) -> bytes | None:
        """The stream clock to be kept with what was applied; None when it has not moved since."""
        kept = KeptClock(self._clock.highest_ms(EVENTS), self._clock.highest_ms(EXPOSURES), self._clock.now_ms())
        if kept == self._kept_clock:
            return None
        self._kept_clock = kept
        return msgspec.msgpack.encode(kept)

    def add_event(self, state: UserState, event: Interaction) -> bool:
        """Apply one event to its user's state and to the counts.

        Returns:
            Whether anything changed: not for a duplicate, nor for what is too old for ring and window.
        """
        self._clock.see(EVENTS, event.ts_ms)
        is_joined = add_event(state.window, event, self._settings.attribution, self._clock.now_ms())
        is_counted = self._settings.kinds.get(event.kind).enters_sequence and self._count(state, event)
        self._note(event.user_id, state)
        return is_joined or is_counted

    def add_exposure(self, state: UserState, exposure: Exposure) -> bool:
        """Apply what was shown to its user's state.

        Returns:
            Whether anything changed: not for a duplicate, nor for one that closed already.
        """
        self._clock.see(EXPOSURES, exposure.ts_ms)
        is_joined = add_exposure(state.window, exposure, self._settings.attribution, self._clock.now_ms())
        self._note(exposure.user_id, state)
        return is_joined

    def due_users(self, limit: int) -> list[str]:
        """Users with something to close, at most `limit`; each is to be given to `begin_close`."""
        return self._due.pop(self._clock.now_ms(), limit=limit)

    def begin_close(self, user_id: str, state: UserState) -> Closing | None:
        """Outcomes to be made durable; `finish_close` comes after. None while earlier ones are on their way."""
        if user_id in self._closing:
            return None
        now_ms = self._clock.now_ms()
        found = Closing(user_id, now_ms, closing(state.window, user_id, now_ms, self._settings.attribution))
        self._closing[user_id] = found
        return found

    def is_closing(self, begun: Closing) -> bool:
        """Whether this is still on its way: not after the partition was lost, or gained again."""
        return self._closing.get(begun.user_id) is begun

    def forget_closing(self) -> None:
        """What is on its way may never be reported: it is sent again."""
        for user_id, begun in self._closing.items():
            self._due.note(user_id, begun.now_ms)
        self._closing.clear()

    def finish_close(self, done: Closing, state: UserState) -> None:
        """Close the user's window: its outcomes are durable."""
        self._closing.pop(done.user_id, None)
        added = close(state.window, done.now_ms, self._settings.attribution)
        self._arms.add_all(added)
        self.is_changed = self.is_changed or bool(added)
        self._note(done.user_id, state)

    def counts(self) -> PartitionCounts:
        """What is to be published; the partition counts as unchanged from now on."""
        self.is_changed = False
        return partition_counts(self.partition, self._trending, self._arms)

    def _count(self, state: UserState, event: Interaction) -> bool:
        number = self._settings.kinds.number(event.kind)
        entry = RingEntry(event.ts_ms, event_hash(event.event_id), event.item_id, number)
        entered, fallen = insert(state.ring, entry, self._settings.sequence_length)
        if entered:
            self._trending.add(event.item_id, event.ts_ms)
            self.is_changed = True
        if fallen is not None:
            self._trending.remove_all([(fallen.item_id, fallen.ts_ms)])
        return entered

    def _note(self, user_id: str, state: UserState) -> None:
        due_ms = wake_ms(state.window, self._settings.attribution)
        if due_ms is not None:
            self._due.note(user_id, due_ms)
