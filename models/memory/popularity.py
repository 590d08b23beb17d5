"""Windowed popularity: how often each item came among the last events of all users."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

WINDOW = 20_000  # events
_FIRST_ITEMS = 1_024


class WindowedPopularity:
    """Counts over the last `window` events; the same scores for everybody.

    Items are numbered 0, 1, 2 ... in the order they first appear.
    """

    def __init__(self, window: int = WINDOW) -> None:
        """No event yet.

        Raises:
            ValueError: `window` is below 1.
        """
        if window < 1:
            raise ValueError(f"window={window} must be at least 1; 20,000 events are usual")
        self._window = window
        self._events: deque[int] = deque()
        self._counts = np.zeros(_FIRST_ITEMS, dtype=np.float32)

    def scores(self, history: Sequence[int], n_items: int) -> NDArray[np.float32]:
        """(n_items,) how often each item came in the window."""
        self._grow(n_items)
        return self._counts[:n_items].copy()

    def update(self, history: Sequence[int], item: int) -> None:
        """Count one event; the oldest falls out of a full window."""
        self._grow(item + 1)
        self._events.append(item)
        self._counts[item] += 1
        if len(self._events) > self._window:
            self._counts[self._events.popleft()] -= 1

    def _grow(self, n_items: int) -> None:
        spare = n_items - len(self._counts)
        if spare > 0:
            more = np.zeros(max(spare, len(self._counts)), dtype=np.float32)
            self._counts = np.concatenate([self._counts, more])
