"""One partition's user sequences: the pure core that serving, trainer and watcher all keep.

By user, the newest `length` distinct events by (event time, 64-bit hash of event_id). A duplicate changes
nothing, a late event goes to its place, an event older than a full ring changes nothing but what was seen. So the
same events give the same sequences in whatever order, batches and repetitions they come. What full rings let go is
told, so that counts over all rings can follow.

`apply` takes a batch in waves of distinct users; `apply_one` is the same thing for one event, plainly: the oracle
of the tests.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from consumers.sequences.event_batch import Batch, prepare
from consumers.sequences.rings import Bools, Columns, Entry, Int64s, Rings
from consumers.sequences.seen import SeenOverflow
from stream.events import Interaction, event_hash
from stream.kinds import EventKinds

IGNORED, APPLIED, DUPLICATE, STALE = range(4)  # what became of an event; ignored: its kind enters no sequence
_MIN_WAVE = 8  # users; a smaller wave costs more in calls to numpy than one user after the other

Results = NDArray[np.uint8]


class HistoryEntry(NamedTuple):
    """One event of a user's sequence."""

    item_id: str
    ts_ms: int
    kind: int


class Applied(NamedTuple):
    """What became of a batch.

    Attributes:
        results: (n_events,) uint8, one of IGNORED, APPLIED, DUPLICATE, STALE for each event of the original batch.
        fallen: events that left full rings to make room.
    """

    results: Results
    fallen: list[Columns]


class SequenceStore:
    """The users of one partition. One writer; readers and writer share a lock that the owner holds.

    Memory: 19 bytes a position and 4 a user, reserved whole at a user's first event; the user's id in a
    dictionary (about 110 bytes with an id of 10 characters); each item id once; `SeenOverflow` states its own.
    """

    def __init__(self, *, length: int = 50, max_seen: int = 2_000) -> None:
        """An empty store.

        Args:
            length: events kept by user.
            max_seen: distinct items kept by user beyond those events.

        Raises:
            ValueError: one of them is outside its range.
        """
        self.users: dict[str, int] = {}  # id to row
        self.items: dict[str, int] = {}  # id to number; both only ever grow
        self.item_ids: list[str] = []
        self.rings = Rings(length)
        self.overflow = SeenOverflow(max_seen, self.item_ids)
        self._touched: list[Int64s] | None = None

    @property
    def n_users(self) -> int:
        """Users with at least one event."""
        return len(self.users)

    def sequence(self, user_id: str) -> list[str]:
        """Item ids, oldest first; empty for an unknown user."""
        row = self.users.get(user_id)
        return [] if row is None else [self.item_ids[item] for item in self.rings.items(row)]

    def timed(self, user_id: str) -> tuple[list[str], list[int]]:
        """Item ids and the event time of each, oldest first; empty for an unknown user."""
        row = self.users.get(user_id)
        return ([], []) if row is None else (self.sequence(user_id), self.rings.times_ms(row))

    def history(self, user_id: str) -> list[HistoryEntry]:
        """The user's events, oldest first; empty for an unknown user."""
        row = self.users.get(user_id)
        entries = [] if row is None else self.rings.entries(row)
        return [HistoryEntry(self.item_ids[entry.item], entry.ts_ms, entry.kind) for entry in entries]

    def seen(self, user_id: str) -> list[str]:
        """Distinct items of the sequence and, beyond it, the newest `max_seen`; in no promised order."""
        row = self.users.get(user_id)
        if row is None:
            return []
        numbers = dict.fromkeys(self.rings.items(row) + self.overflow.items(row))
        return [self.item_ids[item] for item in numbers]

    def rows_of(self, user_ids: Sequence[str]) -> Int64s:
        """Rows of these users, (n,); new users get the next rows."""
        users = self.users
        rows = np.array([users.setdefault(user_id, len(users)) for user_id in user_ids], np.int64)
        self.rings.grow(len(users))
        if self._touched is not None:
            self._touched.append(rows)
        return rows

    def numbers_of(self, item_ids: Sequence[str]) -> NDArray[np.uint32]:
        """Numbers of these items, (n,); new items get the next numbers."""
        items = self.items
        numbers = [items.setdefault(item_id, len(items)) for item_id in item_ids]
        if len(items) > len(self.item_ids):
            n_known = len(self.item_ids)
            new = {number: item_id for number, item_id in zip(numbers, item_ids, strict=True) if number >= n_known}
            self.item_ids.extend(new.values())
        return np.array(numbers, np.uint32)

    def track_changes(self) -> None:
        """From now on note which rows change."""
        self._touched = []

    def end_tracking(self) -> Int64s:
        """Rows changed since `track_changes`, ascending; noting stops."""
        touched, self._touched = self._touched, None
        return np.unique(np.concatenate(touched)) if touched else np.zeros(0, np.int64)


def apply(store: SequenceStore, events: Sequence[Interaction], kinds: EventKinds) -> Bools:
    """Apply events in the order given.

    Returns:
        (n,) which of them entered a sequence; the others are duplicates, too old, or of a kind that does not.

    Raises:
        UnknownKind: a kind outside the set; nothing was applied.
    """
    return np.equal(apply_batch(store, prepare(events, kinds)).results, APPLIED)


