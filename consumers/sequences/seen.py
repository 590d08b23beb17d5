"""What users have seen beyond their ring: the items of events that fell out of it or came too late for it."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from consumers.sequences.rings import Columns

_ITEM_BITS = np.uint64(32)
_ITEM_MASK = np.uint64(0xFFFF_FFFF)


class SeenOverflow:
    """By row, the newest `max_items` distinct items of events that are not in the row's ring.

    Newest by the second of an item's last such event, then by item id. That makes the set the same whatever the
    order in which events arrived, and however often.

    Memory: nothing for a row all of whose events fit its ring. Otherwise 8 bytes an event, made distinct when
    there are twice `max_items`: 32 kB a user at most with 2,000 items, plus about 200 bytes for the row.
    """

    def __init__(self, max_items: int, item_ids: Sequence[str]) -> None:
        """Nothing seen.

        Args:
            max_items: distinct items kept by row; 0 keeps none.
            item_ids: id by item number; the store's own list, which grows.

        Raises:
            ValueError: max_items is negative.
        """
        if max_items < 0:
            raise ValueError(f"max_seen={max_items} must be at least 0; 2,000 is usual")
        self.max_items = max_items
        self._item_ids = item_ids
        self._packed: dict[int, array[int]] = {}  # second << 32 | item number

    def add(self, events: Columns) -> None:
        """Note the items of these events; rows may repeat."""
        if not self.max_items:
            return
        seconds = (events.times // 1_000).astype(np.uint64)
        packed = (seconds << _ITEM_BITS | events.items.astype(np.uint64)).tolist()
        for row, value in zip(events.rows.tolist(), packed, strict=True):
            values = self._packed.get(row)
            if values is None:
                values = self._packed[row] = array("Q")
            values.append(value)
            if len(values) >= 2 * self.max_items:
                self._compact(row)

    def items(self, row: int) -> list[int]:
        """Item numbers, distinct, at most `max_items`, in no promised order."""
        values = self._packed.get(row)
        if values is None:
            return []
        if len(values) > self.max_items:
            self._compact(row)
        numbers: list[int] = np.unique(np.array(self._packed[row], np.uint64) & _ITEM_MASK).tolist()
        return numbers

    def copy_rows(self, rows: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
        """How many values each row has, and the values of all rows one after the other."""
        taken = [self._packed.get(row, ()) for row in rows]
        joined = array("Q")
        for values in taken:
            joined.extend(values)
        return np.array([len(values) for values in taken], np.int64), np.array(joined, np.uint64)

    def load_rows(self, rows: Sequence[int], lengths: NDArray[np.int64], values: NDArray[np.uint64]) -> None:
        """Put back what `copy_rows` gave."""
        start = 0
        for row, length in zip(rows, lengths.tolist(), strict=True):
            if length:
                self._packed[row] = array("Q", values[start : start + length].tobytes())
                start += length

    def _compact(self, row: int) -> None:
        newest_first = np.sort(np.array(self._packed[row], np.uint64))[::-1]
        _, firsts = np.unique(newest_first & _ITEM_MASK, return_index=True)
        kept = newest_first[np.sort(firsts)]  # one an item, with its last second
        if len(kept) > self.max_items:
            kept = self._cut(kept)
        self._packed[row] = array("Q", kept.tobytes())

    def _cut(self, newest_first: NDArray[np.uint64]) -> NDArray[np.uint64]:
        seconds = newest_first >> _ITEM_BITS
        last_second = seconds[self.max_items - 1]
        sure = newest_first[seconds > last_second]
        tied = newest_first[seconds == last_second].tolist()
        tied.sort(key=lambda value: self._item_ids[value & int(_ITEM_MASK)])
        return np.concatenate([sure, np.array(tied[: self.max_items - len(sure)], np.uint64)])
