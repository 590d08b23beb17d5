"""Many users' newest events as arrays: one row a user, a ring of `length` positions, 19 bytes a position.

A row is always in the order of (event time, event hash). Only the arrays live here; which event may enter is
decided in `consumers.sequences.store`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_LENGTH = 65_535  # starts and sizes are uint16
_MIN_ROWS = 256
_BLOCK_ROWS = 65_536  # looked through at once: 3 MB of seconds at 50 positions
_GROWTH = 16  # grow by a sixteenth: at most 6 % of the memory waits unused

Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Entry(NamedTuple):
    """One event in a row; entries sort by (ts_ms, event_hash)."""

    ts_ms: int
    event_hash: int
    item: int
    kind: int


class Columns(NamedTuple):
    """Events as columns, all of shape (n,), one event a row number."""

    rows: Int64s
    times: Int64s  # milliseconds
    hashes: NDArray[np.uint64]  # never 0: that marks an empty position
    items: NDArray[np.uint32]
    kinds: NDArray[np.uint8]

    def take(self, index: Int64s | Bools) -> Columns:
        """The events at `index`, in its order."""
        rows, times, hashes, items, kinds = self
        return Columns(rows[index], times[index], hashes[index], items[index], kinds[index])

    def entries(self) -> list[Entry]:
        """The events as entries."""
        columns = (self.times.tolist(), self.hashes.tolist(), self.items.tolist(), self.kinds.tolist())
        return [Entry(*values) for values in zip(*columns, strict=True)]


class Rings:
    """R rows of `length` positions. Not safe for threads: whoever owns it holds a lock."""

    def __init__(self, length: int) -> None:
        """No rows yet.

        Raises:
            ValueError: length is outside 1 to 65,535.
        """
        if not 1 <= length <= MAX_LENGTH:
            raise ValueError(f"length={length} must be 1 to {MAX_LENGTH}; 50 is usual")
        self.length = length
        self.n_rows = 0
        self._starts = np.zeros(0, np.uint16)
        self._sizes = np.zeros(0, np.uint16)
        self._hashes = np.zeros((0, length), np.uint64)
        self._items = np.zeros((0, length), np.uint32)
        self._seconds = np.zeros((0, length), np.uint32)
        self._millis = np.zeros((0, length), np.uint16)
        self._kinds = np.zeros((0, length), np.uint8)

    @property
    def _arrays(self) -> tuple[NDArray[Any], ...]:
        arrays = (self._hashes, self._items, self._seconds, self._millis, self._kinds)
        return (self._starts, self._sizes, *arrays)

    def grow(self, n_rows: int) -> None:
        """Have at least `n_rows` rows; new ones are empty.

        The arrays are resized in place (the system moves pages, not bytes), so the peak is not twice the size.
        """
        capacity = len(self._starts)
        if n_rows > capacity:
            capacity = max(n_rows, capacity + capacity // _GROWTH, _MIN_ROWS)
            for array in self._arrays:
                array.resize((capacity, *array.shape[1:]), refcheck=False)  # no view ever leaves this class
        self.n_rows = max(n_rows, self.n_rows)

    def holds(self, rows: Int64s, hashes: NDArray[np.uint64]) -> Bools:
        """Whether each row already has an event of this hash, (n,)."""
        held: Bools = (self._hashes[rows] == hashes[:, None]).any(axis=1)
        return held

    def is_after_newest(self, events: Columns) -> Bools:
        """Whether each event comes after everything in its row, (n,); true for an empty row."""
        sizes = self._sizes[events.rows].astype(np.int64)
        newest = (self._starts[events.rows] + sizes - 1) % self.length
        times, hashes = self._keys(events.rows, newest)
        after = (events.times > times) | ((events.times == times) & (events.hashes > hashes))
        result: Bools = after | (sizes == 0)
        return result

    def is_before_oldest(self, events: Columns) -> Bools:
        """Whether each event is older than all of a full row, (n,)."""
        times, hashes = self._keys(events.rows, self._starts[events.rows].astype(np.int64))
        before = (events.times < times) | ((events.times == times) & (events.hashes < hashes))
        result: Bools = before & (self._sizes[events.rows] == self.length)
        return result

    def append(self, events: Columns) -> Columns:
        """Put each event at the end of its row; the rows are distinct.

        Returns:
            What fell out of full rows to make room.
        """
        rows = events.rows
        starts = self._starts[rows].astype(np.int64)
        sizes = self._sizes[rows].astype(np.int64)
        full = sizes == self.length
        fallen = self._at(rows[full], starts[full])
        slots = (starts + sizes) % self.length
        self._hashes[rows, slots] = events.hashes
        self._items[rows, slots] = events.items
        self._seconds[rows, slots] = events.times // 1_000
        self._millis[rows, slots] = events.times % 1_000
        self._kinds[rows, slots] = events.kinds
        self._starts[rows] = (starts + full) % self.length
        self._sizes[rows] = sizes + ~full
        return fallen

    def insert(self, events: Columns) -> Columns:
        """Put each event at its place inside its row; the rows are distinct, no event is before a full row.

        Returns:
            What fell out of full rows to make room.
        """
        rows = events.rows
        starts = self._starts[rows].astype(np.int64)
        sizes = self._sizes[rows].astype(np.int64)
        full = (sizes == self.length).astype(np.int64)
        fallen = self._at(rows[full == 1], starts[full == 1])
        places = self._n_before(events, starts, sizes) - full
        order = np.arange(self.length)
        sources = order + full[:, None] - (order > places[:, None])  # (n, L) what comes to each position
        slots = (starts[:, None] + sources) % self.length
        values = (events.hashes, events.items, events.times // 1_000, events.times % 1_000, events.kinds)
        for array, new in zip(self._arrays[2:], values, strict=True):
            shifted = array[rows[:, None], slots]
            shifted[np.arange(len(rows)), places] = new
            array[rows] = shifted
        self._starts[rows] = 0
        self._sizes[rows] = sizes + 1 - full
        return fallen

    def entries(self, row: int) -> list[Entry]:
        """A row's events, oldest first."""
        slots = self._slots(row)
        return self._at(np.full(len(slots), row, np.int64), slots).entries()

    def items(self, row: int) -> list[int]:
        """A row's item numbers, oldest first."""
        items: list[int] = self._items[row, self._slots(row)].tolist()
        return items

    def times_ms(self, row: int) -> list[int]:
        """Event times of a row, oldest first."""
        slots = self._slots(row)
        times_ms: list[int] = (self._seconds[row, slots] * np.int64(1_000) + self._millis[row, slots]).tolist()
        return times_ms

    def write(self, row: int, entries: Sequence[Entry]) -> None:
        """Replace a row by these events, oldest first, at most `length`."""
        size = len(entries)
        times, hashes, items, kinds = zip(*entries, strict=True)
        self._starts[row], self._sizes[row] = 0, size
        self._hashes[row, :size] = np.array(hashes, np.uint64)
        self._items[row, :size] = items
        self._seconds[row, :size], self._millis[row, :size] = np.divmod(np.array(times, np.int64), 1_000)
        self._kinds[row, :size] = kinds

    def newest_ms(self) -> int:
        """Time of the newest event of all rows, to the second; 0 without any."""
        return int(self._seconds[: self.n_rows].max(initial=0)) * 1_000

    def recent(self, since_ms: int) -> Iterator[tuple[Int64s, NDArray[np.uint32]]]:
        """Times and item numbers of all events since then, block by block of rows.

        Args:
            since_ms: a whole second, in milliseconds.
        """
        for start in range(0, self.n_rows, _BLOCK_ROWS):
            rows = slice(start, min(start + _BLOCK_ROWS, self.n_rows))
            is_recent = (self._seconds[rows] >= max(0, since_ms // 1_000)) & (self._hashes[rows] != 0)
            times = self._seconds[rows][is_recent].astype(np.int64) * 1_000 + self._millis[rows][is_recent]
            yield times, self._items[rows][is_recent]

    def copy_rows(self, rows: Int64s) -> list[NDArray[Any]]:
        """Copies of these rows' arrays, for `load_rows`."""
        return [array[rows] for array in self._arrays]

    def load_rows(self, rows: Int64s, arrays: Sequence[NDArray[Any]]) -> None:
        """Put back what `copy_rows` gave."""
        for own, given in zip(self._arrays, arrays, strict=True):
            own[rows] = given

    def _n_before(self, events: Columns, starts: Int64s, sizes: Int64s) -> Int64s:
        """How many events of its row come before each event, (n,)."""
        order = np.arange(self.length)
        slots = (starts[:, None] + order) % self.length
        times, hashes = self._keys(events.rows[:, None], slots)  # (n, L)
        new_times, new_hashes = events.times[:, None], events.hashes[:, None]
        before = (times < new_times) | ((times == new_times) & (hashes < new_hashes))
        n_before: Int64s = (before & (order < sizes[:, None])).sum(axis=1)
        return n_before

    def _slots(self, row: int) -> Int64s:
        return (int(self._starts[row]) + np.arange(int(self._sizes[row]), dtype=np.int64)) % self.length

    def _keys(self, rows: Int64s, slots: Int64s) -> tuple[Int64s, NDArray[np.uint64]]:
        times = self._seconds[rows, slots].astype(np.int64) * 1_000 + self._millis[rows, slots]
        return times, self._hashes[rows, slots]

    def _at(self, rows: Int64s, slots: Int64s) -> Columns:
        times, hashes = self._keys(rows, slots)
        return Columns(rows, times, hashes, self._items[rows, slots], self._kinds[rows, slots])
