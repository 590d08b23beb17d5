"""All interactions of a data set in compact columns, given out as events in the order of event time.

Files come in any order, a stream does not. Interactions of the same millisecond are put in an order drawn from
the seed and their row number: any fixed order (such as ascending item id) is one a model learns to exploit,
and a figure made from it does not hold on a live stream.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from stream.events import Interaction
from stream.replay.values import id_of

_CHUNK = 65_536  # rows turned into Python numbers at a time
_MIX = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)  # splitmix64


class History:
    """Interactions, 28 bytes each besides the ids.

    >>> history = History("shop", seed=0)
    >>> history.add("ann", "mug", ts_ms=2_000, kind="click", row=2)
    >>> history.add("ann", "pot", ts_ms=1_000, kind="view", row=3)
    >>> [(event.event_id, event.item_id) for event in history]
    [('shop-3', 'pot'), ('shop-2', 'mug')]
    """

    def __init__(self, name: str, *, seed: int) -> None:
        self._name = name
        self._seed = seed
        self._users = _Numbers("user_id")
        self._items = _Numbers("item_id")
        self._kinds = _Numbers("kind")
        self._columns = (array("i"), array("i"), array("i"), array("q"), array("q"))

    def add(self, user_id: object, item_id: object, *, ts_ms: int, kind: str, row: int) -> None:
        """Add one interaction; `row` is its place in the file and becomes part of its event id.

        Raises:
            BadValue: an id is empty, too long, or not text.
        """
        user, item = self._users.number(user_id), self._items.number(item_id)
        users, items, kinds, times, rows = self._columns
        users.append(user)
        items.append(item)
        kinds.append(self._kinds.number(kind))
        times.append(ts_ms)
        rows.append(row)

    def __len__(self) -> int:
        return len(self._columns[-1])

    def __iter__(self) -> Iterator[Interaction]:
        columns = [np.array(column, dtype=column.typecode) for column in self._columns]
        times, rows = columns[3], columns[4]
        order = np.lexsort((_shuffled(rows, self._seed), times))
        for start in range(0, len(order), _CHUNK):
            places = order[start : start + _CHUNK]
            yield from self._events([column[places].tolist() for column in columns])

    def _events(self, columns: list[list[int]]) -> Iterator[Interaction]:
        users, items, kinds = self._users.ids, self._items.ids, self._kinds.ids
        for user, item, kind, ts_ms, row in zip(*columns, strict=True):
            yield Interaction(
                event_id=f"{self._name}-{row}",
                user_id=users[user],
                item_id=items[item],
                ts_ms=ts_ms,
                kind=kinds[kind],
            )


class _Numbers:
    """Ids numbered in the order they are first seen, each checked once."""

    def __init__(self, field: str) -> None:
        self.ids: list[str] = []
        self._numbers: dict[object, int] = {}
        self._field = field

    def number(self, value: object) -> int:
        try:
            return self._numbers[value]
        except (KeyError, TypeError):  # new, or of a type that no id has
            return self._new(value)

    def _new(self, value: object) -> int:
        name = id_of(value, self._field)
        number = self._numbers.setdefault(name, len(self.ids))
        if number == len(self.ids):
            self.ids.append(name)
        return number


def _shuffled(rows: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """A number per row that looks random, the same for the same seed whatever else the file holds."""
    increment, first, second = (np.uint64(constant) for constant in _MIX)
    mixed = rows.astype(np.uint64) + np.uint64(seed % 2**32) * np.uint64(2**31)
    for _ in range(2):
        mixed = mixed + increment
        mixed = (mixed ^ (mixed >> np.uint64(30))) * first
        mixed = (mixed ^ (mixed >> np.uint64(27))) * second
        mixed ^= mixed >> np.uint64(31)
    return mixed
