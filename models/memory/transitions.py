"""The fast memory: what came close to what in everybody's sequences, fading with time. Learns from every event.

A new event at distance d after one of the user's last items adds `pair_decay ** (d - 1)` to that pair, in the rows of
both items. A user's score of an item sums its pairs with the last items, weighted by how long ago they came, over the
square roots of both items' counts (the cosine of their columns, Sarwar et al. 2001). To each count `shrinkage` is
added, so that what was seen a few times is not taken for certain (as Bell & Koren 2007 shrink similarities). It is
`models.rivals.cooccurrence` with rows of bounded size, and with weights and counts that fade:

    weight now = weight then * 2 ** -(milliseconds since / half_life_ms + events since / half_life_events)

A row carries the moment its weights are of and fades when it is next touched, so that an event costs the rows of its
own items, however much is known. An event that comes late counts as if it had faded already.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.memory.rows import HalfLives, Moment, Row, Rows

DAY_MS = 86_400_000.0
MAX_ROW_SIZE = 1_024  # partners; a row travels as one record


@dataclass(frozen=True)
class MemoryConfig:
    """How far back pairs go, how fast they fade, and how many are kept.

    Attributes:
        n_last: last items of a user that a new event is linked with, and that answer.
        pair_decay: weight of a pair by distance, in (0, 1].
        history_decay: weight of a last item by how long ago it came, in events, in (0, 1].
        shrinkage: events that a count is thought to have besides its own.
        row_size: partners kept by item, from `n_last` to 1,024; beyond, the weakest makes room.
        half_life_ms: stream time in which weights and counts halve; infinite for never.
        half_life_events: events of the whole stream in which they halve; both apply.
    """

    n_last: int = 10
    pair_decay: float = 1.0
    history_decay: float = 0.6
    shrinkage: float = 16.0
    row_size: int = 512
    half_life_ms: float = 1_000 * DAY_MS
    half_life_events: float = 500_000

    def __post_init__(self) -> None:
        for name in ("pair_decay", "history_decay"):
            value = getattr(self, name)
            if not 0 < value <= 1:
                raise ValueError(f"{name}={value} must be above 0 and at most 1")
        if self.n_last < 1:
            raise ValueError(f"n_last={self.n_last} must be at least 1")
        if not self.n_last <= self.row_size <= MAX_ROW_SIZE:
            raise ValueError(f"row_size={self.row_size} must be from n_last={self.n_last} to {MAX_ROW_SIZE}")
        if not 0 < self.shrinkage < math.inf:
            raise ValueError(f"shrinkage={self.shrinkage} must be a number above 0; 16 is usual")
        for name in ("half_life_ms", "half_life_events"):
            value = getattr(self, name)
            if not value > 0:
                raise ValueError(f"{name}={value} must be above 0; infinite for no fading")


class Transitions:
    """Rows of partners by item. For one thread at a time.

    Items are numbered 0, 1, 2 ... in the order they first appear. Memory: `8 * row_size + 32` bytes an item, 4 KiB by
    default, with room for a quarter more items, and about 100 bytes while a change waits to be published.
    """

    def __init__(self, config: MemoryConfig | None = None) -> None:
        self.config = config or MemoryConfig()
        self.now = Moment(0, 0)
        self._rows = Rows(self.config.row_size, HalfLives(self.config.half_life_ms, self.config.half_life_events))
        self._changed: dict[int, None] = {}  # in the order of their first change
        steps = range(self.config.n_last)
        self._pair_weights = [self.config.pair_decay**step for step in steps]
        self._history_weights = [self.config.history_decay**step for step in steps]

    @property
    def n_items(self) -> int:
        """Items with a row, which may be empty."""
        return self._rows.n_items

    def update(self, history: Sequence[int], item: int, ts_ms: int) -> None:
        """Learn one event.

        Args:
            history: the user's items before it, oldest first.
            item: what came.
            ts_ms: event time, milliseconds since 1970; the highest so far is the present.
        """
        recent = history[-self.config.n_last :][::-1]
        self._rows.grow(max(item, *recent, 0) + 1)
        self.now = Moment(max(self.now.ts_ms, ts_ms), self.now.n_events + 1)
        amount = 2.0 ** -((self.now.ts_ms - ts_ms) / self.config.half_life_ms)
        links: dict[int, float] = {}
        for other, weight in zip(recent, self._pair_weights, strict=False):
            links[other] = links.get(other, 0.0) + amount * weight
        if item in links:
            links[item] *= 2  # noted in both rows, which are the same
        others = [other for other in links if other != item]
        self._rows.fade(np.array([item, *others]), self.now)
        self._rows.add_count(item, amount)
        self._link(item, links, others)
        self._changed.update(dict.fromkeys([item, *others]))

    def scores(self, history: Sequence[int], n_items: int) -> NDArray[np.float32]:
        """(n_items,) score of each item for a user, at least 0; 0 where nothing is known.

        Args:
            history: the user's items, oldest first.
            n_items: how many items there are.
        """
        recent = history[-self.config.n_last :][::-1]
        known = [
            (item, weight) for item, weight in zip(recent, self._history_weights, strict=False) if item < self.n_items
        ]
        if not known:
            return np.zeros(n_items, dtype=np.float32)
        items, weights = np.array([item for item, _ in known]), np.array([weight for _, weight in known])
        sums = self._rows.sums(items, weights / self._norms(items), self.now, n_items=n_items)
        (found,) = (sums > 0).nonzero()  # of booleans it is several times faster
        sums[found] /= self._norms(found)
        return sums.astype(np.float32)

    def changed_rows(self, limit: int | None = None) -> list[int]:
        """Items whose rows changed and were not given to `forget_changes` since; at most `limit`, longest ago first."""
        return list(islice(self._changed, limit))

    def forget_changes(self, items: Iterable[int]) -> None:
        """These rows are published as they are."""
        for item in items:
            self._changed.pop(item, None)

    def row(self, item: int) -> Row:
        """A copy of an item's row."""
        return self._rows.get(item)

    def put_row(self, item: int, row: Row) -> None:
        """Take over a row learned elsewhere; it goes on fading here from its own moment."""
        self._rows.put(item, row)
        self.now = Moment(max(self.now.ts_ms, row.moment.ts_ms), max(self.now.n_events, row.moment.n_events))

    def state(self) -> dict[str, NDArray[Any]]:
        """All of it as arrays, for a snapshot: `sizes` (N,) of the rows, their cells one row after the other."""
        sizes, partners, weights, counts, moments = self._rows.packed()
        return {
            "now": np.array(self.now, np.int64),
            "sizes": sizes,
            "partners": partners,
            "weights": weights,
            "counts": counts,
            "moments": moments,
            "changed": np.array(list(self._changed), np.int64),
        }

    @classmethod
    def restored(cls, state: Mapping[str, NDArray[Any]], config: MemoryConfig | None = None) -> Transitions:
        """What `state` gave; of rows longer than the configured size the strongest partners stay."""
        memory = cls(config)
        ends = np.cumsum(state["sizes"])[:-1]
        partners, weights = np.split(state["partners"], ends), np.split(state["weights"], ends)
        counts, moments = state["counts"].tolist(), state["moments"].tolist()
        for item, cells in enumerate(zip(partners, weights, counts, moments, strict=False)):
            memory._rows.put(item, Row(cells[0], cells[1], cells[2], Moment(*cells[3])))
        memory.now = Moment(*state["now"].tolist())
        memory._changed = dict.fromkeys(state["changed"].tolist())
        return memory

    def _link(self, item: int, links: Mapping[int, float], others: Sequence[int]) -> None:
        if links:
            weights = np.fromiter(links.values(), np.float32, len(links))
            self._rows.add_row(item, np.fromiter(links, np.int64, len(links)), weights)
        if others:
            weights = np.array([links[other] for other in others], np.float32)
            self._rows.add_column(np.array(others), item, weights)

    def _norms(self, items: NDArray[np.int64]) -> NDArray[np.float64]:
        """(K,) roots of the items' counts, shrinkage included."""
        norms: NDArray[np.float64] = np.sqrt(self._rows.counts(items, self.now) + self.config.shrinkage)
        return norms
