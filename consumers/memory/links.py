"""Which events the memory learns, and what each of them came after: those that enter their user's sequence.

The state is kept by the same core that serving answers from (`consumers.sequences.store`), so that duplicates and
events too old to count are left out here as there. A late event comes after what was before it in event time.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from consumers.sequences.event_batch import prepare
from consumers.sequences.rings import Entry
from consumers.sequences.store import APPLIED, STALE, SequenceStore, apply_batch
from stream.events import Interaction, event_hash
from stream.kinds import EventKinds

_MS_PER_SECOND = 1_000


class Link(NamedTuple):
    """An event that counts.

    Attributes:
        user_id: whose it is.
        history: the user's last items before it, oldest first.
        item_id: what came.
        ts_ms: when.
        known: all items of the user's sequence before this second, oldest first: what it is to be predicted from.
            None where nobody asked, and after the first event of a second: the memory knows that one by then.
        known_ms: event time of each.
        seen: those and what the user had before them, in no promised order; a store keeps `max_seen` of the latter, and
            what leaves it within a batch is still there.
    """

    user_id: str
    history: list[str]
    item_id: str
    ts_ms: int
    known: list[str] | None = None
    known_ms: tuple[int, ...] = ()
    seen: tuple[str, ...] = ()


class _User(NamedTuple):
    """Where a user stands between two events of a batch."""

    entries: list[Entry]  # of the sequence
    older: set[str]  # items that left it, of who is asked for


class LinkReader:
    """The users' sequences by partition.

    Args:
        kinds: the set in force.
        length: events kept by user.
        max_seen: distinct items kept by user beyond those.
        n_last: how many items of a history are of use to the memory.
    """

    def __init__(self, kinds: EventKinds, *, length: int, max_seen: int, n_last: int) -> None:
        self.stores: dict[int, SequenceStore] = {}
        self._kinds, self._length, self._max_seen, self._n_last = kinds, length, max_seen, n_last

    def restore(self, stores: Mapping[int, SequenceStore]) -> None:
        """Take over what was saved, before anything else."""
        self.stores = dict(stores)

    def hold(self, partition: int) -> None:
        """Begin an empty state for a partition, unless it has one."""
        if partition not in self.stores:
            self.stores[partition] = SequenceStore(length=self._length, max_seen=self._max_seen)

    def links(
        self, partition: int, events: Sequence[Interaction], *, is_asked: Callable[[Interaction], bool] | None = None
    ) -> list[Link]:
        """Apply events of a partition; those that entered a sequence, in order.

        Args:
            partition: one that has a state.
            events: of known kinds. Whatever batches they come in, the links are the same but for what `Link.seen` says.
            is_asked: which of them are to be predicted, if their kind is a target.
        """
        store = self.stores[partition]
        asked = [is_asked is not None and self._kinds.get(one.kind).is_target and is_asked(one) for one in events]
        asked_users = {event.user_id for event, is_wanted in zip(events, asked, strict=True) if is_wanted}
        users = {
            user_id: _User(_entries(store, user_id), _older(store, user_id) if user_id in asked_users else set())
            for user_id in {event.user_id for event in events}
        }
        results, _ = apply_batch(store, prepare(events, self._kinds))
        links = []
        for event, is_wanted, result in zip(events, asked, results.tolist(), strict=True):
            if result == APPLIED:
                links.append(self._link(store, event, users[event.user_id], is_asked=is_wanted))
            elif result == STALE:  # too old for the sequence, but seen
                users[event.user_id].older.add(event.item_id)
        return links

    def _link(self, store: SequenceStore, event: Interaction, user: _User, *, is_asked: bool) -> Link:
        """What an event comes after; it is entered."""
        kind, entries = self._kinds.number(event.kind), user.entries
        entry = Entry(event.ts_ms, event_hash(event.event_id), store.items[event.item_id], kind)
        place = bisect(entries, entry)
        history = _item_ids(store, entries[max(0, place - self._n_last) : place])
        known, known_ms, seen = None, tuple[int, ...](), tuple[str, ...]()
        before = _before_second(entries, event.ts_ms // _MS_PER_SECOND) if is_asked else None
        if before is not None:
            known, known_ms = _item_ids(store, before), tuple(one.ts_ms for one in before)
            seen = tuple(user.older.union(known))
        entries.insert(place, entry)
        user.older.update(_item_ids(store, entries[: -store.rings.length]))
        del entries[: -store.rings.length]
        return Link(event.user_id, history, event.item_id, event.ts_ms, known, known_ms, seen)


def _before_second(entries: list[Entry], second: int) -> list[Entry] | None:
    """None where something of that second is among them."""
    at = bisect(entries, Entry(second * _MS_PER_SECOND, 0, 0, 0))
    is_first = at == len(entries) or entries[at].ts_ms // _MS_PER_SECOND > second
    return entries[:at] if is_first else None


def _item_ids(store: SequenceStore, entries: Sequence[Entry]) -> list[str]:
    return [store.item_ids[entry.item] for entry in entries]


def _entries(store: SequenceStore, user_id: str) -> list[Entry]:
    row = store.users.get(user_id)
    return [] if row is None else store.rings.entries(row)


def _older(store: SequenceStore, user_id: str) -> set[str]:
    row = store.users.get(user_id)
    return set() if row is None else {store.item_ids[item] for item in store.overflow.items(row)}
