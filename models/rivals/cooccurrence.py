"""Live item-to-item co-occurrence: what came close to the user's last items, in everybody's sequences so far.

A new event at distance d after one of the user's last items adds `pair_decay ** (d - 1)` to that pair, in both
directions. A user's score of an item sums its pairs with the last items, decayed by how long ago they came
(`history_decay`), over the square roots of both items' counts (the cosine of their columns, Sarwar et al. 2001), to
each of which `shrinkage` is added, so that what was seen a few times is not taken for certain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

_FIRST_ITEMS = 1_024


@dataclass(frozen=True)
class CooccurrenceConfig:
    """How far back pairs go and how fast they fade.

    Attributes:
        n_last: how many of the user's last items count.
        pair_decay: weight of a pair by distance, in (0, 1].
        history_decay: weight of a last item by how long ago it came, in (0, 1].
        shrinkage: events that a count is thought to have besides its own.
        max_items: items beyond this many are not learned; the matrix then takes 4 * max_items ** 2 bytes.
    """

    n_last: int = 10
    pair_decay: float = 1.0
    history_decay: float = 0.8
    shrinkage: float = 16.0
    max_items: int = 8_192

    def __post_init__(self) -> None:
        for name in ("pair_decay", "history_decay"):
            value = getattr(self, name)
            if not 0 < value <= 1:
                raise ValueError(f"{name}={value} must be above 0 and at most 1")
        if not self.shrinkage > 0:
            raise ValueError(f"shrinkage={self.shrinkage} must be above 0; 16 is usual")
        for name in ("n_last", "max_items"):
            value = getattr(self, name)
            if value < 1:
                raise ValueError(f"{name}={value} must be at least 1")


class LiveCooccurrence:
    """A dense float32 matrix of pair weights that grows with the items, up to `max_items`.

    Items are numbered 0, 1, 2 ... in the order they first appear. Those past the limit score 0.
    """

    def __init__(self, config: CooccurrenceConfig | None = None) -> None:
        self.config = config or CooccurrenceConfig()
        first = min(_FIRST_ITEMS, self.config.max_items)
        self._pairs = np.zeros((first, first), dtype=np.float32)
        self._counts = np.zeros(first, dtype=np.float32)
        steps = np.arange(self.config.n_last)
        self._pair_weights = (self.config.pair_decay**steps).astype(np.float32)
        self._history_weights = (self.config.history_decay**steps).astype(np.float32)

    def scores(self, history: Sequence[int], n_items: int) -> NDArray[np.float32]:
        """(n_items,) score of each item for a user.

        Args:
            history: the user's items, oldest first.
            n_items: how many items there are.
        """
        scores = np.zeros(n_items, dtype=np.float32)
        recent, ages = self._recent(history)
        known = min(n_items, len(self._counts))
        if recent.size:
            weights = self._history_weights[ages] / np.sqrt(self._counts[recent] + self.config.shrinkage)
            norms = np.sqrt(self._counts[:known] + self.config.shrinkage)
            scores[:known] = (weights @ self._pairs[recent, :known]) / norms
        return scores

    @classmethod
    def restored(cls, config: CooccurrenceConfig, counts: NDArray[np.float32], pairs: NDArray[np.float32]) -> Self:
        """Go on from what `learned` gave.

        Raises:
            ValueError: counts (n,) and pairs (n, n) do not fit each other, or there are more than `max_items`.
        """
        n_items = len(counts)
        if pairs.shape != (n_items, n_items) or n_items > config.max_items:
            raise ValueError(
                f"{n_items} counts and pairs of shape {pairs.shape} with max_items={config.max_items}; pairs must be "
                "square, one row a count, and no more than max_items"
            )
        live = cls(config)
        live._counts, live._pairs = counts, pairs
        return live

    def learned(self, n_items: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Counts (n,) and pair weights (n, n) of the first items, at most those there is room for."""
        return self._counts[:n_items], np.ascontiguousarray(self._pairs[:n_items, :n_items])

    def update(self, history: Sequence[int], item: int) -> None:
        """Learn one event.

        Args:
            history: the user's items before it, oldest first.
            item: what came.
        """
        if item >= self.config.max_items:
            return
        self._grow(item + 1)
        self._counts[item] += 1
        recent, ages = self._recent(history)
        weights = self._pair_weights[ages]
        size = len(self._counts)
        flat = self._pairs.reshape(-1)  # a view
        np.add.at(flat, recent * size + item, weights)  # an item may stand in `recent` twice
        np.add.at(flat, item * size + recent, weights)

    def learn(self, rows: NDArray[np.int64], starts: NDArray[np.int64]) -> None:
        """Learn many users' whole histories at once; the same as `update`, event by event.

        Args:
            rows: (n_events,) items, grouped by user, oldest first inside a user.
            starts: (n_users + 1,) where each user's events start; the last is n_events.
        """
        self._grow(min(int(rows.max(initial=-1)) + 1, self.config.max_items))
        size = len(self._counts)
        is_learned = rows < size
        self._counts += np.bincount(rows[is_learned], minlength=size).astype(np.float32)
        nth = np.arange(len(rows)) - np.repeat(starts[:-1], np.diff(starts))  # place in the user's history
        flat = self._pairs.reshape(-1)  # a view
        for distance, weight in enumerate(self._pair_weights, start=1):
            later = np.flatnonzero(nth >= distance)
            later = later[is_learned[later] & is_learned[later - distance]]
            item, before = rows[later], rows[later - distance]
            np.add.at(flat, before * size + item, weight)
            np.add.at(flat, item * size + before, weight)

    def _recent(self, history: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The last items, newest first, and how many came after each; what is past the limit is left out."""
        recent = np.asarray(history[-self.config.n_last :], dtype=np.int64)[::-1]
        ages = np.flatnonzero(recent < len(self._counts))
        return recent[ages], ages

    def _grow(self, n_items: int) -> None:
        have = len(self._counts)
        if n_items <= have:
            return
        size = min(max(n_items, 2 * have), self.config.max_items)
        pairs = np.zeros((size, size), dtype=np.float32)
        pairs[:have, :have] = self._pairs
        self._pairs = pairs
        self._counts = np.concatenate([self._counts, np.zeros(size - have, dtype=np.float32)])
