"""One partition's attribution windows: users, stream clock, what is due, and where both topics stand."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from threading import Condition
from typing import NamedTuple

import msgspec

from stream.events import Exposure, Interaction, Outcome
from stream.topics import EVENTS, EXPOSURES
from stream.windows.arms import ArmCounts, ArmHour
from stream.windows.attribution import (
    AttributionSettings,
    UserWindow,
    add_event,
    add_exposure,
    close,
    closing,
    is_late_event,
    is_late_exposure,
    is_open,
    wake_ms,
)
from stream.windows.clock import StreamClock
from stream.windows.due import DueUsers

INPUTS = (EVENTS, EXPOSURES)


class Closing(NamedTuple):
    """Users whose windows are to be closed at a stream time, once their outcomes are durable."""

    now_ms: int
    users: list[str]
    outcomes: list[Outcome]


class Saved(msgspec.Struct, frozen=True):
    """All that a partition is restored from."""

    now_ms: int
    next_offsets: dict[str, int]
    users: dict[str, UserWindow]
    arms: list[ArmHour]


class PartitionWindows:
    """The windows of the users of one partition. Whoever uses it holds `changed`, but to wait.

    Args:
        settings: of the join.
        idle_s: wall seconds after which a silent topic does not hold the stream clock.
        wall: seconds since 1970.
    """

    def __init__(
        self, settings: AttributionSettings, *, idle_s: float = 10.0, wall: Callable[[], float] = time.time
    ) -> None:
        self.changed = Condition()
        self.clock = StreamClock(INPUTS, lateness_ms=settings.lateness_ms, idle_s=idle_s, wall=wall)
        for topic in INPUTS:
            self.clock.hold(topic, is_held=True)  # until its reader has found that nothing is left
        self.next_offsets = dict.fromkeys(INPUTS, 0)
        self.arms = ArmCounts()
        self._settings = settings
        self._users: dict[str, UserWindow] = {}
        self._due = DueUsers()

    @property
    def n_users(self) -> int:
        """Users with an exposure or an event that waits."""
        return len(self._users)

    def add_all(self, topic: str, records: Sequence[Interaction | Exposure]) -> int:
        """Note records of one topic, in order; those known already change nothing.

        Returns:
            How many were too late, or made others go that were beyond a user's bounds.
        """
        n_lost = 0
        for record in records:
            self.clock.see(topic, record.ts_ms)
            n_lost += self._add(record, self.clock.now_ms())
        return n_lost

    def closing(self, limit: int) -> Closing:
        """What is due now, of at most `limit` users; to be given to `close`, or to `put_back`."""
        now_ms = self.clock.now_ms()
        users = self._due.pop(now_ms, limit=limit)
        outcomes = [o for user_id in users for o in closing(self._users[user_id], user_id, now_ms, self._settings)]
        return Closing(now_ms, users, outcomes)

    def close(self, done: Closing) -> None:
        """Forget what closed; its outcomes are durable."""
        for user_id in done.users:
            window = self._users[user_id]
            self.arms.add_all(close(window, done.now_ms, self._settings))
            window.arms.clear()  # kept for the partition, in the same file
            self._note(user_id, window)

    def put_back(self, failed: Closing) -> None:
        """The outcomes are not durable: all of it is still due."""
        for user_id in failed.users:
            self._due.note(user_id, failed.now_ms)

    def wait_for_other(self, topic: str, timeout_s: float) -> None:
        """Wait while the topic is far ahead of the other one."""
        with self.changed:
            self.changed.wait_for(lambda: not self.is_ahead(topic), timeout_s)

    def is_ahead(self, topic: str) -> bool:
        """Whether the topic is read a window and more ahead of the other one, which has still more to be read.

        Windows would have to hold all of it, and their bounds would let some go.
        """
        (other,) = (name for name in INPUTS if name != topic)
        return self.clock.is_held(other) and self.clock.lead_ms(topic) > self._settings.window_ms

    def saved(self) -> Saved:
        """The state as it is now; shares its windows, so encode it before anything changes."""
        return Saved(self.clock.now_ms(), dict(self.next_offsets), self._users, self.arms.hours())

    def restore(self, saved: Saved) -> None:
        """Take over what `saved` gave; to be called before anything else."""
        self.clock.advance_to(saved.now_ms)
        self.next_offsets.update(saved.next_offsets)
        self.arms.add_all(saved.arms)
        self._users = dict(saved.users)
        for user_id, window in saved.users.items():
            self._note(user_id, window)

    def _add(self, record: Interaction | Exposure, now_ms: int) -> int:
        window = self._users.get(record.user_id) or UserWindow()
        if isinstance(record, Interaction):
            is_late = is_late_event(record, now_ms)
            add_event(window, record, self._settings, now_ms)
        else:
            is_late = is_late_exposure(record, self._settings, now_ms)
            add_exposure(window, record, self._settings, now_ms)
        n_dropped, window.n_dropped = window.n_dropped, 0
        self._note(record.user_id, window)
        return is_late + n_dropped

    def _note(self, user_id: str, window: UserWindow) -> None:
        """Keep the window as long as something in it waits."""
        due_ms = wake_ms(window, self._settings)
        if due_ms is None or not is_open(window):
            self._users.pop(user_id, None)
            self._due.forget(user_id)
        else:
            self._users[user_id] = window
            self._due.note(user_id, due_ms)


def offsets_of(partitions: Mapping[int, PartitionWindows], topic: str) -> dict[int, int]:
    """Next offset to read of a topic, by partition."""
    return {number: partition.next_offsets[topic] for number, partition in partitions.items()}
