"""Same-second blocks: which events are to be predicted, and from which state.

A user's events of one second are one block, and each of them is predicted from the state before the block; also
when other users' events lie between them, or a batch of records ends inside it. The state is kept by the same
core that serving answers from (`consumers.sequences.store`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from consumers.sequences.event_batch import prepare
from consumers.sequences.store import APPLIED, STALE, SequenceStore, apply_batch
from models.rivals.panel import RivalPanel, Scores
from stream.events import Interaction
from stream.kinds import EventKinds

_SEEN_USERS = 4_096  # users whose seen items are kept as a set, where they are few; else the store is asked again
_OPEN_MS = 2_000  # a block may still grow while the newest event is at most so much later


@dataclass(frozen=True, eq=False)
class Block:
    """A user's events of one second, and the state before them.

    Attributes:
        second: event time, seconds since 1970.
        sequence: the user's items before the block, oldest first.
        times_ms: event time of each.
        seen: all items the user had seen when the block began to arrive.
        rival_scores: one row a rival, as they scored before the block.
    """

    user_id: str
    second: int
    sequence: tuple[str, ...]
    times_ms: tuple[int, ...]
    seen: tuple[str, ...]
    rival_scores: tuple[Scores, ...] = ()


class Target(NamedTuple):
    """An event that was accepted and is to be predicted: which item came, from which state."""

    block: Block
    item_id: str
    is_exposed: bool  # it followed a feed of ours


class Arrival(NamedTuple):
    """An event and the partition it came from."""

    partition: int
    event: Interaction


class BlockReader:
    """Keeps the users' states of the partitions held, and cuts what arrives into blocks."""

    def __init__(
        self, kinds: EventKinds, *, length: int = 50, max_seen: int = 2_000, panel: RivalPanel | None = None
    ) -> None:
        self._kinds = kinds
        self._length = length
        self._max_seen = max_seen
        self._panel = panel
        self._stores: dict[int, SequenceStore] = {}
        self._open: dict[str, Block] = {}
        self._seen: OrderedDict[str, set[str]] = OrderedDict()

    @property
    def n_users(self) -> int:
        """Users with a state."""
        return sum(store.n_users for store in self._stores.values())

    def hold(self, partition: int) -> None:
        """Begin an empty state for a partition, unless it is held already."""
        if partition not in self._stores:
            self._stores[partition] = SequenceStore(length=self._length, max_seen=self._max_seen)

    def drop(self, partition: int) -> None:
        """Let a partition's state go."""
        self._stores.pop(partition, None)
        self._open.clear()
        self._seen.clear()

    def absorb(self, arrivals: Sequence[Arrival]) -> int:
        """Apply events that nobody will predict; several times faster than `targets`.

        Returns:
            How many accepted events were of a kind that is a target.
        """
        self._seen.clear()
        accepted = self._apply(arrivals)
        return sum(self._kinds.get(event.kind).is_target for _, event in accepted)

    def targets(self, arrivals: Sequence[Arrival]) -> list[Target]:
        """Apply events and say what there was to predict; duplicates and events too old to count are no targets.

        Args:
            arrivals: of known kinds and held partitions, in the order of the log.

        Returns:
            In the order in which the events were applied.
        """
        found: list[Target] = []
        waiting: list[tuple[Arrival, Block]] = []
        waiting_users: set[str] = set()
        for arrival in arrivals:
            user_id, second = arrival.event.user_id, arrival.event.ts_ms // 1_000
            block = self._open.get(user_id)
            if block is None or block.second != second:
                if user_id in waiting_users or (waiting and self._panel is not None):
                    found += self._apply_blocks(waiting)
                    waiting, waiting_users = [], set()
                block = self._open[user_id] = self._begin(arrival.partition, user_id, second)
            waiting.append((arrival, block))
            waiting_users.add(user_id)
        found += self._apply_blocks(waiting)
        self._close_old(arrivals)
        return found

    def _begin(self, partition: int, user_id: str, second: int) -> Block:
        """The state as it stands; every earlier event of the user is applied."""
        store = self._stores[partition]
        items, times_ms = store.timed(user_id)
        n_before = bisect_left(times_ms, second * 1_000)  # all of them, but for a late event
        return Block(
            user_id=user_id,
            second=second,
            sequence=tuple(items[:n_before]),
            times_ms=tuple(times_ms[:n_before]),
            seen=tuple(self._seen_by(store, user_id)),
            rival_scores=() if self._panel is None else self._panel.scores(user_id),
        )

    def _seen_by(self, store: SequenceStore, user_id: str) -> set[str]:
        seen = self._seen.get(user_id)
        if seen is None:
            seen = set(store.seen(user_id))
            if len(seen) > self._max_seen:  # the store may have let others go
                return seen
            self._seen[user_id] = seen
            if len(self._seen) > _SEEN_USERS:
                self._seen.popitem(last=False)
        else:
            self._seen.move_to_end(user_id)
        return seen

    def _apply_blocks(self, waiting: Sequence[tuple[Arrival, Block]]) -> list[Target]:
        block_of = {id(arrival.event): block for arrival, block in waiting}
        accepted = self._apply([arrival for arrival, _ in waiting])
        return [
            Target(block_of[id(event)], event.item_id, event.feed_id is not None)
            for _, event in accepted
            if self._kinds.get(event.kind).is_target
        ]

    def _apply(self, arrivals: Sequence[Arrival]) -> list[Arrival]:
        """Apply to the stores, the seen sets and the rivals; what was accepted, in order."""
        results = np.zeros(len(arrivals), dtype=np.uint8)
        partitions = np.array([arrival.partition for arrival in arrivals], dtype=np.int64)
        for partition in set(partitions.tolist()):
            places = np.flatnonzero(partitions == partition)
            events = [arrivals[place].event for place in places.tolist()]
            results[places] = apply_batch(self._stores[partition], prepare(events, self._kinds)).results
        for place in np.flatnonzero(results == STALE).tolist():
            self._seen.pop(arrivals[place].event.user_id, None)  # seen, too, as the store knows
        accepted = [arrivals[place] for place in np.flatnonzero(results == APPLIED).tolist()]
        for _, event in accepted:
            seen = self._seen.get(event.user_id)
            if seen is not None:
                seen.add(event.item_id)
                if len(seen) > self._max_seen:
                    del self._seen[event.user_id]
            if self._panel is not None:
                self._panel.learn(event.user_id, event.item_id)
        return accepted

    def _close_old(self, arrivals: Sequence[Arrival]) -> None:
        newest_ms = max((arrival.event.ts_ms for arrival in arrivals), default=0)
        oldest_open = (newest_ms - _OPEN_MS) // 1_000
        self._open = {user_id: block for user_id, block in self._open.items() if block.second >= oldest_open}