def apply_batch(store: SequenceStore, batch: Batch) -> Applied:
    """Apply a prepared batch."""
    results = np.full(batch.n_events, IGNORED, np.uint8)
    fallen: list[Columns] = []
    if len(batch.entering):
        rows, items = store.rows_of(batch.user_ids), store.numbers_of(batch.item_ids)
        events = Columns(rows, batch.times, batch.hashes, items, batch.kinds)
        results[batch.entering] = _apply_columns(store, events, fallen)
    return Applied(results, fallen)


def apply_one(store: SequenceStore, event: Interaction, kinds: EventKinds) -> bool:
    """Apply one event; whether it entered the user's sequence.

    Raises:
        UnknownKind: a kind outside the set.
    """
    if not kinds.get(event.kind).enters_sequence:
        return False
    row = int(store.rows_of([event.user_id])[0])
    item = int(store.numbers_of([event.item_id])[0])
    entry = Entry(event.ts_ms, event_hash(event.event_id), item, kinds.number(event.kind))
    entries = store.rings.entries(row)
    if entry.event_hash in {known.event_hash for known in entries}:
        return False
    newest = sorted([*entries, entry])
    if len(newest) > store.rings.length:
        store.overflow.add(_columns([(row, newest[0])]))
    newest = newest[-store.rings.length :]
    store.rings.write(row, newest)
    return entry in newest


def _apply_columns(store: SequenceStore, events: Columns, fallen: list[Columns]) -> Results:
    """Waves of distinct users while they are large; then what is left, user by user."""
    results = np.full(len(events.rows), IGNORED, np.uint8)
    order = np.argsort(events.rows, kind="stable")  # by user, then by arrival
    starts = np.flatnonzero(np.diff(events.rows[order], prepend=-1))
    ends = np.append(starts[1:], len(order))
    while len(starts) >= _MIN_WAVE:
        wave = order[starts]
        results[wave] = _apply_wave(store, events.take(wave), fallen)
        more = starts + 1 < ends
        starts, ends = starts[more] + 1, ends[more]
    if len(starts):
        left = np.concatenate([order[a:b] for a, b in zip(starts, ends, strict=True)])
        results[left] = _apply_users(store, events.take(left), (ends - starts).tolist(), fallen)
    return results


def _apply_wave(store: SequenceStore, events: Columns, fallen: list[Columns]) -> Results:
    """Events of distinct users at once."""
    rings = store.rings
    new = ~rings.holds(events.rows, events.hashes)
    after = new & rings.is_after_newest(events)
    stale = new & rings.is_before_oldest(events)
    late = new & ~after & ~stale
    store.overflow.add(events.take(stale))
    fallen.append(rings.append(events.take(after)))
    store.overflow.add(fallen[-1])
    if late.any():
        fallen.append(rings.insert(events.take(late)))
        store.overflow.add(fallen[-1])
    return np.select([~new, stale], [DUPLICATE, STALE], APPLIED).astype(np.uint8)


def _apply_users(store: SequenceStore, events: Columns, sizes: Sequence[int], fallen: list[Columns]) -> list[int]:
    """Events grouped by user, in order of arrival in a group; each user's ring is read and written once."""
    results: list[int] = []
    gone: list[tuple[int, Entry]] = []
    stale: list[tuple[int, Entry]] = []
    for row, group in _groups(events, sizes):
        entries = store.rings.entries(row)
        out: list[Entry] = []
        results_of_user = _insert_all(entries, group, store.rings.length, out)
        store.rings.write(row, entries)
        gone += [(row, entry) for entry in out]
        stale += [(row, entry) for entry, result in zip(group, results_of_user, strict=True) if result == STALE]
        results += results_of_user
    if gone:
        fallen.append(_columns(gone))
    if gone or stale:
        store.overflow.add(_columns(gone + stale))
    return results


def _groups(events: Columns, sizes: Sequence[int]) -> Iterator[tuple[int, list[Entry]]]:
    entries = events.entries()
    start = 0
    for size in sizes:
        yield int(events.rows[start]), entries[start : start + size]
        start += size


def _insert_all(entries: list[Entry], new: list[Entry], length: int, fallen: list[Entry]) -> list[int]:
    """Insert into `entries` in place; what makes room for others goes to `fallen`."""
    known = {entry.event_hash for entry in entries}
    results = []
    for entry in new:
        if entry.event_hash in known:
            results.append(DUPLICATE)
        elif len(entries) == length and entry < entries[0]:
            results.append(STALE)
        else:
            known.add(entry.event_hash)
            insort(entries, entry)
            if len(entries) > length:
                known.remove(entries[0].event_hash)
                fallen.append(entries.pop(0))
            results.append(APPLIED)
    return results


def _columns(entries: Sequence[tuple[int, Entry]]) -> Columns:
    rows, values = zip(*entries, strict=True)
    times, hashes, items, kinds = zip(*values, strict=True)
    return Columns(
        np.array(rows, np.int64),
        np.array(times, np.int64),
        np.array(hashes, np.uint64),
        np.array(items, np.uint32),
        np.array(kinds, np.uint8),
    )
