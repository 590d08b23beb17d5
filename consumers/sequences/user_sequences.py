"""All users' sequences in this process: what a feed is answered from.

Partitions of `events` each have a `SequenceStore`, trending counts and a lock. One thread holds, drops and applies,
any number read; a reader sees a user's row as it stood at one offset.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from consumers.sequences.event_batch import prepare
from consumers.sequences.popularity import fallen_hours
from consumers.sequences.positions import AppliedPositions
from consumers.sequences.snapshots import PartitionState
from consumers.sequences.store import APPLIED, HistoryEntry, Results, SequenceStore, apply_batch
from stream.events import Interaction
from stream.kinds import EventKinds
from stream.log import Position
from stream.partition import partition_of
from stream.windows.trending import TrendingCounts, hours_of

_CHUNK_EVENTS = 1_000  # 2 to 3 ms under the lock


class UserView(NamedTuple):
    """A user at one moment.

    Attributes:
        items: item ids, oldest first.
        times_ms: event time of each.
        seen: distinct items of `items` and before, in no promised order.
        position: partition, and the next offset it stood at.
    """

    items: list[str]
    times_ms: list[int]
    seen: list[str]
    position: Position

    @property
    def newest_ts_ms(self) -> int | None:
        """Event time of the last item; None without any."""
        return self.times_ms[-1] if self.times_ms else None


class UserSequences:
    """The partitions held here, routed by the key's murmur2 as the log does."""

    def __init__(self, n_partitions: int, *, length: int = 50, max_seen: int = 2_000) -> None:
        """No partition is held yet.

        Args:
            n_partitions: of the `events` topic.
            length: events kept by user.
            max_seen: distinct items kept by user beyond those events.
        """
        self.n_partitions = n_partitions
        self.length, self.max_seen = length, max_seen
        self.applied = AppliedPositions()
        self._states: dict[int, PartitionState] = {}
        self._current_from: dict[int, int] = {}  # offset by partition held, from which on it is not behind
        self._counts = TrendingCounts()  # of all partitions held; each has its own

    @property
    def n_users(self) -> int:
        """Users with at least one event, in the partitions held."""
        return sum(state.store.n_users for state in self._held())

    def sequence(self, user_id: str) -> list[str]:
        """Item ids, oldest first; empty for a user unknown or of a partition not held."""
        state = self._state_of(user_id)
        with state.lock:
            return state.store.sequence(user_id)

    def history(self, user_id: str) -> list[HistoryEntry]:
        """The user's events, oldest first."""
        state = self._state_of(user_id)
        with state.lock:
            return state.store.history(user_id)

    def view(self, user_id: str) -> UserView:
        """Sequence, seen items and position of one moment: what a feed and its exposure are made from."""
        partition = self.partition_of(user_id)
        state = self._state_of(user_id)
        with state.lock:
            items, times_ms = state.store.timed(user_id)
            seen = state.store.seen(user_id)
            position = Position(partition, state.next_offset)
        return UserView(items, times_ms, seen, position)

    def recent_users(self, limit: int) -> list[str]:
        """Of the users that came last to each partition, those of the newest events first."""
        came_last: list[str] = []
        for state in self._held():
            with state.lock:
                came_last += islice(reversed(state.store.users), limit)
        newest_ms = {user_id: self.view(user_id).newest_ts_ms or 0 for user_id in came_last}
        return sorted(came_last, key=lambda user_id: (-newest_ms[user_id], user_id))[:limit]

    def trending(self, k: int) -> list[str]:
        """The k items with most events in the last day of the stream, of those in the users' sequences.

        Ranks all items of that day, milliseconds for thousands of them: not for every feed.
        """
        return self._counts.top(k)

    def partition_of(self, user_id: str) -> int:
        """The partition the user's events lie in."""
        return partition_of(user_id.encode(), self.n_partitions)

    def held(self) -> dict[int, PartitionState]:
        """State by partition held."""
        return dict(self._states)

    def is_current(self, partition: int) -> bool:
        """Whether the partition is held, and all that was there when it was taken over has been applied."""
        state = self._states.get(partition)
        return state is not None and state.next_offset >= self._current_from.get(partition, 0)

    def hold(self, partition: int, state: PartitionState | None = None, *, current_from: int = 0) -> None:
        """Serve this partition from now on, from `state` or from nothing.

        Args:
            partition: of the `events` topic.
            state: as it was saved.
            current_from: offset up to which there is something to catch up with.
        """
        state = state or self.empty_state()
        self._current_from[partition] = current_from
        self._states[partition] = state
        self._counts = _merged([held.trending for held in self._held()])
        self.applied.advance(partition, state.next_offset)

    def drop(self, partition: int) -> None:
        """Serve this partition no longer."""
        self._states.pop(partition, None)
        self._counts = _merged([held.trending for held in self._held()])
        self.applied.forget(partition)

    def apply(self, partition: int, events: Sequence[Interaction], kinds: EventKinds, *, next_offset: int) -> Results:
        """Apply events of a partition held, in order; applying them again changes nothing.

        Args:
            partition: their partition.
            events: decoded and of known kinds.
            kinds: the set in force.
            next_offset: of the partition, once these are applied.

        Returns:
            (n,) as `consumers.sequences.store.apply_batch`.
        """
        state = self._states[partition]
        results = [np.zeros(0, np.uint8)]
        for start in range(0, len(events), _CHUNK_EVENTS):
            results.append(self._apply_chunk(state, events[start : start + _CHUNK_EVENTS], kinds))
        with state.lock:
            state.next_offset = next_offset
        self.applied.advance(partition, next_offset)
        return np.concatenate(results)

    def rewind(self, partition: int, next_offset: int) -> None:
        """Go on from an earlier offset, with the state as it is."""
        state = self._states[partition]
        with state.lock:
            state.next_offset = next_offset
        self.applied.advance(partition, next_offset)

    def empty_state(self) -> PartitionState:
        """A partition without events, at offset 0."""
        return PartitionState(SequenceStore(length=self.length, max_seen=self.max_seen), TrendingCounts())

    def _apply_chunk(self, state: PartitionState, events: Sequence[Interaction], kinds: EventKinds) -> Results:
        batch = prepare(events, kinds)
        with state.lock:
            results, fallen = apply_batch(state.store, batch)
            entered = hours_of(
                (events[i].item_id, events[i].ts_ms) for i in np.flatnonzero(results == APPLIED).tolist()
            )
            state.trending.add_hours(entered)
            left = fallen_hours(state.store, fallen, state.trending.oldest_ms)
            state.trending.remove_hours(left)
            self._counts.add_hours(entered)
            self._counts.remove_hours(left)
        return results

    def _held(self) -> list[PartitionState]:
        return list(self._states.values())

    def _state_of(self, user_id: str) -> PartitionState:
        state = self._states.get(self.partition_of(user_id))
        return self.empty_state() if state is None else state


def _merged(partitions: Sequence[TrendingCounts]) -> TrendingCounts:
    """Counts of several partitions as if of one."""
    counts = TrendingCounts()
    for partition in partitions:
        counts.merge(partition)
    return counts
