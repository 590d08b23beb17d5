"""The rivals side by side over one numbering of items, fed one event at a time.

The watcher asks `scores` before an event and calls `learn` after it; `as_columns` turns a rival's scores into the
columns of the model they are compared with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.memory.popularity import WindowedPopularity
from models.rivals.cooccurrence import LiveCooccurrence

Scores = NDArray[np.float32]


class Rival(Protocol):
    """A recommender that learns from every event."""

    def scores(self, history: Sequence[int], n_items: int) -> Scores:
        """(n_items,) higher is better; `history` are a user's items, oldest first."""
        ...

    def update(self, history: Sequence[int], item: int) -> None:
        """Learn that `item` came after `history`."""
        ...


def default_rivals() -> dict[str, Rival]:
    """The two every report shows."""
    return {"popularity": WindowedPopularity(), "cooccurrence": LiveCooccurrence()}


class RivalPanel:
    """Rivals by name, and each user's last items as they need them.

    Memory: the last `n_last` item numbers a user, about 200 bytes, and what each rival states.
    """

    def __init__(self, rivals: Mapping[str, Rival], *, n_last: int = 10) -> None:
        self.names = tuple(rivals)
        self._rivals = tuple(rivals.values())
        self._n_last = n_last
        self._number_of: dict[str, int] = {}
        self._last: dict[str, tuple[int, ...]] = {}

    def scores(self, user_id: str) -> tuple[Scores, ...]:
        """One row a rival, for this user as things stand now; pass them through `as_columns`."""
        history = self._last.get(user_id, ())
        return tuple(rival.scores(history, len(self._number_of)) for rival in self._rivals)

    def learn(self, user_id: str, item_id: str) -> None:
        """Tell every rival that this item came."""
        number = self._number_of.setdefault(item_id, len(self._number_of))
        history = self._last.get(user_id, ())
        for rival in self._rivals:
            rival.update(history, number)
        self._last[user_id] = (*history, number)[-self._n_last :]

    def numbers(self, item_ids: Sequence[str]) -> NDArray[np.int64]:
        """(N,) number of each item; -1 for one that never came."""
        return np.array([self._number_of.get(item_id, -1) for item_id in item_ids], dtype=np.int64)


def as_columns(scores: Scores, numbers: NDArray[np.int64]) -> Scores:
    """A rival's scores in the order of a model's items.

    Args:
        scores: (n_items,) by item number, taken earlier: items that came since are missing at its end.
        numbers: (N,) item number of each column, -1 for an item that never came.

    Returns:
        (N,), 0 where the rival knew nothing.
    """
    with_zero = np.append(scores, np.float32(0.0))
    return with_zero[np.where(numbers < len(scores), numbers, -1)]
