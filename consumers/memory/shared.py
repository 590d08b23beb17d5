"""The fast memory by item id, as a process holds it: one thread learns or follows, any number ask.

Rows leave and come as `TransitionRow`s. Items are numbered here in the order they first came, append-only, and
differently in every process; rows carry ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from threading import Lock
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.memory.rows import Moment, Row
from models.memory.transitions import MemoryConfig, Transitions
from stream.events import TransitionRow

PUBLISHED_SIZE = 96  # partners of a row that travel, the strongest: the best ten items are as good as with all
_DIGITS = 6  # of a weight that travels; float32 has little more

Arrays = Mapping[str, NDArray[Any]]


class SharedMemory:
    """Transitions, and the ids of their items.

    Whoever asks waits for one event or one row at most. What only the one writer calls says so.
    """

    def __init__(self, config: MemoryConfig | None = None) -> None:
        self.config = config or MemoryConfig()
        self._lock = Lock()  # the writer changes under it, others read under it
        self._transitions = Transitions(self.config)
        self._item_ids: list[str] = []
        self._number_of: dict[str, int] = {}

    @property
    def n_items(self) -> int:
        """Items with a number."""
        return len(self._item_ids)

    def numbers(self, item_ids: Sequence[str]) -> NDArray[np.int64]:
        """(N,) number of each item, the same for ever; -1 for one that never came."""
        return np.array([self._number_of.get(item_id, -1) for item_id in item_ids], dtype=np.int64)

    def scores(self, history: Sequence[str]) -> NDArray[np.float32]:
        """(n_items,) score of each item by its number, at least 0, after a user's items, oldest first."""
        recent = history[-self.config.n_last :]
        with self._lock:
            n_items = self.n_items
            numbers = [self._number_of.get(item_id, n_items) for item_id in recent]  # unknown ones keep their place
            return self._transitions.scores(numbers, n_items)

    def link(self, history: Sequence[str], item_id: str, ts_ms: int) -> None:
        """Learn that an item came after these, oldest first. By the writer."""
        with self._lock:
            numbers = [self._number(other) for other in history]
            self._transitions.update(numbers, self._number(item_id), ts_ms)

    def changed_rows(self, limit: int) -> list[TransitionRow]:
        """Rows that changed and were not published since, at most so many, longest ago first. By the writer.

        A row's `PUBLISHED_SIZE` strongest partners are in its record.
        """
        return [self._record(item) for item in self._transitions.changed_rows(limit)]

    def mark_published(self, rows: Iterable[TransitionRow]) -> None:
        """These rows were published, and have not changed since. By the writer."""
        self._transitions.forget_changes(self._number_of[row.item_id] for row in rows)

    def take(self, record: TransitionRow) -> None:
        """Replace a row by what was published of it. By the writer."""
        weights = np.array([weight for _, weight in record.partners], np.float32)
        with self._lock:
            partners = np.array([self._number(partner) for partner, _ in record.partners], np.int64)
            row = Row(partners, weights, record.count, Moment(record.ts_ms, record.n_events))
            self._transitions.put_row(self._number(record.item_id), row)

    def state(self) -> dict[str, NDArray[Any]]:
        """All of it as arrays, for a snapshot. By the writer: others may go on asking."""
        item_ids = np.frombuffer(msgspec.json.encode(self._item_ids), np.uint8)
        return {"item_ids": item_ids, **self._transitions.state()}

    def restore(self, state: Arrays) -> None:
        """Take over what `state` gave. By the writer, before anything else."""
        item_ids = msgspec.json.decode(state["item_ids"].tobytes(), type=list[str])
        transitions = Transitions.restored(state, self.config)
        number_of = {item_id: number for number, item_id in enumerate(item_ids)}
        with self._lock:
            self._number_of = number_of  # before there are more items: numbers are asked for without the lock
            self._item_ids = item_ids
            self._transitions = transitions

    def _number(self, item_id: str) -> int:
        number = self._number_of.setdefault(item_id, len(self._item_ids))
        if number == len(self._item_ids):
            self._item_ids.append(item_id)
        return number

    def _record(self, item: int) -> TransitionRow:
        row = self._transitions.row(item).strongest(PUBLISHED_SIZE)
        partners = [self._item_ids[partner] for partner in row.partners.tolist()]
        weights = _short(row.weights)
        return TransitionRow(
            item_id=self._item_ids[item],
            ts_ms=row.moment.ts_ms,
            n_events=row.moment.n_events,
            count=row.count,
            partners=tuple(zip(partners, weights, strict=True)),
        )


def _short(weights: NDArray[np.float32]) -> list[float]:
    """The weights with as many digits as travel."""
    exact = weights.astype(np.float64)
    n_places = _DIGITS - 1 - np.floor(np.log10(np.maximum(exact, np.finfo(np.float32).tiny)))  # behind the point
    scales = 10.0**n_places
    short: list[float] = (np.rint(exact * scales) / scales).tolist()
    return short
